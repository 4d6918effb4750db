"""At which positions operands are read that constants of the program multiply or choose.

Where the constant is zero nothing is read: so an interpolation reads few positions, though it may
be a product with a matrix as long as the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dilax.analysis._field import NOWHERE, Read, Reads, in_place, whole
from dilax.analysis._reading import MOST_COMPARED
from dilax.analysis._trace import Equation, Seen, seen_through


def dot_general(step: Equation) -> Sequence[Reads]:
    """Contracted axes everywhere, or where a constant that they are multiplied by is not zero."""
    contracted, batch = step.params["dimension_numbers"]
    free = [
        [axis for axis in range(len(shape)) if axis not in (*own, *shared)]
        for shape, own, shared in zip(step.shapes, contracted, batch, strict=False)
    ]
    shared = range(len(batch[0]))
    places = [len(shared), len(shared) + len(free[0])]  # of the free axes in the result
    reads: list[Reads] = []
    for side, other in ((0, 1), (1, 0)):
        results = (*shared, *range(places[other], places[other] + len(free[other])))
        own = {axis: in_place(place) for place, axis in enumerate(batch[side])}
        own |= {axis: in_place(places[side] + place) for place, axis in enumerate(free[side])}
        for axis, across in zip(contracted[side], contracted[other], strict=True):
            weights = _weights(step, other) if step.differs_along(side, axis) else None
            if weights is None:
                own[axis] = whole(step.shapes[side][axis])
            else:
                order = (*batch[other], *free[other], across)
                own[axis] = _where_not_zero(weights, order, results)
        reads.append(own)
    return reads


def _weights(step: Equation, number: int) -> np.ndarray | None:
    """Where a constant is not zero, as the matrix of an interpolation in a band; None if all is.

    A constant of zeros alone is a kernel that is yet to be trained: it's taken to read everything.
    """
    constant = small_constant(step, number)
    reading = None if constant is None else constant != 0
    return None if reading is None or reading.all() or not reading.any() else reading


def _where_not_zero(reading: np.ndarray, order: Sequence[int], results: Sequence[int]) -> Read:
    """Along the last axis in ``order``; the others lie in the result along ``results``.

    >>> _where_not_zero(np.array([[1, 1, 0], [0, 0, 1]]), [0, 1], [2]).positions(np.array([[0]]))
    array([[0, 1]])
    """
    gone = tuple(axis for axis in range(reading.ndim) if axis not in order)
    kept = [axis - sum(other < axis for other in gone) for axis in order]
    reading = np.any(reading, axis=gone, keepdims=True).squeeze(gone).transpose(kept)
    counts = reading.sum(axis=-1)
    first = np.argsort(reading == 0, axis=-1, kind="stable")[..., : counts.max()]
    positions = np.where(np.take_along_axis(reading, first, axis=-1), first, NOWHERE)
    return Read(
        tuple(results),
        lambda *indices: positions[tuple(index[..., 0] for index in indices)],
        bounded=tuple(results),
        partial=not counts.all(),
    )


def multiply(step: Equation) -> Sequence[Reads]:
    """In place, where the other factor is not a constant zero."""
    return [_in_place_where(step, side, _weights(step, 1 - side)) for side in (0, 1)]


def select(step: Equation) -> list[Seen]:
    """In place, where a constant chooses the operand; what chooses, if it is not constant."""
    which = small_constant(step, 0)
    terms: list[tuple[Seen, Reads]] = [(step.seen[0], step.in_place(0))]
    for number in range(1, len(step.values)):
        chosen = None if which is None else which == number - 1
        if chosen is None or chosen.any():
            terms.append((step.seen[number], _in_place_where(step, number, chosen)))
    return [seen_through(terms, step.out_shapes[0])]


def _in_place_where(step: Equation, number: int, reading: np.ndarray | None) -> Reads:
    """In place, but nothing where a mask along one axis of places says so."""
    reads = step.in_place(number)
    if reading is not None:
        places = {axis for seen in step.seen for field in seen or () for axis in field.places}
        varying = varying_axes(reading)
        if len(varying) == 1 and varying[0] in places:
            line = np.moveaxis(reading, varying[0], 0).reshape(reading.shape[varying[0]], -1)[:, 0]
            (axis,), positions = varying, np.where(line, np.arange(len(line)), NOWHERE)
            reads[axis] = Read((axis,), lambda i: positions[i], bounded=(axis,), partial=True)
    return reads


def small_constant(step: Equation, number: int) -> np.ndarray | None:
    """The entries of an operand that depends on no argument, unless they are too many."""
    constant = step.constant(number)
    if constant is None or math.prod(step.shapes[number]) > MOST_COMPARED:
        return None
    return np.asarray(constant.compute())


def varying_axes(table: np.ndarray) -> list[int]:
    """Axes along which the entries of a table are not all the same."""
    return [axis for axis in range(table.ndim) if (table != table.take([0], axis)).any()]


READS = {"dot_general": dot_general, "mul": multiply}
OTHERS = {"select_n": select}

"""At which positions indexing reads: exactly where the indices are constants, else everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dilax.analysis._field import NOWHERE, Read, Reads, in_place, whole
from dilax.analysis._rules import slices
from dilax.analysis._trace import Equation, Rule, Seen


def dynamic_slice(step: Equation) -> list[Seen]:
    """Read from a start on that is constant; else everywhere along the axes that get shorter."""
    old, new = step.shapes[0], step.out_shapes[0]
    starts = _integers(step, range(1, 1 + len(old)))
    if starts is None:
        reads = _everywhere(step, 0, [a for a in range(len(old)) if old[a] != new[a]])
    else:
        limits = zip(starts, old, new, strict=True)
        reads = slices([min(max(start, 0), n - m) for start, n, m in limits])
    return [step.read(reads, *_indices(step, first=1))]


def dynamic_update_slice(step: Equation) -> list[Seen]:
    """Read the operand, and in the slice the update."""
    old, part = step.shapes[:2]
    starts = _integers(step, range(2, 2 + len(old)))
    shorter = [axis for axis in range(len(old)) if old[axis] != part[axis]]
    if starts is None:
        update = _everywhere(step, 1, shorter)
    else:
        limits = [min(max(start, 0), n - m) for start, n, m in zip(starts, old, part, strict=True)]
        placed = {axis: _placed(axis, limits[axis], part[axis]) for axis in shorter}
        update = {**step.in_place(1), **placed}
    return [step.read(step.in_place(0), update, *_indices(step, first=2))]


def _placed(axis: int, start: int, size: int) -> Read:
    """Read a part of an axis that begins at ``start``."""

    def positions(index: np.ndarray) -> np.ndarray:
        places = index - start
        return np.where((places >= 0) & (places < size), places, NOWHERE)

    return Read((axis,), positions, partial=True)


def gather(step: Equation) -> list[Seen]:
    """Read what constant indices pick out; the whole of axes that others index."""
    numbers, sizes = step.params["dimension_numbers"], step.params["slice_sizes"]
    shape, out = step.shapes[0], step.out_shapes[0]
    batching = numbers.operand_batching_dims
    dropped = (*numbers.collapsed_slice_dims, *batching)
    kept = [axis for axis in range(len(shape)) if axis not in dropped]
    offsets = dict(zip(kept, numbers.offset_dims, strict=True))
    places = [axis for axis in range(len(out)) if axis not in numbers.offset_dims]
    reads = {axis: in_place(place) for axis, place in offsets.items()}
    for axis, own in zip(batching, numbers.start_indices_batching_dims, strict=True):
        reads[axis] = in_place(places[own])
    constant = step.constant(1)
    indexed = [a for a in numbers.start_index_map if a in dropped or sizes[a] != shape[a]]
    if constant is None:
        reads |= {axis: _everywhere(step, 0, [axis])[axis] for axis in indexed}
    else:
        table = np.asarray(constant.compute())
        for number, axis in enumerate(numbers.start_index_map):
            starts = table[..., number].clip(0, shape[axis] - sizes[axis])
            reads[axis] = _from_table(starts, places, offsets.get(axis))
    own = {axis: in_place(place) for axis, place in enumerate(places)}
    return [step.read(reads, {**own, len(places): whole(step.shapes[1][-1])})]


def _from_table(starts: np.ndarray, places: Sequence[int], offset: int | None) -> Read:
    """Read from constant starts on, which lie in the output along ``places``.

    >>> _from_table(np.array([4, 0, 7]), [1], None).positions(np.array([[0], [2]]))
    array([[4],
           [7]])
    """
    varying = [n for n in range(starts.ndim) if (starts != starts.take([0], n)).any()]
    starts = starts[tuple(slice(None) if n in varying else 0 for n in range(starts.ndim))]
    axes = tuple(places[n] for n in varying)

    def positions(*indices: np.ndarray) -> np.ndarray:
        first = np.asarray(starts[indices[: len(axes)]])
        return first + indices[-1] if offset is not None else np.atleast_1d(first)

    return Read(axes if offset is None else (*axes, offset), positions, bounded=axes)


def scatter(step: Equation) -> list[Seen]:
    """Read the operand, and everywhere along the axes that are indexed, the updates."""
    numbers = step.params["dimension_numbers"]
    shape, update = step.shapes[0], step.shapes[2]
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(len(shape)) if axis not in gone]
    axes = dict(zip(numbers.update_window_dims, kept, strict=True))
    full = {a: in_place(axis) for a, axis in axes.items() if update[a] == shape[axis]}
    indexed = [axis for axis in range(len(update)) if axis not in full]
    updates = {**_everywhere(step, 2, indexed), **full}
    return [step.read(step.in_place(0), step.everywhere(1), updates)]


def _everywhere(step: Equation, number: int, axes: Sequence[int]) -> dict[int, Read]:
    """Read some axes everywhere, which is said where that may be too much."""
    for axis in axes:
        if step.differs_along(number, axis):
            step.assume(f"whole axis {axis} assumed, because its indices cannot be followed")
    return {**step.in_place(number), **{axis: whole(step.shapes[number][axis]) for axis in axes}}


def _indices(step: Equation, *, first: int) -> list[Reads]:
    return [step.everywhere(number) for number in range(first, len(step.seen))]


def _integers(step: Equation, numbers: Sequence[int]) -> list[int] | None:
    constants = [step.constant(number) for number in numbers]
    if any(constant is None for constant in constants):
        return None
    return [int(constant.compute()) for constant in constants if constant is not None]


RULES: dict[str, Rule] = {
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "gather": gather,
    **dict.fromkeys(("scatter", "scatter_mul", "scatter_min", "scatter_max"), scatter),
    **dict.fromkeys(("scatter-add", "scatter_add", "scatter_sub", "scatter-update"), scatter),
}

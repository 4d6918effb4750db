"""What each entry of an array sees along one axis of the input: a graph of reads, followed back.

Each operation of a network says at which positions of its operands an output entry *reads*: a
convolution at ``s i + d k - low`` for every tap ``k``, a transposition at the same indices in
another order, a concatenation in one of its parts, a sum at every position of an axis. A `Field`
keeps these reads and computes nothing. `tables` follows them from the entries that are asked for
back to the input, and finds the first and the last input met on any way. It is exact, however axes
are merged, split and mixed: only what lies between first and last is not told apart.

Positions may lie outside of an array. They are the padding of whatever reads there, and see what
the array would show there if it went on, which the reads say by the same formula.

For example, three taps with stride 2 on three taps, over an input of 8 entries:

>>> def taps(stride):
...     return Read((0,), lambda i: stride * i + np.array([-1, 0, 1]))
>>> below = union([(source(8, 0), {0: taps(1)})])
>>> above = union([(below, {0: taps(2)})])
>>> first, last = table(above, {0: (0, 4)})
>>> first, last
(array([-2,  0,  2,  4]), array([2, 4, 6, 8]))

Rows of 4 entries in a line of 8, as in ``x.reshape(2, 4)``: entry ``(i, j)`` reads at ``4 i + j``.
Their first column is what ``y[:, 0]`` reads.

>>> rows = union([(source(8, 0), {0: Read((0, 1), lambda i, j: 4 * i + j)})])
>>> column = union([(rows, {0: in_place(0), 1: Read((), lambda: np.array([0]))})])
>>> table(column, {0: (0, 2)})[0]
array([0, 4])
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

NOWHERE = 1 << 40
"""A position that does not exist, and the first input of an entry that sees none."""
_NONE = (NOWHERE, -NOWHERE)


@dataclasses.dataclass(frozen=True)
class Read:
    """At which positions of one axis of an operand an output entry reads."""

    axes: tuple[int, ...]
    """The axes of the output on whose indices the positions depend."""
    positions: Callable[..., np.ndarray]
    """From the indices along ``axes``, ``(..., 1)`` each, to the positions, ``(..., count)``."""
    bounded: tuple[int, ...] = ()
    """Those of ``axes`` along which ``positions`` holds inside of the output only."""
    partial: bool = False
    """Whether some indices read nothing of the operand, also where its entries see alike."""


Reads = Mapping[int, Read]
"""A `Read` for every axis of an operand."""


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """What an array sees along an input axis of ``length`` entries: the union of some reads."""

    length: int
    axes: tuple[int, ...]
    """The axes of the array along which entries may see different inputs."""
    terms: tuple[tuple[Field, Reads], ...] = ()
    """The operands' fields, and how they are read. The input itself has none, and one axis."""
    bounds: Mapping[int, int] = dataclasses.field(default_factory=dict)
    """Sizes of axes outside of which some read does not hold: there the field is periodic."""
    interval: tuple[int, int] | None = None
    """First and last input, where all entries see the same."""
    depth: int = 0


Box = Mapping[int, tuple[int, int]]
"""Start and stop of the entries asked for, for every axis along which a field differs."""
Table = tuple[np.ndarray, np.ndarray]
"""First and last input seen by every entry of a box; its axes are those of the field."""
Places = Mapping[int, np.ndarray]
"""Positions read along every axis of an operand: the field's axes, and one of alternatives."""


def source(length: int, axis: int) -> Field:
    """The field of the input: position ``i`` along its axis sees entry ``i``."""
    return Field(length, (axis,))


def _same(index: np.ndarray) -> np.ndarray:
    return index


def in_place(axis: int) -> Read:
    """Read at the output's index along ``axis``."""
    return Read((axis,), _same)


def whole(size: int) -> Read:
    """Read everywhere along an axis of ``size`` entries."""
    return Read((), lambda: np.arange(size))


def union(terms: Sequence[tuple[Field, Reads]], shape: Sequence[int] = ()) -> Field:
    """What an array of ``shape`` sees through its reads of some operands.

    ``shape`` may be left out where no read is bounded. Operands of one field, all read in place,
    give that field; one that sees everything from everywhere gives its own.
    """
    fields = {field for field, _ in terms}
    in_place_all = all(reads[a] == in_place(a) for field, reads in terms for a in field.axes)
    if len(fields) == 1 and in_place_all:
        return fields.pop()
    terms = tuple(
        (field, {axis: r for axis, r in reads.items() if axis in field.axes or r.partial})
        for field, reads in terms
    )
    for field, reads in terms:
        if field.interval == (0, field.length - 1) and not reads:
            return field
    reads = [read for _, own in terms for read in own.values()]
    joint = Field(
        terms[0][0].length,
        tuple(sorted({int(axis) for read in reads for axis in read.axes})),
        terms,
        {axis: shape[axis] for read in reads for axis in read.bounded},
        depth=1 + max(field.depth for field in fields),
    )
    if joint.axes:
        return joint
    # All see the same, far from any border: no padding has a part in it.
    first, last = (int(end) for end in table(joint, {}))
    first, last = max(first, 0), min(last, joint.length - 1)
    return Field(joint.length, (), interval=(first, last) if first <= last else _NONE)


def table(field: Field, box: Box) -> Table:
    """First and last input seen by every entry in a box."""
    return tables([(field, box)])[0]


def tables(asked: Iterable[tuple[Field, Box]]) -> list[Table]:
    """The tables of several fields, with what they have in common computed once.

    From the outputs down every field is asked for the least box that holds all that is read of it;
    from the input up every table is then looked up in those of its operands.
    """
    asked = list(asked)
    boxes: dict[Field, dict[int, tuple[int, int]]] = {}
    for field, box in asked:
        _widen(boxes, field, box)
    order = sorted(_ancestors(boxes), key=lambda field: -field.depth)
    places: dict[Field, list[Places | None]] = {}
    for field in order:
        if field in boxes:
            places[field] = [_places(field, reads, boxes[field]) for _, reads in field.terms]
            for (operand, _), positions in zip(field.terms, places[field], strict=True):
                if positions is not None:
                    _widen(boxes, operand, _limits(operand, positions))
    found: dict[Field, Table] = {}
    for field in reversed(order):
        if field in boxes:
            found[field] = _computed(field, boxes, places[field], found)
    return [_cut(field, found[field], boxes[field], box) for field, box in asked]


def period_of(first: np.ndarray, last: np.ndarray, *, rounds: int = 2) -> tuple[int, int] | None:
    """The shortest period of a table along its axis 0, and by how much it moves on each time.

    Entry ``i + period`` sees what entry ``i`` sees, ``shift`` inputs further on. None where there
    is no period of which the table holds some ``rounds``.

    >>> period_of(np.array([0, 0, 2, 2, 4]), np.array([1, 2, 3, 4, 5]))
    (2, 2)
    """
    for period in _periods(len(first), len(first) // rounds):
        seen = first[period:] < NOWHERE
        if not np.array_equal(seen, first[:-period] < NOWHERE):
            continue
        steps = [(end[period:] - end[:-period])[seen] for end in (first, last)]
        ahead = np.concatenate(steps)
        if not len(ahead):
            return period, 0
        if (ahead == ahead[0]).all():
            return period, int(ahead[0])
    return None


def continued(ends: Table, period: int, shift: int, positions: np.ndarray) -> Table:
    """The entries at ``positions`` of a table that goes on by its period along axis 0."""
    rounds, places = np.divmod(positions, period)
    further = (rounds * shift).reshape(-1, *(1,) * (ends[0].ndim - 1))
    first, last = (end[places] + further for end in ends)
    return _where(ends[0][places] < NOWHERE, first, last)


# --- from the outputs down ------------------------------------------------------------------------


def _ancestors(fields: Iterable[Field]) -> set[Field]:
    found, waiting = set(fields), list(fields)
    while waiting:
        operands = {operand for operand, _ in waiting.pop().terms} - found
        found |= operands
        waiting += operands
    return found


def _widen(boxes: dict[Field, dict[int, tuple[int, int]]], field: Field, box: Box) -> None:
    """Ask a field for a box beside what it is asked for already."""
    known = boxes.setdefault(field, dict(box))
    for axis, (start, stop) in box.items():
        known[axis] = min(start, known[axis][0]), max(stop, known[axis][1])
        size = field.bounds.get(axis)
        if size is not None and (known[axis][0] < 0 or known[axis][1] > size):
            known[axis] = min(0, known[axis][0]), max(size, known[axis][1])


def _inside(field: Field, box: Box) -> Box:
    """The part of a box in which the reads hold."""
    inside = dict(box)
    for axis, size in field.bounds.items():
        inside[axis] = max(box[axis][0], 0), min(box[axis][1], size)
    return inside


def _places(field: Field, reads: Reads, box: Box) -> Places | None:
    """The positions of an operand that a box reads; None if it reads nowhere."""
    box, rank = _inside(field, box), len(field.axes)
    indices = {
        axis: np.arange(*box[axis]).reshape([-1 if n == place else 1 for n in range(rank + 1)])
        for place, axis in enumerate(field.axes)
    }
    found = {}
    for axis, read in reads.items():
        positions = read.positions(*(indices[a] for a in read.axes))
        found[axis] = positions.reshape((1,) * (rank + 1 - positions.ndim) + positions.shape)
    somewhere = all((positions < NOWHERE).any() for positions in found.values())
    return found if somewhere else None


def _limits(operand: Field, places: Places) -> Box:
    real = {axis: places[axis][places[axis] < NOWHERE] for axis in operand.axes}
    return {axis: (int(one.min()), int(one.max()) + 1) for axis, one in real.items()}


# --- from the input up ----------------------------------------------------------------------------


def _computed(
    field: Field,
    boxes: Mapping[Field, Box],
    places: Sequence[Places | None],
    found: Mapping[Field, Table],
) -> Table:
    """The table of a field from those of its operands."""
    box, inside = boxes[field], _inside(field, boxes[field])
    if field.interval:
        return np.array(field.interval[0]), np.array(field.interval[1])
    if not field.terms:
        positions = np.arange(*box[field.axes[0]])
        return positions, positions
    shape = [inside[axis][1] - inside[axis][0] for axis in field.axes]
    first, last = np.full(shape, NOWHERE), np.full(shape, -NOWHERE)
    for (operand, _), positions in zip(field.terms, places, strict=True):
        if positions is not None:
            low, high = _looked_up(found[operand], boxes[operand], positions)
            first, last = np.minimum(first, low), np.maximum(last, high)
    for place, axis in enumerate(field.axes):
        if inside[axis] != box[axis]:
            first, last = _beyond((first, last), place, inside[axis], box[axis])
    return first, last


def _looked_up(ends: Table, box: Box, places: Places) -> Table:
    """First and last input over all alternatives, those of each axis of the operand."""
    count = len(places)
    spread = {
        axis: found.reshape(*found.shape[:-1], *(-1 if n == place else 1 for n in range(count)))
        for place, (axis, found) in enumerate(places.items())
    }
    exists = functools.reduce(np.logical_and, (found < NOWHERE for found in spread.values()), True)
    index = tuple(
        np.where(spread[axis] < NOWHERE, spread[axis] - start, 0)
        for axis, (start, _) in sorted(box.items())
    )
    first, last = _where(exists, ends[0][index], ends[1][index])
    alternatives = tuple(range(first.ndim - count, first.ndim))
    first = first.min(axis=alternatives, initial=NOWHERE)
    return first, last.max(axis=alternatives, initial=-NOWHERE)


def _beyond(ends: Table, place: int, inside: tuple[int, int], box: tuple[int, int]) -> Table:
    """A table gone on beyond the ends of an axis by its period; nothing where it has none."""
    first, last = (np.moveaxis(end, place, 0) for end in ends)
    positions = np.arange(*box) - inside[0]
    if (found := period_of(first, last)) is not None:
        first, last = continued((first, last), *found, positions)
    else:
        real = (positions >= 0) & (positions < len(first))
        places = np.where(real, positions, 0)
        real = real.reshape(-1, *(1,) * (first.ndim - 1))
        first, last = _where(real, first[places], last[places])
    return np.moveaxis(first, 0, place), np.moveaxis(last, 0, place)


def _where(seen: np.ndarray, first: np.ndarray, last: np.ndarray) -> Table:
    """Ends of an interval where something is seen, and of none elsewhere."""
    return np.where(seen, first, NOWHERE), np.where(seen, last, -NOWHERE)


def _cut(field: Field, ends: Table, box: Box, asked: Box) -> Table:
    index = tuple(slice(*(np.array(asked[a]) - box[a][0])) for a in field.axes)
    return ends[0][index], ends[1][index]


def _periods(length: int, longest: int) -> Iterator[int]:
    """Short periods, and those that divide the length."""
    yield from range(1, min(64, longest) + 1)
    yield from (period for period in range(65, longest + 1) if length % period == 0)

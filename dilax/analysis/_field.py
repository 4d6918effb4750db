"""What each entry of an array sees along one axis of the input: a graph of reads, followed back.

Each operation of a network says at which positions of its operands an output entry *reads*: a
convolution at ``s i + d k - low`` for every tap ``k``, a transposition at the same indices in
another order, a concatenation in one of its parts, a sum at every position of an axis. A `Field`
keeps these reads and computes nothing. `tables` follows them from the entries that are asked for
back to the input, and finds the first and the last input that is met. That is exact, however axes
are merged, split and mixed; only what lies between first and last is not told apart.

Positions may lie outside of an array. They are the padding of whatever reads there, and see what
the array would show there if it went on, by the same formula.

For example, three taps with stride 2 on three taps, over an input of 8 entries:

>>> def taps(stride):
...     return {0: Read((0,), lambda i: stride * i + np.array([-1, 0, 1]))}
>>> above = read(read(source(8, axis=0), taps(stride=1)), taps(stride=2))
>>> first, last = table(above, {0: (0, 4)})
>>> first, last
(array([-2,  0,  2,  4]), array([2, 4, 6, 8]))

Eight entries in two rows of four, as by ``x.reshape(2, 4)``: entry ``(i, j)`` reads at ``4 i + j``.
Of these ``.sum(axis=1)`` reads every ``j``.

>>> rows = read(source(8, axis=0), {0: Read((0, 1), lambda i, j: 4 * i + j)})
>>> table(read(rows, {0: in_place(0), 1: whole(4)}), {0: (0, 2)})
(array([0, 4]), array([3, 7]))
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

NOWHERE = 1 << 40
"""A position that does not exist, and the first input of an entry that sees none."""


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
    """Whether some indices read nothing of the operand, even where all its entries see the same."""


LONG = 1 << 12
"""So many entries along an axis are not compared with each other, to find those that read alike."""

MOST_COMPARED = 1 << 20
"""So many positions at most are looked at, to find whether one read undoes another."""

Reads = Mapping[int, Read]
"""A `Read` for every axis of an operand."""


@dataclasses.dataclass(frozen=True, eq=False)
class Field:
    """What an array sees along an input axis of ``length`` entries.

    It is one of four: the input itself, without operands; what all entries see alike, an
    ``interval``; an operand as it is read; or, without ``reads``, the union of operands in place.
    """

    length: int
    axes: tuple[int, ...]
    """The axes of the array along which entries may see different inputs."""
    interval: tuple[int, int] | None = None
    operands: tuple[Field, ...] = ()
    reads: Reads | None = None
    bounds: Mapping[int, int] = dataclasses.field(default_factory=dict)
    """Sizes of axes outside of which ``reads`` does not hold, but the field has a period."""
    depth: int = 0
    """Longest way to the input: greater than that of every operand."""

    @property
    def is_union(self) -> bool:
        """Whether it is the union of its operands."""
        return self.reads is None and bool(self.operands)


Box = Mapping[int, tuple[int, int]]
"""Start and stop of the entries asked for, for each of a field's axes."""
Table = tuple[np.ndarray, np.ndarray]
"""First and last input seen by every entry of a box; its axes are those of the field."""


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


def read(operand: Field, reads: Reads, shape: Sequence[int] = ()) -> Field:
    """What an array of ``shape`` sees that reads an operand so.

    ``shape`` may be left out where no read is bounded.
    """
    reads = {axis: own for axis, own in reads.items() if axis in operand.axes or own.partial}
    if all(own == in_place(axis) for axis, own in reads.items()):
        return operand
    for simplified in (_undone(operand, reads, shape), _summed_before(operand, reads, shape)):
        if simplified is not None:
            return simplified
    sums = any(not own.axes for own in reads.values())
    renumbers = all(own.positions is _same for own in reads.values())
    if len(operand.axes) > 1 and operand.is_union and (sums or renumbers):
        # A part of the union may see the same from everywhere, and needs no large table then.
        return union([read(part, reads, shape) for part in operand.operands])
    result = Field(
        operand.length,
        tuple(sorted({int(axis) for own in reads.values() for axis in own.axes})),
        operands=(operand,),
        reads=reads,
        bounds={axis: shape[axis] for own in reads.values() for axis in own.bounded},
        depth=1 + operand.depth,
    )
    if result.axes:
        return result
    # All entries see the same, wherever they are: padding has no part in it.
    first, last = (int(end) for end in table(result, {}))
    return _alike(operand.length, max(first, 0), min(last, operand.length - 1))


def _undone(operand: Field, reads: Reads, shape: Sequence[int]) -> Field | None:
    """What an operand reads, in place, where new reads undo its own, as two reshapes may."""
    if operand.is_union:
        parts = [_undone(part, reads, shape) if part.axes else part for part in operand.operands]
        known = [part for part in parts if part is not None]
        return union(known) if len(known) == len(parts) else None
    if operand.reads is None or not shape or not reads:
        return None
    in_places = {}
    for axis, own in operand.reads.items():
        if not own.axes:
            in_places[axis] = own
            continue
        outer = [reads[a] for a in own.axes if a in reads]
        if len(outer) < len(own.axes) or own.partial or any(each.partial for each in outer):
            return None
        axes = sorted({a for each in outer for a in each.axes})
        if not axes or math.prod(shape[a] for a in axes) > MOST_COMPARED:
            return None
        index = {
            a: np.arange(shape[a]).reshape([-1 if a == b else 1 for b in (*axes, None)])
            for a in axes
        }
        places = [each.positions(*(index[a] for a in each.axes)) for each in outer]
        if any(place.shape[-1:] != (1,) for place in places):
            return None
        found = own.positions(*places)
        same = [a for a in axes if found.shape[-1:] == (1,) and (found == index[a]).all()]
        if not same:
            return None
        in_places[axis] = in_place(same[0])
    return read(operand.operands[0], in_places, shape)


def _summed_before(operand: Field, reads: Reads, shape: Sequence[int]) -> Field | None:
    """A sum of what an operand reads as a read of the sum: a reshape after it, not before.

    So the second of two reshapes around a product of matrices undoes the first.
    """
    sums = {a for a, own in reads.items() if not own.axes}
    if operand.reads is None or not sums or any(own.bounded for own in operand.reads.values()):
        return None
    used = [a for own in operand.reads.values() for a in own.axes if a in sums]
    if len(set(used)) < len(used):
        return None  # Two axes are summed together: they are not independent of each other.
    inner: dict[int, Read] = {}
    for axis, own in operand.reads.items():
        if own.axes and set(own.axes) <= sums and len(own.axes) == 1 and not own.partial:
            positions = np.unique(own.positions(reads[own.axes[0]].positions()[..., None]))
            inner[axis] = Read((), functools.partial(_itself, positions))
        elif all(a in reads and reads[a].positions is _same for a in own.axes):
            axes = tuple(reads[a].axes[0] for a in own.axes)
            inner[axis] = dataclasses.replace(own, axes=axes)
        else:
            return None
    return read(operand.operands[0], inner, shape)


def _itself(positions: np.ndarray) -> np.ndarray:
    return positions


def union(fields: Sequence[Field]) -> Field:
    """What arrays of one shape see together, entry by entry."""
    fields = tuple(dict.fromkeys(fields))
    if len(fields) == 1:
        return fields[0]
    length = fields[0].length
    for field in fields:
        if field.interval == (0, length - 1):
            return field
    axes = tuple(sorted({axis for field in fields for axis in field.axes}))
    if not axes:
        firsts, lasts = zip(*(field.interval or () for field in fields), strict=True)
        return _alike(length, min(firsts), max(lasts))
    return Field(length, axes, operands=fields, depth=1 + max(field.depth for field in fields))


def _alike(length: int, first: int, last: int) -> Field:
    return Field(length, (), (first, last) if first <= last else (NOWHERE, -NOWHERE))


def table(field: Field, box: Box) -> Table:
    """First and last input seen by every entry in a box."""
    return tables([(field, box)])[0]


def tables(asked: Iterable[tuple[Field, Box]]) -> list[Table]:
    """The tables of several fields, with what they have in common computed once.

    From the outputs down, every field is asked for the least box that holds all that is read of it;
    from the input up, every table is then made from those of its operands.
    """
    asked = list(asked)
    boxes: dict[Field, Box] = {}
    for field, box in asked:
        _ask(boxes, field, box)
    order = sorted(_ancestors(boxes), key=lambda field: field.depth)
    for field in reversed(order):
        if field in boxes:
            for operand in field.operands:
                _ask(boxes, operand, _asked_of(operand, field, boxes[field]))
    found: dict[Field, Table] = {}
    for field in order:
        if field in boxes:
            found[field] = _computed(field, boxes, found)
    return [_cut(found[field], boxes[field], box) for field, box in asked]


def period_of(ends: Table, size: int, *, rounds: int = 2) -> tuple[int, int] | None:
    """The shortest period of a table along its axis 0, and by how much it moves on each time.

    Entry ``i + period`` sees what entry ``i`` sees, ``shift`` inputs further on. The table holds
    some ``rounds`` of the period at least; None if there is no such period. A long one must divide
    the ``size`` of the array.

    >>> period_of((np.array([0, 0, 2, 2, 4]), np.array([1, 2, 3, 4, 5])), 5)
    (2, 2)
    """
    seen = ends[0] < NOWHERE
    for period in _periods(size, len(seen) // rounds):
        if np.array_equal(seen[period:], seen[:-period]):
            ahead = [(end[period:] - end[:-period])[seen[period:]] for end in ends]
            steps = np.concatenate(ahead)
            if (steps == steps[:1]).all():
                return period, int(steps[0]) if len(steps) else 0
    return None


def continued(ends: Table, period: int, shift: int, positions: np.ndarray) -> Table:
    """The entries at ``positions`` of a table that goes on by its period along axis 0."""
    rounds, places = np.divmod(positions, period)
    further = (rounds * shift).reshape(-1, *(1,) * (ends[0].ndim - 1))
    return _where(ends[0][places] < NOWHERE, ends[0][places] + further, ends[1][places] + further)


# --- from the outputs down ------------------------------------------------------------------------


def _ancestors(fields: Iterable[Field]) -> set[Field]:
    found, waiting = set(fields), list(fields)
    while waiting:
        operands = set(waiting.pop().operands) - found
        found |= operands
        waiting += operands
    return found


def _ask(boxes: dict[Field, Box], field: Field, box: Box | None) -> None:
    """Ask a field for a box, beside what it is asked for already."""
    if box is None:
        return
    known = dict(boxes.get(field, box))
    for axis, (start, stop) in box.items():
        start, stop = min(start, known[axis][0]), max(stop, known[axis][1])
        size = field.bounds.get(axis, stop)
        if start < 0 or stop > size:  # It shows only as a whole how it goes on.
            start, stop = min(start, 0), max(stop, size)
        known[axis] = start, stop
    boxes[field] = known


def _asked_of(operand: Field, field: Field, box: Box) -> Box | None:
    """The box of an operand that a field reads; None if it reads nothing."""
    if field.is_union:
        return {axis: box[axis] for axis in operand.axes}
    places = _places(field, box)
    real = {axis: found[found < NOWHERE] for axis, found in places.items()}
    if not all(map(len, real.values())):
        return None
    return {axis: (int(real[axis].min()), int(real[axis].max()) + 1) for axis in operand.axes}


def _places(field: Field, box: Box) -> Mapping[int, np.ndarray]:
    """The positions of an operand that a box reads: the field's axes, and one of alternatives."""
    inside, rank = _inside(field, box), len(field.axes)
    indices = {
        axis: np.arange(*inside[axis]).reshape([-1 if n == place else 1 for n in range(rank + 1)])
        for place, axis in enumerate(field.axes)
    }
    found = {}
    for axis, own in (field.reads or {}).items():
        positions = own.positions(*(indices[a] for a in own.axes))
        found[axis] = positions.reshape((1,) * (rank + 1 - positions.ndim) + positions.shape)
    return found


def _inside(field: Field, box: Box) -> Box:
    """The part of a box in which the reads hold."""
    inside = dict(box)
    for axis, size in field.bounds.items():
        inside[axis] = max(box[axis][0], 0), min(box[axis][1], size)
    return inside


# --- from the input up ----------------------------------------------------------------------------


def _computed(field: Field, boxes: Mapping[Field, Box], found: Mapping[Field, Table]) -> Table:
    """The table of a field from those of its operands."""
    box = boxes[field]
    if field.interval:
        return np.array(field.interval[0]), np.array(field.interval[1])
    if not field.operands:
        positions = np.arange(*box[field.axes[0]])
        return positions, positions
    if field.is_union:
        return _united(field, boxes, found)
    inside, places = _inside(field, box), _places(field, box)
    shape = [inside[axis][1] - inside[axis][0] for axis in field.axes]
    ends = np.full(shape, NOWHERE), np.full(shape, -NOWHERE)
    if all((positions < NOWHERE).any() for positions in places.values()):
        (operand,) = field.operands
        first, last = _looked_up(found[operand], boxes[operand], places)
        ends = np.minimum(ends[0], first), np.maximum(ends[1], last)
    for place, axis in enumerate(field.axes):
        if inside[axis] != box[axis]:
            ends = _beyond(ends, place, inside[axis], box[axis], field.bounds[axis])
    return ends


def _united(field: Field, boxes: Mapping[Field, Box], found: Mapping[Field, Table]) -> Table:
    box = boxes[field]
    parts = []
    for operand in field.operands:
        ends = _cut(found[operand], boxes[operand], {axis: box[axis] for axis in operand.axes})
        index = tuple(slice(None) if axis in operand.axes else None for axis in field.axes)
        parts.append((ends[0][index], ends[1][index]))
    firsts, lasts = zip(*parts, strict=True)
    return functools.reduce(np.minimum, firsts), functools.reduce(np.maximum, lasts)


def _looked_up(ends: Table, box: Box, places: Mapping[int, np.ndarray]) -> Table:
    """First and last input over all alternatives, along all axes of the operand."""
    axes = sorted(places)
    offsets = [
        np.where(places[axis] < NOWHERE, places[axis] - box[axis][0] if axis in box else 0, NOWHERE)
        for axis in axes
    ]
    known = tuple(slice(None) if axis in box else None for axis in axes)  # alike along the others
    ends = ends[0][known], ends[1][known]
    varying = [{axis for axis, n in enumerate(each.shape[:-1]) if n > 1} for each in offsets]
    apart = len(set().union(*varying)) == sum(map(len, varying))
    return _axis_by_axis(ends, offsets, varying) if apart else _all_together(ends, offsets)


def _axis_by_axis(ends: Table, offsets: list[np.ndarray], varying: list[set[int]]) -> Table:
    """Look up along one axis of the operand after another, no two of which vary alike.

    Entries that read at the same positions, such as the features of a group, are looked up once.
    """
    first, last = ends
    expanded = []
    for axis, positions in enumerate(offsets):
        rows = positions.reshape(-1, positions.shape[-1])
        distinct, inverse = _distinct(rows)
        exists = (distinct < NOWHERE).reshape(*distinct.shape, *(1,) * (first.ndim - 1))
        index = np.where(distinct < NOWHERE, distinct, 0)
        first, last = (np.moveaxis(end, axis, 0)[index] for end in (first, last))
        first, last = _where(exists, first, last)
        first = np.moveaxis(first.min(axis=1, initial=NOWHERE), 0, axis)
        last = np.moveaxis(last.max(axis=1, initial=-NOWHERE), 0, axis)
        expanded.append(inverse)
    for axis, inverse in enumerate(expanded):
        first, last = first.take(inverse, axis=axis), last.take(inverse, axis=axis)
    order = [axis for own in varying for axis in sorted(own)]
    shape = np.broadcast_shapes(*(each.shape[:-1] for each in offsets))
    sizes = [shape[axis] for axis in order]
    first, last = (
        end.reshape(sizes).transpose(np.argsort(order)).reshape(shape) for end in (first, last)
    )
    return first, last


def _all_together(ends: Table, offsets: list[np.ndarray]) -> Table:
    """Look up along all axes of the operand at once."""
    count = len(offsets)
    spread = [
        found.reshape(*found.shape[:-1], *(-1 if n == place else 1 for n in range(count)))
        for place, found in enumerate(offsets)
    ]
    exists = functools.reduce(np.logical_and, (found < NOWHERE for found in spread))
    index = tuple(np.where(found < NOWHERE, found, 0) for found in spread)
    first, last = _where(exists, ends[0][index], ends[1][index])
    alternatives = tuple(range(first.ndim - count, first.ndim))
    first = first.min(axis=alternatives, initial=NOWHERE)
    return first, last.max(axis=alternatives, initial=-NOWHERE)


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of a matrix, and which of them each row is; all, where it is long."""
    if rows.shape[0] > LONG or rows.shape[0] == 1:
        return rows, np.arange(len(rows))
    distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
    return distinct, inverse.reshape(-1)


def _beyond(
    ends: Table, place: int, inside: tuple[int, int], box: tuple[int, int], size: int
) -> Table:
    """A table gone on beyond the ends of an axis by its period; nothing where it has none."""
    moved = [np.moveaxis(end, place, 0) for end in ends]
    rest = moved[0].shape[1:]
    columns = np.concatenate([end.reshape(len(end), -1) for end in moved])
    distinct, inverse = _distinct(columns.T)
    first, last = np.split(distinct.T, 2)
    positions = np.arange(*box) - inside[0]
    if (found := period_of((first, last), size)) is not None:
        first, last = continued((first, last), *found, positions)
    else:
        real = (positions >= 0) & (positions < len(first))
        places = np.where(real, positions, 0)
        first, last = _where(real[:, None], first[places], last[places])
    first, last = (end[:, inverse].reshape(len(positions), *rest) for end in (first, last))
    return np.moveaxis(first, 0, place), np.moveaxis(last, 0, place)


def _where(seen: np.ndarray, first: np.ndarray, last: np.ndarray) -> Table:
    """Ends of an interval where something is seen, and of none elsewhere."""
    return np.where(seen, first, NOWHERE), np.where(seen, last, -NOWHERE)


def _cut(ends: Table, box: Box, asked: Box) -> Table:
    """The part of a table of a box that was asked for."""
    index = tuple(
        slice(asked[axis][0] - start, asked[axis][1] - start)
        for axis, (start, _) in sorted(box.items())
    )
    return ends[0][index], ends[1][index]


def _periods(size: int, longest: int) -> Iterator[int]:
    """Short periods, and those that divide the size."""
    yield from range(1, min(64, longest) + 1)
    yield from (period for period in range(65, longest + 1) if size % period == 0)

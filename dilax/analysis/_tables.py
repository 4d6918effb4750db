"""First and last input that entries see: the reads of fields, followed back to the input.

That is exact, however axes are merged, split and mixed; only what lies between first and last is
not told apart.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from dilax.analysis._field import NOWHERE, Field

Box = Mapping[int, tuple[int, int]]
"""Start and stop of the entries asked for, for each of a field's axes."""
Table = tuple[np.ndarray, np.ndarray]
"""First and last input seen by every entry of a box; its axes are those of the field."""

LONG = 1 << 12
"""So many entries along an axis are not compared with each other, to find those that read alike."""


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
        index, inverse = _distinct(positions.reshape(-1, positions.shape[-1]))
        first, last = (np.moveaxis(end, axis, 0) for end in (first, last))
        exists = index < NOWHERE
        if exists.all():
            first, last = first[index], last[index]
        else:
            index = np.where(exists, index, 0)
            exists = exists.reshape(*exists.shape, *(1,) * (first.ndim - 1))
            first, last = _where(exists, first[index], last[index])
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

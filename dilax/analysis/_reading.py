"""The field of an array that reads others: a graph kept as simple as it can be.

For example, three taps with stride 2 on three taps, over an input of 8 entries:

>>> from dilax.analysis._field import source, whole
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
import math
from collections.abc import Sequence

import numpy as np

from dilax.analysis._field import NOWHERE, Field, Read, Reads, at, in_place, same
from dilax.analysis._tables import table

MOST_COMPARED = 1 << 20
"""So many positions at most are looked at, to find whether one read undoes another."""


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
    renumbers = all(own.positions is same for own in reads.values())
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
    for axis, inner in operand.reads.items():
        in_places[axis] = inner
        if inner.axes:
            few = _given_back(inner, reads, shape, 2)  # Most reads are told apart by these.
            if few is None or (found := _given_back(inner, reads, shape)) is None:
                return None
            in_places[axis] = in_place(found)
    return read(operand.operands[0], in_places, shape)


def _given_back(
    inner: Read, reads: Reads, shape: Sequence[int], count: int | None = None
) -> int | None:
    """The axis at whose index ``inner`` reads, if it is itself read by ``reads``.

    None if there is none, or if the entries of ``shape`` are too many to compare. With a ``count``,
    only so many are compared along each axis.
    """
    outer = [reads[axis] for axis in inner.axes if axis in reads]
    axes = sorted({axis for each in outer for axis in each.axes})
    if len(outer) < len(inner.axes) or any(each.partial for each in (inner, *outer)):
        return None
    if not axes or math.prod(shape[axis] for axis in axes) > MOST_COMPARED:
        return None
    first = [np.arange(shape[axis])[:count] for axis in axes]
    index = dict(zip(axes, np.ix_(*first, np.arange(1)), strict=False))
    places = [each.positions(*(index[axis] for axis in each.axes)) for each in outer]
    if any(place.shape[-1:] != (1,) for place in places):
        return None
    found = inner.positions(*places)
    alike = (axis for axis in axes if found.shape[-1:] == (1,) and (found == index[axis]).all())
    return next(alike, None)


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
            inner[axis] = at(positions)
        elif all(a in reads and reads[a].positions is same for a in own.axes):
            axes = tuple(reads[a].axes[0] for a in own.axes)
            inner[axis] = dataclasses.replace(own, axes=axes)
        else:
            return None
    return read(operand.operands[0], inner, shape)


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

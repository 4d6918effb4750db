"""Which entries along one input axis each entry of an array sees.

A `Field` is an interval, plus a `Walk` for each axis of the array along which it moves: entry
``(i, j, ...)`` sees the sum of ``interval``, ``walks[0](i)``, ``walks[1](j)``, ... With more than
one walk it follows an axis that was split in two, as in space-to-depth.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dilax.analysis._walk import NOTHING, Walk, blind, fitted, identity, joined, same

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Field:
    """What an array sees along an input axis of ``length`` entries."""

    length: int
    interval: tuple[int, int]
    walks: Mapping[int, Walk]

    @property
    def empty(self) -> bool:
        """Whether nothing is seen from anywhere."""
        walks = (bool(blind(walk.low).all()) for walk in self.walks.values())
        return self.interval[0] > NOTHING // 2 or any(walks)

    def at(self, position: Sequence[int]) -> tuple[int, int]:
        """First and last input that one entry of the array sees, padding counted."""
        low, high = self.interval
        for axis, walk in self.walks.items():
            first, last = walk.at(np.asarray(position[axis]))
            low, high = low + int(first), high + int(last)
        return (0, -1) if low > NOTHING // 2 else (low, high)

    def with_axis(self, axis: int, change: Callable[[Walk], Walk]) -> Field:
        """The field with the walk along ``axis``, if there is one, changed."""
        if axis not in self.walks:
            return self
        return _tidy(self, {**self.walks, axis: change(self.walks[axis])})

    def renumbered(self, axes: Mapping[int, int]) -> Field:
        """The field of the array with its axes renumbered; those left out must not be followed."""
        return dataclasses.replace(self, walks={axes[a]: walk for a, walk in self.walks.items()})

    def collapsed(self, axes: Sequence[int], shape: Shape) -> Field:
        """What all entries along ``axes`` together see."""
        low, high = self.interval
        rest = dict(self.walks)
        for axis in set(axes) & set(self.walks):
            first, last = rest.pop(axis).hull(shape[axis])
            low, high = low + first, high + last
        return _clipped(dataclasses.replace(self, interval=(low, high), walks=rest))

    def table(self, axis: int, low: np.ndarray, high: np.ndarray) -> Field:
        """The field with a table along ``axis`` for a walk."""
        return _tidy(self, {**self.walks, axis: Walk(low, high, bounded=True)})


def follow(length: int, axis: int) -> Field:
    """The field of the input itself along its own axis."""
    return Field(length, (0, 0), {axis: identity()})


def union(one: Field, other: Field, shape: Shape) -> tuple[Field, bool]:
    """What either sees, and whether exactly so: where they differ along two axes it is a hull."""
    if one.empty or other.empty:
        return (other if one.empty else one), True
    for field in (one, other):
        if not field.walks and field.interval == (0, field.length - 1):
            return field, True
    axes = sorted({*one.walks, *other.walks})
    differ = [a for a in axes if not _alike(one, other, a)]
    if not differ:
        low = min(one.interval[0], other.interval[0])
        high = max(one.interval[1], other.interval[1])
        return _clipped(dataclasses.replace(one, interval=(low, high))), True
    walks = {axis: walk for axis, walk in one.walks.items() if axis not in differ}
    for place, axis in enumerate(differ):
        pair = [_walk_with_interval(field, axis, first=not place) for field in (one, other)]
        walks[axis] = joined(pair[0], pair[1], shape[axis])
    joint = _tidy(dataclasses.replace(one, interval=(0, 0)), walks)
    return joint, len(differ) == 1


def stacked(parts: Sequence[Field], sizes: Sequence[int], axis: int) -> Field | None:
    """Parts side by side along ``axis``; None if they walk differently along another axis."""
    others = [{a for a in part.walks if a != axis} for part in parts]
    if any(not _alike(parts[0], part, a) for part in parts[1:] for a in set.union(*others)):
        return None
    tables = []
    for part, size in zip(parts, sizes, strict=True):
        tables.append(_walk_with_interval(part, axis, first=True).at(np.arange(size)))
    low, high = (np.concatenate(ends) for ends in zip(*tables, strict=True))
    return dataclasses.replace(parts[0], interval=(0, 0)).table(axis, low, high)


def reshaped(field: Field, old: Shape, new: Shape) -> tuple[Field, bool]:
    """The field of an array reshaped, and whether exactly so."""
    if 0 in old:
        return field.collapsed(tuple(field.walks), old), True
    result, exact = dataclasses.replace(field, walks={}), True
    moved: dict[int, Walk] = {}
    for old_axes, new_axes in _blocks(old, new):
        walks = {axis: field.walks[axis] for axis in old_axes if axis in field.walks}
        if not walks:
            continue
        long_old = [axis for axis in old_axes if old[axis] > 1]
        long_new = [axis for axis in new_axes if new[axis] > 1]
        if len(old_axes) == len(new_axes) == 1 or (
            len(long_old) == len(long_new) == 1 and set(walks) == set(long_old)
        ):
            target = long_new[0] if long_new else new_axes[0]
            moved[target] = walks.popitem()[1]
            continue
        parts, interval, fits = _merged_and_split(
            walks, old, old_axes, tuple(new[axis] for axis in new_axes)
        )
        low, high = result.interval
        result = dataclasses.replace(result, interval=(low + interval[0], high + interval[1]))
        moved |= {new_axes[place]: walk for place, walk in parts.items()}
        exact &= fits
    return _tidy(result, moved), exact


def _merged_and_split(
    walks: Mapping[int, Walk], old: Shape, old_axes: Sequence[int], sizes: Shape
) -> tuple[dict[int, Walk], tuple[int, int], bool]:
    """Walks along the new axes of ``sizes``, of walks along old ones that hold the same entries.

    Where they are no sum, the outermost axis keeps its walk, and along the others all see alike.
    """
    low, high = (ends.reshape(sizes) for ends in _grid(walks, old, old_axes))
    bounded = any(walk.bounded for walk in walks.values())
    make = (lambda low, high: Walk(low, high, bounded=True)) if bounded else fitted
    if not blind(low).any() and _is_sum(low) and _is_sum(high):
        lines = [(_line(low, axis), _line(high, axis)) for axis in range(len(sizes))]
        parts = {a: make(*line) for a, line in enumerate(lines) if sizes[a] > 1}
        corner = (0,) * len(sizes)
        return parts, (int(low[corner]), int(high[corner])), True
    outer = next(axis for axis, size in enumerate(sizes) if size > 1)
    others = tuple(axis for axis in range(len(sizes)) if axis != outer)
    walk = make(low.min(axis=others), high.max(axis=others))
    return {outer: walk}, (0, 0), sum(size > 1 for size in sizes) == 1


def _line(ends: np.ndarray, axis: int) -> np.ndarray:
    """The first line along an axis, from 0 on."""
    first = ends[tuple(slice(None) if a == axis else 0 for a in range(ends.ndim))]
    return first - first[0]


def _is_sum(ends: np.ndarray) -> bool:
    """Whether an array is the sum of its first lines."""
    total = ends[(0,) * ends.ndim]
    for axis in range(ends.ndim):
        along = [-1 if a == axis else 1 for a in range(ends.ndim)]
        total = total + _line(ends, axis).reshape(along)
    return np.array_equal(total, ends)


def _grid(
    walks: Mapping[int, Walk], old: Shape, axes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """First and last input over the grid of some axes."""
    shape = tuple(old[axis] for axis in axes)
    low, high = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for place, axis in enumerate(axes):
        if axis in walks:
            first, last = walks[axis].at(np.arange(old[axis]))
            along = [-1 if p == place else 1 for p in range(len(axes))]
            low, high = low + first.reshape(along), high + last.reshape(along)
    return low, high


def _blocks(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of old and new axes that hold the same entries."""
    blocks, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        i_end, j_end = min(i + 1, len(old)), min(j + 1, len(new))
        while math.prod(old[i:i_end]) != math.prod(new[j:j_end]):
            if math.prod(old[i:i_end]) < math.prod(new[j:j_end]):
                i_end += 1
            else:
                j_end += 1
        blocks.append((list(range(i, i_end)), list(range(j, j_end))))
        i, j = i_end, j_end
    return blocks


def _alike(one: Field, other: Field, axis: int) -> bool:
    pair = one.walks.get(axis), other.walks.get(axis)
    if pair[0] is None or pair[1] is None:
        return pair[0] is pair[1]
    return same(pair[0], pair[1])


def _walk_with_interval(field: Field, axis: int, *, first: bool) -> Walk:
    """The walk along an axis, with the field's interval if it is the first to ask for it."""
    still = Walk(np.zeros(1, np.int64), np.zeros(1, np.int64))
    walk = field.walks.get(axis, still)
    return walk.moved(field.interval) if first else walk


def _tidy(field: Field, walks: Mapping[int, Walk]) -> Field:
    """What is constant in the walks goes to the interval, so that equal fields look equal."""
    low, high = field.interval
    if len(walks) == 1 and next(iter(walks.values())).bounded:
        walks = {axis: _inside(walk, field) for axis, walk in walks.items()}
        low = high = 0
    kept = {}
    for axis, walk in walks.items():
        seen = ~blind(walk.low)
        if not seen.any():
            return dataclasses.replace(field, interval=(NOTHING, -NOTHING), walks={})
        place = int(np.argmax(seen))
        first, last = int(walk.low[place]), int(walk.high[place])
        still = (walk.low == first).all() and (walk.high == last).all()
        low, high = low + first, high + last
        if not still or walk.shift:
            kept[axis] = walk.moved((-first, -last))
    return _clipped(dataclasses.replace(field, interval=(low, high), walks=kept))


def _inside(walk: Walk, field: Field) -> Walk:
    """A table with the field's interval, without the padding: its positions are real ones."""
    low, high = field.interval
    low, high = np.maximum(walk.low + low, 0), np.minimum(walk.high + high, field.length - 1)
    none = (low > high) | blind(walk.low)
    return Walk(np.where(none, NOTHING, low), np.where(none, -NOTHING, high), bounded=True)


def _clipped(field: Field) -> Field:
    """A field that moves along no axis, without the padding."""
    if field.walks:
        return field
    low, high = max(field.interval[0], 0), min(field.interval[1], field.length - 1)
    seen = low <= high
    return dataclasses.replace(field, interval=(low, high) if seen else (NOTHING, -NOTHING))

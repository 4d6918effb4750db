"""A field in a few numbers: size, stride, start, padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

import numpy as np

from dilax.analysis._field import NOWHERE, Field
from dilax.analysis._tables import Box, Table, continued, period_of

_MARGIN = 32
"""Positions before an array and after it, which show how a short one would go on."""
_LONGEST = 1 << 16
"""Positions that are looked at along an axis, in the middle of a longer one."""
_LEAST = 8
"""Entries that an array needs at least to show by itself how it goes on."""
_BORDER = "entries near the border see something else"
_UNEVEN = "entries move unevenly; size is the largest of theirs and stride the mean"


@dataclasses.dataclass(frozen=True)
class AxisField:
    """What an array sees along one axis of the input.

    Its entry ``i`` along ``follows`` sees the inputs from ``start + stride i`` on, ``size`` of them
    from first to last. Where the entries differ in size, as after a transposed convolution,
    ``size`` is the largest. Where they move unevenly, as after a resize from 33 entries to 129,
    ``stride`` is the mean, which ``ReceptiveField.assumptions`` says. ``ArrayField.interval`` is
    exact for each entry.
    """

    axis: int
    """The axis of the input."""
    size: int
    """Number of inputs from the first to the last that is seen."""
    stride: Fraction
    """Inputs from one entry to the next (the *jump*), on the mean; 0 if all see the same."""
    start: int
    """The first input that entry 0 sees; negative in the padding."""
    padding: tuple[int, int]
    """How many inputs before the first, and beyond the last, the fields of all entries reach."""
    follows: tuple[int, ...]
    """Axes of the array along which the field moves, the fastest first."""


@dataclasses.dataclass(frozen=True)
class _Motion:
    """How entries of a table move on along an axis: by ``shift`` inputs each ``period``."""

    size: int
    """Entries of the array along the axis."""
    origin: int
    """Where in the table entry 0 is."""
    start: int
    """Where in the table the period begins."""
    period: int
    shift: int
    rate: Fraction
    """Inputs from one entry to the next, on the mean."""
    everywhere: bool = True
    """Whether it goes on up to the ends of the array."""
    uneven: bool = False
    """Whether there is no period, which is then put at all entries."""

    def ends(self) -> np.ndarray:
        """The entries in the first period of the array and in the last."""
        count = min(self.period, self.size)
        return np.concatenate([np.arange(count), np.arange(self.size - count, self.size)])


def box_of(field: Field, shape: Sequence[int]) -> Box:
    """The entries that a summary looks at: all of an array, and some in the padding."""
    limits = {}
    for axis in field.axes:
        cut = max(shape[axis] + 2 * _MARGIN - _LONGEST, 0) // 2
        limits[axis] = cut - _MARGIN, shape[axis] + _MARGIN - cut
    return limits


def summarised(
    field: Field, input_axis: int, shape: Sequence[int], ends: Table
) -> tuple[AxisField, tuple[str, ...]] | None:
    """A field in numbers, and what they do not tell.

    None if no entry sees anything. ``ends`` is the table of ``box_of(field, shape)``. Axes are
    followed along which entries move on steadily; if there is none, that along which they move
    furthest, if there is one. Along all others, as that of features, entries are taken together.
    """
    box = box_of(field, shape)
    origins = [-box[axis][0] for axis in field.axes]
    real = [
        slice(max(origin, 0), origin + shape[axis])
        for origin, axis in zip(origins, field.axes, strict=True)
    ]
    if not (ends[0][tuple(real)] < NOWHERE).any():
        return None
    lines = {
        axis: (_together(ends, real, keep=[place]), origins[place], shape[axis])
        for place, axis in enumerate(field.axes)
    }
    motions = {axis: _steadily(*line) for axis, line in lines.items()}
    followed = {axis: motion for axis, motion in motions.items() if motion is not None}
    followed = followed or _furthest({axis: _unevenly(*lines[axis]) for axis in field.places})
    ends = _together(ends, real, keep=[field.axes.index(axis) for axis in followed])
    axes = list(followed.values())
    if not axes:
        first, last = (int(end) for end in _clipped(ends, field.length))
        return AxisField(input_axis, last - first + 1, Fraction(0), first, (0, 0), ()), ()
    low, high = _entries(ends, axes, [np.arange(one.period) for one in axes])
    size = int((high - low)[low < NOWHERE].max()) + 1
    low, high = _entries(ends, axes, [one.ends() for one in axes])
    start = int(low[low < NOWHERE][0])
    follows = sorted(followed, key=lambda axis: -abs(followed[axis].rate))
    padding = max(0, -int(low.min())), max(0, int(high.max()) - field.length + 1)
    remarks = [_UNEVEN] if any(one.uneven for one in axes) else []
    if not all(one.everywhere for one in axes) and not _holds(ends, axes, field.length):
        remarks.append(_BORDER)
    stride = followed[follows[0]].rate
    return AxisField(input_axis, size, stride, start, padding, tuple(follows)), tuple(remarks)


def _steadily(line: Table, origin: int, size: int) -> _Motion | None:
    """How the entries along an axis move on; None if they do not.

    As a rule all of the array do; with some padding around it, if the array is short. After an
    interpolation, or in padding that wraps around, only those in the middle half do.
    """
    low, high, quarter = origin, origin + size, size // 4
    parts = [(low, high, True), (0, len(line[0]), True), (low + quarter, high - quarter, False)]
    for start, stop, everywhere in parts if size >= _LEAST else parts[1:2]:
        part = slice(max(start, 0), stop)
        found = period_of((line[0][part], line[1][part]), size, rounds=3)
        if found is not None and found[1]:
            rate = Fraction(found[1], found[0])
            return _Motion(size, origin, part.start, *found, rate, everywhere)
    return None


def _unevenly(line: Table, origin: int, size: int) -> _Motion:
    """How the entries along an axis move on without a period: on the mean, from first to last.

    An entry near the border may see fewer inputs than others. The first is taken to see as many as
    any before the last that it sees, and the last as many from the first on that it sees.
    """
    start, stop = max(origin, 0), min(origin + size, len(line[0]))
    places = np.flatnonzero(line[0][start:stop] < NOWHERE)
    low, high = (end[start:stop][places] for end in line)
    longest = int((high - low).max())
    if low[0] + high[0] <= low[-1] + high[-1]:
        moved = int(low[-1] - high[0]) + longest
    else:
        moved = int(high[-1] - low[0]) - longest
    rate = Fraction(moved, max(int(places[-1] - places[0]), 1))
    count = stop - start
    return _Motion(size, origin, start, count, round(rate * count), rate, uneven=True)


def _furthest(motions: Mapping[int, _Motion]) -> dict[int, _Motion]:
    """The motion that leads furthest; none, if no entry sees anything but the others."""
    ways = {axis: abs(motion.rate) * motion.size for axis, motion in motions.items()}
    axis = max(ways, key=lambda axis: ways[axis], default=-1)
    return {axis: motions[axis]} if ways.get(axis) else {}


def _together(ends: Table, real: Sequence[slice], *, keep: Collection[int]) -> Table:
    """A table with its real entries taken together along all axes but those to keep."""
    index = tuple(slice(None) if n in keep else one for n, one in enumerate(real))
    gone = tuple(n for n in range(len(real)) if n not in keep)
    return ends[0][index].min(axis=gone), ends[1][index].max(axis=gone)


def _entries(ends: Table, axes: Sequence[_Motion], asked: Sequence[np.ndarray]) -> Table:
    """What entries see if all go on as they do where they are steady."""
    for place, (one, own) in enumerate(zip(axes, asked, strict=True)):
        part = slice(one.start, one.start + one.period)
        along = tuple(np.moveaxis(end, place, 0) for end in ends)
        positions = own + one.origin - one.start
        first, last = continued((along[0][part], along[1][part]), one.period, one.shift, positions)
        ends = np.moveaxis(first, 0, place), np.moveaxis(last, 0, place)
    return ends


def _holds(ends: Table, axes: Sequence[_Motion], length: int) -> bool:
    """Whether the entries of the array see what they would see if all were steady."""
    entries = [
        np.arange(max(-one.origin, 0), min(one.size, count - one.origin))
        for one, count in zip(axes, ends[0].shape, strict=True)
    ]
    places = np.ix_(*(own + one.origin for one, own in zip(axes, entries, strict=True)))
    expected = _clipped(_entries(ends, axes, entries), length)
    found = _clipped((ends[0][places], ends[1][places]), length)
    return all(map(np.array_equal, expected, found))


def _clipped(ends: Table, length: int) -> Table:
    """A table without padding."""
    low, high = np.maximum(ends[0], 0), np.minimum(ends[1], length - 1)
    return np.where(low <= high, low, NOWHERE), np.where(low <= high, high, -NOWHERE)

"""A field in a few numbers: size, stride, start, padding."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np

from dilax.analysis._field import Field, Shape
from dilax.analysis._walk import Walk, blind, fitted

_LEAST = 8
"""Entries that a table needs at least before its middle says how it goes on."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """The numbers of `AxisField`."""

    size: int
    stride: Fraction
    start: int
    padding: tuple[int, int]
    follows: tuple[int, ...]
    border: bool
    """Whether they hold in the middle of the array only."""


def summarised(field: Field, shape: Shape) -> Summary:
    """The field far from the border, of all features together."""
    field, border = _middle(field, shape)
    still = [a for a, walk in field.walks.items() if walk.bounded or not walk.shift]
    field = field.collapsed(still, shape)
    moving = sorted(field.walks, key=lambda axis: -abs(field.walks[axis].rate))
    lengths = [_width(field.walks[axis]) for axis in moving]
    low, high = field.interval
    start, last = _ends(field, shape)
    return Summary(
        size=high - low + 1 + sum(lengths),
        stride=field.walks[moving[0]].rate if moving else Fraction(0),
        start=start,
        padding=(max(0, -last[0]), max(0, last[1] - field.length + 1)),
        follows=tuple(moving),
        border=border,
    )


def _middle(field: Field, shape: Shape) -> tuple[Field, bool]:
    """A table whose middle half has a short period, as a walk that goes on so."""
    walks, border = dict(field.walks), False
    for axis, walk in field.walks.items():
        if walk.bounded and walk.period >= _LEAST:
            first, last = walk.period // 4, walk.period - walk.period // 4
            middle = fitted(walk.low[first:last], walk.high[first:last])
            if not middle.bounded and middle.shift:
                walks[axis] = middle.window(shape[axis], first=-first)
                border = border or not _agrees(walks[axis], walk, field)
    return dataclasses.replace(field, walks=walks), border


def _agrees(one: Walk, table: Walk, field: Field) -> bool:
    """Whether a walk, without what it sees of the padding, is the table."""
    low, high = one.moved(field.interval).at(np.arange(table.period))
    found = table.moved(field.interval)
    low, high = np.maximum(low, 0), np.minimum(high, field.length - 1)
    return np.array_equal(low, found.low) and np.array_equal(high, found.high)


def _width(walk: Walk) -> int:
    """How much wider than its first the widest interval is."""
    seen = ~blind(walk.low)
    return int((walk.high - walk.low)[seen].max())


def _ends(field: Field, shape: Shape) -> tuple[int, tuple[int, int]]:
    """The first input of the first entry that sees any, and the ends of all together."""
    start = low = field.interval[0]
    high = field.interval[1]
    for axis, walk in field.walks.items():
        seen = np.flatnonzero(~blind(walk.low))
        start += int(walk.low[seen[0]])
        first, last = walk.hull(shape[axis])
        low, high = low + first, high + last
    return start, (low, high)

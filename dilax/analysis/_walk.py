"""Which inputs each position along an axis sees, as integers: a first and a last one.

A `Walk` says it for every position at once: position ``i + period`` sees what position ``i`` sees,
``shift`` further on. That is closed under all that a layer does along an axis: windows, strides,
dilation of the kernel or of the input, padding, cropping, reversal. Where no period fits (an index
table, a wrapped border) a walk is a plain table, and has nothing outside it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

NOTHING = 1 << 40
"""First input of a position that sees none; its last is the negative."""


def blind(low: np.ndarray) -> np.ndarray:
    """Whether an interval that begins at ``low`` holds no input."""
    return low > NOTHING // 2


@dataclasses.dataclass(frozen=True, eq=False)
class Walk:
    """First and last input seen from each position, as offsets from those of a `Field`."""

    low: np.ndarray  # (period,)
    high: np.ndarray  # (period,)
    shift: int = 0
    bounded: bool = False  # a table: no position outside it sees anything

    @property
    def period(self) -> int:
        return len(self.low)

    @property
    def rate(self) -> Fraction:
        """Inputs that a step of one position goes."""
        return Fraction(self.shift, max(self.period, 1))

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last input seen from each of ``positions``."""
        if not self.period:
            return nothing(positions.shape)
        rounds, places = np.divmod(positions, self.period)
        low = self.low[places] + rounds * self.shift
        high = self.high[places] + rounds * self.shift
        none = blind(self.low[places])
        if self.bounded:
            none |= rounds != 0
        return np.where(none, NOTHING, low), np.where(none, -NOTHING, high)

    def hull(self, length: int) -> tuple[int, int]:
        """First and last input seen from any of the positions below ``length``."""
        ends = min(self.period, length)
        positions = np.concatenate([np.arange(ends), np.arange(length - ends, length)])
        return _ends(*self.at(positions))

    def moved(self, by: tuple[int, int]) -> Walk:
        """The Minkowski sum with an interval."""
        none = blind(self.low)
        low, high = self.low + by[0], self.high + by[1]
        return dataclasses.replace(
            self, low=np.where(none, NOTHING, low), high=np.where(none, -NOTHING, high)
        )

    def window(
        self,
        outputs: int,
        *,
        step: int = 1,
        first: int = 0,
        taps: int = 1,
        spacing: int = 1,
        base: int = 1,
    ) -> Walk:
        """What windows see: output ``i`` the positions ``step i + first + spacing t``, all ``t``.

        Positions count ``base - 1`` holes between neighbours.
        """
        whole = self.period * base
        period = outputs if self.bounded else whole // math.gcd(whole, abs(step))
        corners = np.arange(period) * step + first
        places = corners[:, None] + np.arange(taps) * spacing
        low, high = self.at(places // base)
        hole = places % base != 0
        low = np.where(hole, NOTHING, low).min(axis=1, initial=NOTHING)
        high = np.where(hole, -NOTHING, high).max(axis=1, initial=-NOTHING)
        if self.bounded:
            return Walk(low, high, bounded=True)
        return _shortest(Walk(low, high, self.shift * step * period // whole))


def identity() -> Walk:
    """Position ``i`` sees input ``i``."""
    return Walk(np.zeros(1, np.int64), np.zeros(1, np.int64), 1)


def nothing(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Intervals that hold no input."""
    return np.full(shape, NOTHING), np.full(shape, -NOTHING)


def fitted(low: np.ndarray, high: np.ndarray) -> Walk:
    """The walk of the shortest period, twice in the table at least; or the table."""
    for period in _periods(len(low)):
        if (shift := _shift(low, high, period)) is not None:
            return Walk(low[:period], high[:period], shift)
    return Walk(low, high, bounded=True)


def joined(one: Walk, other: Walk, length: int) -> Walk:
    """What either sees; a table where they walk at different rates."""
    bounded = one.bounded or other.bounded or one.rate != other.rate
    period = length if bounded else math.lcm(one.period, other.period)
    positions = np.arange(period)
    (low, high), (other_low, other_high) = one.at(positions), other.at(positions)
    low, high = np.minimum(low, other_low), np.maximum(high, other_high)
    if bounded:
        return Walk(low, high, bounded=True)
    return _shortest(Walk(low, high, int(one.rate * period)))


def same(one: Walk, other: Walk) -> bool:
    """Whether two walks are the same, entry by entry."""
    return (one.shift, one.bounded) == (other.shift, other.bounded) and (
        np.array_equal(one.low, other.low) and np.array_equal(one.high, other.high)
    )


def _shortest(walk: Walk) -> Walk:
    for period in range(1, walk.period):
        if walk.period % period == 0:
            shift = _shift(walk.low, walk.high, period)
            if shift is not None and shift * (walk.period // period) == walk.shift:
                return Walk(walk.low[:period], walk.high[:period], shift)
    return walk


def _periods(length: int) -> Iterator[int]:
    """Short periods, and those that divide the length."""
    half = length // 2
    yield from range(1, min(64, half) + 1)
    yield from (period for period in range(65, half + 1) if length % period == 0)


def _shift(low: np.ndarray, high: np.ndarray, period: int) -> int | None:
    """By how much the table goes on each period; None where it does not."""
    none = blind(low)
    if not np.array_equal(none[period:], none[:-period]):
        return None
    seen = ~none[period:]
    ahead = np.concatenate(
        [(low[period:] - low[:-period])[seen], (high[period:] - high[:-period])[seen]]
    )
    if not len(ahead):
        return 0
    return int(ahead[0]) if (ahead == ahead[0]).all() else None


def _ends(low: np.ndarray, high: np.ndarray) -> tuple[int, int]:
    return int(low.min(initial=NOTHING)), int(high.max(initial=-NOTHING))

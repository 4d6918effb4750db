"""What each entry of an array sees along one axis of the input: a graph of reads.

Each operation of a network says at which positions of its operands an output entry *reads*: a
convolution at ``s i + d k - low`` for every tap ``k``, a transposition at the same indices in
another order, a concatenation in one of its parts, a sum at every position of an axis. A `Field`
keeps these reads and computes nothing.

Positions may lie outside of an array. They are the padding of whatever reads there, and see what
the array would show there if it went on, by the same formula.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

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
    places: tuple[int, ...] = dataclasses.field(init=False)
    """Those of ``axes`` whose index is a place along the input axis, as that of a feature is not.

    Features that see different inputs come from branches put beside one another.
    """

    def __post_init__(self) -> None:
        """Find the places: every axis by whose index a place of an operand is read."""
        found = {axis for operand in self.operands for axis in operand.places}
        if self.reads is not None:
            found = {a for axis, own in self.reads.items() if axis in found for a in own.axes}
        places = tuple(a for a in self.axes if a in found) if self.operands else self.axes
        object.__setattr__(self, "places", places)

    @property
    def is_union(self) -> bool:
        """Whether it is the union of its operands."""
        return self.reads is None and bool(self.operands)


def source(length: int, axis: int) -> Field:
    """The field of the input: position ``i`` along its axis sees entry ``i``."""
    return Field(length, (axis,))


def same(index: np.ndarray) -> np.ndarray:
    """The positions of reads in place, by which such reads are known."""
    return index


def in_place(axis: int) -> Read:
    """Read at the output's index along ``axis``."""
    return Read((axis,), same)


def at(positions: np.ndarray) -> Read:
    """Read at the same positions from everywhere."""
    return Read((), lambda: positions)


def whole(size: int) -> Read:
    """Read everywhere along an axis of ``size`` entries."""
    return at(np.arange(size))

"""The types of a rule, which maps an equation to a replacement or to a reason to leave it.

A rule sees only types, not values, because it runs when a program is traced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend.core import Primitive

Passes = tuple[tuple[str, str], ...]
"""Pairs of a pass and of what computes it, as ``(("conv", "shift_and_add"), ...)``."""


@dataclasses.dataclass(frozen=True)
class Equation:
    """One operation of a traced program: what it does, to arrays of which types, giving which."""

    primitive: Primitive
    operands: tuple[Any, ...]
    results: tuple[Any, ...]
    params: Mapping[str, Any]

    def bind(self, *operands: jax.Array) -> Any:
        """Do what the equation says."""
        return self.primitive.bind(*operands, **self.params)


@dataclasses.dataclass(frozen=True)
class Replacement:
    """A function of the equation's operands that gives its result, and how it is computed.

    ``passes`` says what the current default platform does.
    """

    compute: Callable[..., jax.Array]
    passes: Passes


@dataclasses.dataclass(frozen=True)
class Left:
    """Why an equation stays as it is."""

    reason: str


Rule = Callable[[Equation], Replacement | Left]


def any_above_one(steps: Sequence[int]) -> bool:
    """Whether strides or dilations do anything."""
    return any(step > 1 for step in steps)

"""A call of a function of our own in the place of an equation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import JaxprEqn

REPLACED = "dilax_"
"""How the names of replacements begin; they are not looked into again."""


def as_call(compute: Callable[..., jax.Array], name: str, operands: tuple) -> JaxprEqn:
    """The equation that calls a function on operands of these types."""

    def function(*arrays: jax.Array) -> jax.Array:
        return compute(*arrays)

    function.__name__ = function.__qualname__ = f"{REPLACED}{name}"
    (call,) = jax.make_jaxpr(jax.jit(function))(*operands).eqns
    return call


def in_place_of(equation: JaxprEqn, call: JaxprEqn, operands: Sequence[Any]) -> JaxprEqn:
    """The call on operands of the program, which gives the result of an equation."""
    return call.replace(
        invars=list(operands),
        outvars=equation.outvars,
        source_info=equation.source_info,
        ctx=equation.ctx,
    )


def gives_its_types(call: JaxprEqn, results: tuple) -> bool:
    """Whether the results of a call have these types."""
    return tuple(variable.aval for variable in call.outvars) == results

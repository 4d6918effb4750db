"""What a function costs before it runs: parameters and multiply-adds, read off its jaxpr."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from dilax.lowerings import _bilinear


def parameter_count(tree: Any) -> int:
    """Entries in all arrays of a pytree.

    >>> import jax.numpy as jnp
    >>> parameter_count({"kernel": jnp.ones((3, 3, 1, 16)), "bias": jnp.ones(16)})
    160
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def multiply_adds(function: Callable[..., Any], *args: Any) -> int:
    """Multiply-adds of all convolutions and matrix products in ``function(*args)``.

    By the usual formula: a convolution costs its output's entries times the kernel's entries that
    each of them sees, ``k C / groups``, those that fall on padding too; a matrix product costs its
    output's entries times the length of the sums. Loops count as often as they run. Nothing is
    computed: ``args`` may be ``jax.ShapeDtypeStruct``.

    Raises:
        ValueError: if a ``while_loop``, which runs nobody knows how often, holds one of them.

    >>> import dilax, jax.numpy as jnp
    >>> multiply_adds(lambda x, w: dilax.depthwise_conv(x, w), jnp.ones((1, 8, 8, 4)),
    ...               jnp.ones((3, 3, 1, 4)))
    2304
    """
    return _jaxpr_cost(jax.make_jaxpr(function)(*args).jaxpr)


def _jaxpr_cost(jaxpr: Jaxpr) -> int:
    return sum(_equation_cost(equation) for equation in jaxpr.eqns)


def _equation_cost(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        lhs = _shape(equation.invars[0])
        return math.prod(_shape(equation.outvars[0])) * math.prod(lhs[i] for i in contracted)
    if name == "conv_general_dilated":
        out_axis = params["dimension_numbers"].rhs_spec[0]
        kernel = _shape(equation.invars[1])
        seen = math.prod(kernel) // max(kernel[out_axis], 1)
        return math.prod(_shape(equation.outvars[0])) * seen
    if equation.primitive in _bilinear.PRIMITIVES:
        return _trilinear_cost(equation)
    inner = [_jaxpr_cost(jaxpr) for jaxpr in _inner_jaxprs(params)]
    if name == "scan":
        return params["length"] * sum(inner)
    if name == "while" and any(inner):
        raise ValueError(
            "function holds a while_loop with convolutions or products in it, whose number of "
            "rounds is not known before it runs; required: lax.scan or a fori_loop of fixed "
            "length. Count its body by itself."
        )
    return max(inner, default=0) if name == "cond" else sum(inner)


def _trilinear_cost(equation: JaxprEqn) -> int:
    """All three passes of a convolution multiply each output entry with what it sees."""
    roles = _bilinear.roles(equation.primitive)
    variables = (*equation.invars, equation.outvars[0])
    shapes = {role: _shape(variable) for role, variable in zip(roles, variables, strict=True)}
    (features,) = shapes["g"][-1:]
    return math.prod(shapes["g"]) * (math.prod(shapes["w"]) // max(features, 1))


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, (Jaxpr, ClosedJaxpr)):
                yield item.jaxpr if isinstance(item, ClosedJaxpr) else item

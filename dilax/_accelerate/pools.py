"""The rules for maximum pools and their gradients.

XLA's gradient of a maximum pool searches every window again (select-and-scatter). On CPU this is
much slower than the gradient of ``dilax.max_pool``, which folds slices or blocks. On other
platforms, pools stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax._accelerate.rule import Equation, Left, Replacement, any_above_one
from dilax._functions.maximum import MOST_TERMS, fold_max, is_folded, pooled_axes
from dilax._functions.symbolic import has_known_size
from dilax._functions.window_axis import WindowAxis


def largest(equation: Equation) -> Replacement | Left:
    """``reduce_window_max``: a fold, so that its derivatives are slices and sums."""
    if any_above_one(equation.params["base_dilation"]):
        return Left("its input is spread")
    return _reason(equation) or _on_cpu(equation, lambda x: _fold(equation, x))


def largest_gradient(equation: Equation) -> Replacement | Left:
    """``select_and_scatter_add``: the transpose of that fold; the first of equals is selected."""
    if str(equation.params["select_prim"]) != "ge":
        return Left(f"it selects by {equation.params['select_prim']}, not by ge")

    def transpose(source: jax.Array, operand: jax.Array) -> jax.Array:
        (result,) = jax.vjp(lambda x: _fold(equation, x), operand)[1](source)
        return result

    return _reason(equation) or _on_cpu(equation, transpose)


def summed(equation: Equation) -> Left:
    """``reduce_window_sum`` and its kin: lax does not search there."""
    del equation
    return Left("only pools of the largest entry are folded")


def _reason(equation: Equation) -> Left | None:
    arrays = (*equation.operands, *equation.results)
    windows = equation.params["window_dimensions"]
    pooled = [size for size, taps in zip(arrays[-2].shape, windows, strict=True) if taps > 1]
    if not has_known_size(pooled):
        return Left("a window whose size is a symbol")
    if not all(math.prod(array.shape) for array in arrays):
        return Left("an array without entries")
    if not is_folded(_axes(equation)):
        return Left(f"a window of more than {MOST_TERMS} entries along an axis")
    if not all(_is_number(array.dtype) for array in arrays):
        return Left(f"dilax compares real numbers, these are {arrays[0].dtype}")
    return None


def _is_number(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def _fold(equation: Equation, x: jax.Array) -> jax.Array:
    return fold_max(x, _axes(equation))


def _axes(equation: Equation) -> tuple[WindowAxis, ...]:
    shape, params = equation.operands[-1].shape, equation.params
    sizes, strides = params["window_dimensions"], params["window_strides"]
    dilation = params.get("window_dilation", (1,) * len(shape))
    return pooled_axes(shape, sizes, strides, params["padding"], dilation)


def _on_cpu(equation: Equation, fold: Callable[..., jax.Array]) -> Replacement:
    def compute(*operands: jax.Array) -> jax.Array:
        return lax.platform_dependent(*operands, cpu=fold, default=equation.bind)

    how = "fold" if jax.default_backend() == "cpu" else "lax"
    return Replacement(compute, (("pool", how),))

"""One call of ``lax.conv_general_dilated``, and the gradients that JAX derives from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dilax._arrays import as_type, common_type
from dilax.algorithms._algorithm import Algorithm, result_type
from dilax.algorithms._vma import vary, varying_axes
from dilax.geometry import ConvGeometry


def conv(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """``y[n, i, o] = sum_k sum_c x[n, s i + d k - low, c] w[k, c, o]``, as lax computes it."""
    common = common_type(lhs, rhs)
    return jax.lax.conv_general_dilated(
        as_type(lhs, common),
        as_type(rhs, common),
        window_strides=geometry.strides,
        padding=geometry.padding,
        rhs_dilation=geometry.kernel_dilation,
        dimension_numbers=channels_last(geometry.rank),
        feature_group_count=geometry.feature_group_count,
        precision=precision,
        preferred_element_type=result_type(lhs, preferred_element_type),
    )


def input_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Compute the transpose of ``conv`` in ``x``, as JAX derives it from lax."""
    batch, features = lhs.shape[0], rhs.shape[-2] * geometry.feature_group_count
    shape = (batch, *geometry.input_size, features)
    dtype = result_type(lhs, preferred_element_type)
    common = common_type(lhs, rhs, dtype)

    def of_input(x: jax.Array) -> jax.Array:
        return conv(x, rhs.astype(common), geometry, precision=precision)

    return transpose(of_input, shape, lhs.astype(common)).astype(dtype)


def kernel_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Compute the transpose of ``conv`` in ``kernel``, as JAX derives it from lax."""
    in_features = lhs.shape[-1] // geometry.feature_group_count
    shape = (*geometry.kernel_size, in_features, rhs.shape[-1])
    dtype = result_type(lhs, preferred_element_type)
    common = common_type(lhs, rhs, dtype)

    def of_kernel(kernel: jax.Array) -> jax.Array:
        return conv(lhs.astype(common), kernel, geometry, precision=precision)

    return transpose(of_kernel, shape, rhs.astype(common)).astype(dtype)


def channels_last(rank: int) -> jax.lax.ConvDimensionNumbers:
    """Return lax's dimension numbers for ``(N, *S, C)`` and ``(*K, C, O)``."""
    outside = (0, rank + 1, *range(1, rank + 1))
    return jax.lax.ConvDimensionNumbers(outside, (rank + 1, rank, *range(rank)), outside)


def transpose(
    linear: Callable[[jax.Array], jax.Array], shape: tuple[int, ...], cotangent: jax.Array
) -> jax.Array:
    """Apply the transpose of a linear function of an array of ``shape``."""
    example = vary(jnp.zeros(shape, cotangent.dtype), varying_axes(cotangent))
    (result,) = jax.linear_transpose(linear, example)(cotangent)
    return result


lax = Algorithm("lax", conv, input_gradient, kernel_gradient)

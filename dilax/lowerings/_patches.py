"""A convolution as one matrix product: all taps' windows side by side, times the flat kernel.

    y = P(x) W,        P(x)[n, i, (k, c)] = x[n, s i + d k - low, c],      W[(k, c), o] = w[k, c, o]

The kernel's gradient is ``P(x)^T g``; the input's is the same product over the cotangent's patches
with the kernel's features exchanged. A kernel of size one needs no patches at all. Worth its memory
while ``taps * C`` is small: the first layer of a network, and 1x1 convolutions.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax.geometry import ConvGeometry
from dilax.lowerings._lowering import Lowering, accumulation_type, result_type
from dilax.lowerings._windows import (
    cotangent_offsets,
    input_offsets,
    pad_cotangent,
    pad_input,
    window,
)


def conv(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """``y[n, i, o] = sum_(k, c) P(x)[n, i, (k, c)] w[(k, c), o]``, group by group."""
    patches = _input_patches(lhs, geometry)
    groups = geometry.feature_group_count
    matrix = _by_group(rhs, groups)
    dtype = result_type(lhs, preferred_element_type)
    flat = _product("mtgi,tigo->mgo", patches, matrix, precision, dtype)
    shape = (lhs.shape[0], *geometry.output_size, rhs.shape[-1])
    return flat.reshape(shape).astype(dtype)


def input_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """``x'[n, i, c] = sum_(k, o) P'(g)[n, i, (k, o)] w[k, c, o]``, group by group."""
    groups = geometry.feature_group_count
    shape = (lhs.shape[0], *geometry.input_size, groups * rhs.shape[-2])
    dtype = result_type(lhs, preferred_element_type)
    if lhs.size == 0:
        return jnp.zeros(shape, dtype)
    padded = pad_cotangent(lhs, geometry)
    strides = (1,) * geometry.rank
    windows = [
        window(padded, offset, geometry.input_size, strides)
        for offset in cotangent_offsets(geometry)
    ]
    patches = _stack(windows, groups)
    flat = _product("mtgo,tigo->mgi", patches, _by_group(rhs, groups), precision, dtype)
    return flat.reshape(shape).astype(dtype)


def kernel_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """``w'[k, c, o] = sum_(n, i) P(x)[n, i, (k, c)] g[n, i, o]``, group by group."""
    groups = geometry.feature_group_count
    patches = _input_patches(lhs, geometry)
    cotangent = rhs.reshape(-1, groups, rhs.shape[-1] // groups)
    dtype = result_type(lhs, preferred_element_type)
    flat = _product("mtgi,mgo->tigo", patches, cotangent, precision, dtype)
    shape = (*geometry.kernel_size, lhs.shape[-1] // groups, rhs.shape[-1])
    return flat.reshape(shape).astype(dtype)


def _input_patches(x: jax.Array, geometry: ConvGeometry) -> jax.Array:
    padded = pad_input(x, geometry)
    windows = [
        window(padded, offset, geometry.output_size, geometry.strides)
        for offset in input_offsets(geometry)
    ]
    return _stack(windows, geometry.feature_group_count)


def _stack(windows: list[jax.Array], groups: int) -> jax.Array:
    """Windows of shape ``(N, *S, C)`` as patches ``(N S, taps, groups, C / groups)``."""
    features = windows[0].shape[-1]
    rows = windows[0].size // max(features, 1)
    side_by_side = lax.concatenate(windows, windows[0].ndim - 1) if windows[1:] else windows[0]
    return side_by_side.reshape(rows, len(windows), groups, features // groups)


def _by_group(kernel: jax.Array, groups: int) -> jax.Array:
    """``(*K, I, G O)`` as ``(taps, I, G, O)``."""
    members, outputs = kernel.shape[-2:]
    return kernel.reshape(-1, members, groups, outputs // groups)


def _product(
    equation: str, lhs: jax.Array, rhs: jax.Array, precision: Any, dtype: jnp.dtype
) -> jax.Array:
    common = jnp.result_type(lhs, rhs)
    return jnp.einsum(
        equation,
        lhs.astype(common),
        rhs.astype(common),
        precision=precision,
        preferred_element_type=accumulation_type(common, dtype),
    )


patches = Lowering("patches", conv, input_gradient, kernel_gradient)

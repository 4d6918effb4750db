"""A convolution as one matrix product: all taps' windows side by side, times the flat kernel.

    y = P(x) W,        P(x)[n, i, (k, c)] = x[n, s i + d k - low, c],      W[(k, c), o] = w[k, c, o]

The kernel's gradient is ``P(x)^T g``. The input's is ``g W^T``, with taps side by side again, each
moved to where it belongs and summed, phase by phase of the strides. A kernel of size one needs no
patches at all. Worth its memory while ``taps * C`` is small beside the arrays: the first layer of a
network, strided layers, 1x1 convolutions.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax.geometry import ConvGeometry
from dilax.lowerings._lowering import Lowering, accumulation_type, result_type
from dilax.lowerings._phases import Phase, Phases
from dilax.lowerings._windows import (
    input_offsets,
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
    groups = geometry.feature_group_count
    dtype = result_type(lhs, preferred_element_type)
    flat = _product(
        "gmk,gko->gmo",
        _input_patches(lhs, geometry),
        _matrices(rhs, groups),
        precision,
        dtype,
    )
    shape = (lhs.shape[0], *geometry.output_size, rhs.shape[-1])
    return jnp.moveaxis(flat, 0, 1).reshape(shape).astype(dtype)


def input_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """``x'[n, i, c] = sum_k p[n, i + d (K - 1 - k), (k, c)]``, ``p = g W^T``, group by group."""
    groups = geometry.feature_group_count
    shape = (lhs.shape[0], *geometry.input_size, groups * rhs.shape[-2])
    dtype = result_type(lhs, preferred_element_type)
    if lhs.size == 0:
        return jnp.zeros(shape, dtype)
    batch, members = groups * lhs.shape[0], rhs.shape[-2]
    products = _product(
        "gmo,gko->gmk", _by_group(lhs, groups), _matrices(rhs, groups), precision, dtype
    )
    by_tap = products.reshape(batch, *geometry.output_size, *geometry.kernel_size, members)
    phases = Phases.of(geometry)

    def part(phase: Phase) -> jax.Array:
        some = by_tap[(..., *phase.taps, slice(None))]
        flat = some.reshape(batch, *geometry.output_size, phase.geometry.taps, members)
        sizes, strides = phase.geometry.input_size, (1,) * geometry.rank
        windows = [
            window(phases.pad(flat[..., tap, :]), offset, sizes, strides)
            for tap, offset in enumerate(phase.offsets(phases.edges))
        ]
        return functools.reduce(lax.add, windows)

    whole = phases.gradient(part).reshape(groups, *shape[:-1], members)
    return jnp.moveaxis(whole, 0, -2).reshape(shape).astype(dtype)


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
    members, outputs = lhs.shape[-1] // groups, rhs.shape[-1] // groups
    dtype = result_type(lhs, preferred_element_type)
    matrices = _product(
        "gmk,gmo->gko",
        _input_patches(lhs, geometry),
        _by_group(rhs, groups),
        precision,
        dtype,
    )
    taps = jnp.moveaxis(matrices.reshape(groups, geometry.taps, members, outputs), 0, 2)
    return taps.reshape(*geometry.kernel_size, members, rhs.shape[-1]).astype(dtype)


def _input_patches(x: jax.Array, geometry: ConvGeometry) -> jax.Array:
    padded = pad_input(x, geometry)
    windows = [
        window(padded, offset, geometry.output_size, geometry.strides)
        for offset in input_offsets(geometry)
    ]
    return _stack(windows, geometry.feature_group_count)


def _stack(windows: list[jax.Array], groups: int) -> jax.Array:
    """Windows of shape ``(N, *S, G C)`` as patches ``(G, N S, taps C)``."""
    return jnp.concatenate([_by_group(window, groups) for window in windows], axis=-1)


def _by_group(x: jax.Array, groups: int) -> jax.Array:
    """``(N, *S, G C)`` as ``(G, N S, C)``."""
    rows = x.reshape(math.prod(x.shape[:-1]), groups, x.shape[-1] // groups)
    return jnp.moveaxis(rows, 1, 0)


def _matrices(kernel: jax.Array, groups: int) -> jax.Array:
    """``(*K, I, G O)`` as ``(G, taps I, O)``."""
    members, outputs = kernel.shape[-2], kernel.shape[-1] // groups
    by_tap = kernel.reshape(math.prod(kernel.shape[:-2]), members, groups, outputs)
    return jnp.moveaxis(by_tap, 2, 0).reshape(groups, len(by_tap) * members, outputs)


def _product(
    equation: str, lhs: jax.Array, rhs: jax.Array, precision: Any, dtype: jnp.dtype
) -> jax.Array:
    """A product of matrices for each group; of one group, without an axis to be moved about."""
    common = jnp.result_type(lhs, rhs)
    alone = lhs.shape[0] == 1
    product = jnp.einsum(
        equation.replace("g", "") if alone else equation,
        *(x.astype(common).reshape(x.shape[1:] if alone else x.shape) for x in (lhs, rhs)),
        precision=precision,
        preferred_element_type=accumulation_type(common, dtype),
    )
    return product[None] if alone else product


patches = Lowering("patches", conv, input_gradient, kernel_gradient)

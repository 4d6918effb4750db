"""A convolution as a sum over kernel taps of shifted slices: multiply, add, never inflate.

A grouped convolution whose groups have ``I`` inputs is the sum of ``I`` depthwise ones: for member
``j`` of the groups, every output channel ``o`` of group ``g`` reads input channel ``g I + j``. So
all three passes are written for one channel in, one channel out, and summed or stacked over ``j``:

    conv             y[n, i]  =  sum_k      x[n, s i + d k - low]  w[k]
    input gradient   x'[n, i] =  sum_k      g'[n, i + d (K - 1 - k)]  w[k]    (g' = g, spread by s)
    kernel gradient  w'[k]    =  sum_{n, i} x[n, s i + d k - low]  g[n, i]

XLA fuses each of the first two into one pass over memory. The third, written as a plain sum, is
not: a loop over the batch that adds up elementwise products, and reduces them once, is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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

UNROLLED_TAPS = 64
"""Up to so many taps are written out for XLA to fuse; more run in a loop."""


def conv(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """``y[n, i, o] = sum_k sum_j x[n, s i + d k - low, g(o) I + j] w[k, j, o]``."""
    del precision  # products of single elements are exact to their type
    padded = pad_input(lhs, geometry)
    weights = _flat_taps(rhs)
    total = sum(
        _sum_over_taps(
            _spread(padded, member, geometry, rhs),
            weights[:, member],
            input_offsets(geometry),
            geometry.output_size,
            geometry.strides,
        )
        for member in range(rhs.shape[-2])
    )
    return jnp.asarray(total).astype(result_type(lhs, preferred_element_type))


def input_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """``x'[n, i, g I + j] = sum_k sum_{o in g} g'[n, i + d (K - 1 - k), o] w[k, j, o]``."""
    del precision
    dtype = result_type(lhs, preferred_element_type)
    groups, members = geometry.feature_group_count, rhs.shape[-2]
    if lhs.size == 0:
        return jnp.zeros((lhs.shape[0], *geometry.input_size, groups * members), dtype)
    padded = pad_cotangent(lhs, geometry)
    weights = _flat_taps(rhs)
    ones = (1,) * geometry.rank
    parts = [
        _gather(
            _sum_over_taps(
                padded, weights[:, member], cotangent_offsets(geometry), geometry.input_size, ones
            ),
            groups,
        )
        for member in range(members)
    ]
    return _interleave(parts).astype(dtype)


def kernel_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """``w'[k, j, o] = sum_{n, i} x[n, s i + d k - low, g(o) I + j] g[n, i, o]``."""
    del precision
    dtype = result_type(lhs, preferred_element_type)
    members = lhs.shape[-1] // geometry.feature_group_count
    shape = (*geometry.kernel_size, members, rhs.shape[-1])
    if lhs.size == 0 or rhs.size == 0:
        return jnp.zeros(shape, dtype)
    padded = pad_input(lhs, geometry)
    parts = [
        _sums_of_products(_spread(padded, member, geometry, rhs), rhs, geometry)
        for member in range(members)
    ]
    return jnp.stack(parts, axis=1).reshape(shape).astype(dtype)


def _sum_over_taps(
    padded: jax.Array,
    weights: jax.Array,
    offsets: list[tuple[int, ...]],
    sizes: tuple[int, ...],
    strides: tuple[int, ...],
) -> jax.Array:
    """Sum over taps of the window at ``offsets[t]`` times ``weights[t]`` (one a channel)."""
    dtype = accumulation_type(padded, weights)

    def product(offset: Any, weight: jax.Array) -> jax.Array:
        seen = window(padded, offset, sizes, strides).astype(dtype)
        return seen * lax.expand_dims(weight.astype(dtype), range(padded.ndim - 1))

    if len(offsets) <= UNROLLED_TAPS:
        total = product(offsets[0], weights[0])
        for offset, weight in zip(offsets[1:], weights[1:], strict=True):
            total = total + product(offset, weight)
        return total
    places = jnp.asarray(offsets, jnp.int32)
    start = product(places[0], weights[0])
    return lax.fori_loop(
        1, len(offsets), lambda tap, total: total + product(places[tap], weights[tap]), start
    )


def _sums_of_products(padded: jax.Array, g: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """``(taps, channels)``: for every tap, the sum of its window times ``g``."""
    dtype = accumulation_type(padded, g)
    offsets = input_offsets(geometry)

    def products(offset: Any, example: jax.Array | int) -> jax.Array:
        x_one = lax.dynamic_slice_in_dim(padded, example, 1)
        g_one = lax.dynamic_slice_in_dim(g, example, 1)
        seen = window(x_one, offset, geometry.output_size, geometry.strides)
        return (seen.astype(dtype) * g_one.astype(dtype)).reshape(-1, g.shape[-1])

    def summed(offsets_now: Any) -> jax.Array:
        def every(example: jax.Array | int) -> list[jax.Array]:
            return [products(offset, example) for offset in offsets_now]

        def add(example: jax.Array, totals: list[jax.Array]) -> list[jax.Array]:
            return [a + b for a, b in zip(totals, every(example), strict=True)]

        totals = lax.fori_loop(1, g.shape[0], add, every(0))
        return jnp.stack([total.sum(axis=0) for total in totals])

    if len(offsets) <= UNROLLED_TAPS:
        return summed(offsets)
    places = jnp.asarray(offsets, jnp.int32)
    return lax.map(lambda place: summed([place])[0], places)


def _flat_taps(kernel: jax.Array) -> jax.Array:
    """``(*K, I, O)`` as ``(taps, I, O)``."""
    return kernel.reshape(-1, *kernel.shape[-2:])


def _spread(x: jax.Array, member: int, geometry: ConvGeometry, outputs: jax.Array) -> jax.Array:
    """For every output channel, the input channel that member ``member`` of its group gives it."""
    groups = geometry.feature_group_count
    members, copies = x.shape[-1] // groups, outputs.shape[-1] // groups
    chosen = lax.slice_in_dim(x, member, None, members, axis=-1) if members > 1 else x
    return _map_channels(chosen, lambda c: jnp.repeat(c, copies, axis=-1)) if copies > 1 else chosen


def _gather(y: jax.Array, groups: int) -> jax.Array:
    """The sum over each group's channels, the transpose of ``_spread``."""
    if y.shape[-1] == groups:
        return y
    return _map_channels(y, lambda c: c.reshape(c.shape[0], groups, -1).sum(axis=-1))


def _interleave(parts: list[jax.Array]) -> jax.Array:
    """Member ``j`` of group ``g`` from ``parts[j][..., g]``, at channel ``g I + j``."""
    if len(parts) == 1:
        return parts[0]
    flat = [part.reshape(math.prod(part.shape[:-1]), part.shape[-1]) for part in parts]
    return jnp.stack(flat, axis=-1).reshape(*parts[0].shape[:-1], parts[0].shape[-1] * len(parts))


def _map_channels(x: jax.Array, function: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """``function`` of the last axis, all others flattened: XLA is happiest at low ranks."""
    rows = function(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
    return rows.reshape(*x.shape[:-1], rows.shape[-1])


taps = Lowering("taps", conv, input_gradient, kernel_gradient)

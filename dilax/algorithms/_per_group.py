"""One dense channels-last convolution for each group, as XLA on CPU computes them well.

XLA's fast CPU routine takes only channels-last convolutions with one group. XLA runs the groups of
a grouped convolution through it one by one, on strided memory, and computes the gradient of a
grouped kernel for all pairs of channels. JAX derives gradients as convolutions with permuted axes,
and XLA brings these into the routine's order only outside of loops: in the body of a ``scan`` they
run as scalar code. So here each group is a convolution of its own, and its axes are permuted
explicitly:

    conv              x[N, S, I]   *  w[K, I, O],   strided by s, dilated by d
    input gradient    g'[N, S, O]  *  w[K, O, I],   taps reversed, dilated by d
    kernel gradient   x[I, S, N]   *  g[S', N, O],  strided by d, dilated by s

where ``g'`` is ``g`` spread by the strides and padded.

Source: ``xla/service/cpu/conv_canonicalization.cc``, which visits only the entry computation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax._arrays import common_type
from dilax.algorithms._algorithm import Algorithm, accumulation_type, result_type
from dilax.algorithms._lax import channels_last
from dilax.algorithms._windows import cotangent_padding, pad_and_spread
from dilax.geometry import AxisPadding, ConvGeometry, _exact_padding


def conv(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    unrolled_groups: int = 1,
) -> jax.Array:
    """``y[n, i, o] = sum_k sum_c x[n, s i + d k - low, c] w[k, c, o]``, for each group."""
    dtype = result_type(lhs, preferred_element_type)

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _convolve(
            x,
            kernel,
            strides=geometry.strides,
            padding=geometry.padding,
            dilation=geometry.kernel_dilation,
            precision=precision,
            dtype=dtype,
        )

    return _each_group(convolve, lhs, rhs, geometry.feature_group_count, unrolled_groups)


def input_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    unrolled_groups: int = 1,
) -> jax.Array:
    """``x'[n, i, c] = sum_k sum_o g'[n, i + d (K - 1 - k), o] w[k, c, o]``, for each group."""
    dtype = result_type(lhs, preferred_element_type)
    if lhs.size == 0:
        features = geometry.feature_group_count * rhs.shape[-2]
        return jnp.zeros((lhs.shape[0], *geometry.input_size, features), dtype)
    edges = cotangent_padding(geometry)
    padding = tuple((max(low, 0), max(high, 0)) for low, high in edges)

    def convolve(g: jax.Array, kernel: jax.Array) -> jax.Array:
        return _convolve(
            _cropped(pad_and_spread(g, ((0, 0),) * geometry.rank, geometry.strides), edges),
            lax.rev(kernel, range(geometry.rank)).swapaxes(-1, -2),
            strides=(1,) * geometry.rank,
            padding=padding,
            dilation=geometry.kernel_dilation,
            precision=precision,
            dtype=dtype,
        )

    return _each_group(convolve, lhs, rhs, geometry.feature_group_count, unrolled_groups)


def kernel_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    unrolled_groups: int = 1,
) -> jax.Array:
    """``w'[k, c, o] = sum_n sum_i x[n, d k + s i - low, c] g[n, i, o]``, for each group."""
    dtype = result_type(lhs, preferred_element_type)
    if lhs.size == 0 or rhs.size == 0:
        in_channels_per_group = lhs.shape[-1] // geometry.feature_group_count
        shape = (*geometry.kernel_size, in_channels_per_group, rhs.shape[-1])
        return jnp.zeros(shape, dtype)

    def convolve(x: jax.Array, g: jax.Array) -> jax.Array:
        batch_first = _convolve(
            x.swapaxes(0, -1),
            jnp.moveaxis(g, 0, -2),
            strides=geometry.kernel_dilation,
            padding=_kernel_padding(geometry),
            dilation=geometry.strides,
            precision=precision,
            dtype=dtype,
        )
        return jnp.moveaxis(batch_first, 0, -2)

    return _each_group(convolve, lhs, rhs, geometry.feature_group_count, unrolled_groups)


def _each_group(
    function: Callable[[jax.Array, jax.Array], jax.Array],
    lhs: jax.Array,
    rhs: jax.Array,
    groups: int,
    unrolled_groups: int,
) -> jax.Array:
    """Apply a function to the features of each group, which are on the last axis of all arrays.

    Up to ``unrolled_groups`` groups are unrolled; more run in a loop.
    """
    if groups == 1:
        return function(lhs, rhs)
    if groups <= unrolled_groups:
        pairs = zip(jnp.split(lhs, groups, axis=-1), jnp.split(rhs, groups, axis=-1), strict=True)
        parts = [function(a, b) for a, b in pairs]
        return lax.concatenate(parts, parts[0].ndim - 1)
    pair = _groups_first(lhs, groups), _groups_first(rhs, groups)
    stacked = lax.map(lambda group: function(*group), pair)
    shape = stacked.shape[1:-1]
    flat = stacked.reshape(groups, math.prod(shape), stacked.shape[-1]).swapaxes(0, 1)
    return flat.reshape(*shape, groups * stacked.shape[-1])


def _groups_first(array: jax.Array, groups: int) -> jax.Array:
    """``(..., (G, C))`` as ``(G, ..., C)``."""
    features = array.shape[-1] // groups
    shape = array.shape[:-1]
    flat = array.reshape(math.prod(shape), groups, features).swapaxes(0, 1)
    return flat.reshape(groups, *shape, features)


def _convolve(
    lhs: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, ...],
    padding: tuple[AxisPadding, ...],
    dilation: tuple[int, ...],
    precision: Any,
    dtype: jnp.dtype,
) -> jax.Array:
    common = common_type(lhs, kernel, dtype)
    return lax.conv_general_dilated(
        lhs.astype(common),
        kernel.astype(common),
        window_strides=strides,
        padding=padding,
        rhs_dilation=dilation,
        dimension_numbers=channels_last(len(strides)),
        precision=precision,
        preferred_element_type=accumulation_type(common),
    ).astype(dtype)


def _cropped(x: jax.Array, edges: Sequence[AxisPadding]) -> jax.Array:
    """Crop by slicing where ``edges`` are negative, because XLA on CPU crops wrongly."""
    starts = [0, *(max(-low, 0) for low, _ in edges), 0]
    ends = [0, *(max(-high, 0) for _, high in edges), 0]
    if not any((*starts, *ends)):
        return x
    return lax.slice(x, starts, [size - end for size, end in zip(x.shape, ends, strict=True)])


def _kernel_padding(geometry: ConvGeometry) -> tuple[AxisPadding, ...]:
    """Compute the padding with which the output, used as a kernel, fits once for each tap."""
    return tuple(_exact_padding(*axis) for axis in geometry.axes)


per_group = Algorithm("per_group", conv, input_gradient, kernel_gradient)

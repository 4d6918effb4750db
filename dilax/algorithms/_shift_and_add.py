"""A convolution as a sum over kernel taps: each term is a shifted slice times a weight.

A grouped convolution whose groups have ``I`` input channels is the sum of ``I`` depthwise ones: in
the ``j``-th of them, output channel ``o`` of group ``g`` reads input channel ``g I + j``. So all
three passes are written for one channel in, one channel out, and summed or stacked over ``j``:

    conv             y[n, i]  =  sum_k      x[n, s i + d k - low]  w[k]
    input gradient   x'[n, i] =  sum_k      g[n, i + d (K - 1 - k)]  w[k]     (phase by phase)
    kernel gradient  w'[k]    =  sum_{n, i} x[n, s i + d k - low]  g[n, i]

XLA fuses each of the first two into one pass over memory. It would compute the third slowly, so
``_shift_and_add_gradient`` computes it in blocks. The settings affect only speed:

- ``padded``: read windows of a padded copy, rather than take windows of products of the array;
- ``unrolled_taps``, ``unrolled_outputs``: the largest number of terms that a sum writes out for XLA
  to fuse; longer sums run in a loop (over taps only if they read a padded copy);
- ``by_phase``: compute the gradient of a strided input phase by phase, rather than from a cotangent
  spread by zeros;
- ``blocks``: the blocks of the kernel gradient; without them, it is one sum for each tap.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax.algorithms._algorithm import Algorithm, accumulation_type, result_type
from dilax.algorithms._fusion_barrier import fusion_barrier
from dilax.algorithms._phases import Phase, Phases
from dilax.algorithms._shift_and_add_gradient import Blocks, sums_of_products
from dilax.algorithms._windows import input_offsets, pad_input, window
from dilax.geometry import AxisPadding, ConvGeometry


def conv(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    padded: bool = True,
    unrolled_taps: int = 1,
) -> jax.Array:
    """``y[n, i, o] = sum_k sum_j x[n, s i + d k - low, g(o) I + j] w[k, j, o]``."""
    del precision  # products of single elements are exact to their type
    dtype = result_type(lhs, preferred_element_type)
    source = pad_input(lhs, geometry) if padded else lhs
    offsets = input_offsets(geometry)
    starts = offsets if padded else _moved(offsets, geometry.padding)
    weights = _flat_taps(rhs)

    def seen_by(channel: int) -> jax.Array:
        return _sum_over_taps(
            _spread(source, channel, geometry, rhs),
            weights[:, channel],
            starts,
            geometry.output_size,
            geometry.strides,
            accumulation_type(lhs, rhs, dtype),
            padded,
            unrolled_taps,
        )

    shape = (lhs.shape[0], *geometry.output_size, rhs.shape[-1])
    return fusion_barrier(
        lambda: functools.reduce(lax.add, map(seen_by, range(rhs.shape[-2]))).astype(dtype),
        shape,
        dtype,
        lhs,
    )


def input_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    padded: bool = True,
    unrolled_taps: int = 1,
    unrolled_outputs: int = 1,
    by_phase: bool = False,
) -> jax.Array:
    """``x'[n, i, g I + j] = sum_k sum_{o in g} g[n, i + d (K - 1 - k), o] w[k, j, o]``."""
    del precision
    dtype = result_type(lhs, preferred_element_type)
    groups, in_channels_per_group = geometry.feature_group_count, rhs.shape[-2]
    if lhs.size == 0:
        shape = (lhs.shape[0], *geometry.input_size, groups * in_channels_per_group)
        return jnp.zeros(shape, dtype)
    phases = Phases.of(geometry, split=by_phase)
    source = phases.pad(lhs) if padded else phases.spread(lhs)
    outputs, kernels = _planes(source, groups), _planes(rhs, groups)
    ones, wide = (1,) * geometry.rank, accumulation_type(lhs, rhs, dtype)

    def seen_by(channel: int) -> jax.Array:
        def part(phase: Phase) -> jax.Array:
            some = kernels[(slice(None), *phase.taps, channel)]
            weights = some.reshape(len(outputs), phase.geometry.taps, groups)
            offsets, sizes = phase.offsets(phases.edges), phase.geometry.input_size
            starts = offsets if padded else _moved(offsets, phases.edges)

            def through(output: Any) -> jax.Array:
                seen, weight = outputs[output], weights[output]
                return _sum_over_taps(
                    seen, weight, starts, sizes, ones, wide, padded, unrolled_taps
                )

            return _sum(through, len(outputs), unrolled_outputs)

        shape = (lhs.shape[0], *geometry.input_size, groups)
        return fusion_barrier(lambda: phases.gradient(part).astype(dtype), shape, dtype, lhs)

    return _interleave([seen_by(channel) for channel in range(in_channels_per_group)])


def kernel_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    blocks: Blocks | None = None,
) -> jax.Array:
    """``w'[k, j, o] = sum_{n, i} x[n, s i + d k - low, g(o) I + j] g[n, i, o]``."""
    del precision
    dtype = result_type(lhs, preferred_element_type)
    in_channels_per_group = lhs.shape[-1] // geometry.feature_group_count
    shape = (*geometry.kernel_size, in_channels_per_group, rhs.shape[-1])
    if lhs.size == 0 or rhs.size == 0:
        return jnp.zeros(shape, dtype)
    wide = accumulation_type(lhs, rhs, dtype)
    parts = [
        sums_of_products(_spread(lhs, channel, geometry, rhs), rhs, geometry, wide, blocks)
        for channel in range(in_channels_per_group)
    ]
    return jnp.stack(parts, axis=1).reshape(shape).astype(dtype)


def _moved(offsets: list[tuple[int, ...]], edges: Sequence[AxisPadding]) -> list[tuple[int, ...]]:
    """Convert offsets in an array padded by ``edges`` to offsets in the array itself."""
    lows = [low for low, _ in edges]
    return [tuple(map(operator.sub, offset, lows)) for offset in offsets]


def _sum_over_taps(
    x: jax.Array,
    weights: jax.Array,
    offsets: list[tuple[int, ...]],
    sizes: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: jnp.dtype,
    padded: bool,
    unrolled_taps: int,
) -> jax.Array:
    """Sum, over taps, the window at ``offsets[t]`` times ``weights[t]``, a weight per channel.

    If not ``padded``, ``x`` is first multiplied and then shifted. XLA fuses this into a loop that
    computes products only inside ``x``, and reads no zeros.
    """

    def product(tap: Any) -> jax.Array:
        weight = lax.expand_dims(weights[tap].astype(dtype), range(x.ndim - 1))
        if not padded:
            return window(x.astype(dtype) * weight, offsets[tap], sizes, strides)
        offset = offsets[tap] if isinstance(tap, int) else jnp.asarray(offsets, jnp.int32)[tap]
        return window(x, offset, sizes, strides).astype(dtype) * weight

    return _sum(product, len(offsets), unrolled_taps if padded else len(offsets))


def _sum(term: Callable[[Any], jax.Array], count: int, unrolled: int) -> jax.Array:
    """Compute ``term(0) + ... + term(count - 1)``, written out up to ``unrolled`` terms."""
    if count <= unrolled:
        return functools.reduce(lax.add, map(term, range(count)))
    return lax.fori_loop(1, count, lambda place, total: total + term(place), term(0))


def _flat_taps(kernel: jax.Array) -> jax.Array:
    """``(*K, I, O)`` as ``(taps, I, O)``."""
    return kernel.reshape(-1, *kernel.shape[-2:])


def _spread(x: jax.Array, channel: int, geometry: ConvGeometry, outputs: jax.Array) -> jax.Array:
    """Give each output channel the input that it reads: channel ``channel`` of its own group."""
    groups = geometry.feature_group_count
    in_channels_per_group, copies = x.shape[-1] // groups, outputs.shape[-1] // groups
    if groups == 1:  # with a stride, XLA slices the last entry of a sharded axis wrongly
        x = lax.slice_in_dim(x, channel, channel + 1, axis=-1)
    elif in_channels_per_group > 1:
        x = lax.slice_in_dim(x, channel, None, in_channels_per_group, axis=-1)
    return _map_channels(x, lambda c: jnp.repeat(c, copies, axis=-1)) if copies > 1 else x


def _planes(x: jax.Array, groups: int) -> jax.Array:
    """Gather channel ``j`` of every group in one array, for each ``j``: ``(I, *, G)``.

    The array is written to memory, so that every tap reads contiguous channels.
    """
    channels = x.shape[-1] // groups
    if channels == 1:
        return x[None]
    rows = x.reshape(math.prod(x.shape[:-1]), groups, channels)
    planes = lax.optimization_barrier(jnp.moveaxis(rows, -1, 0))
    return planes.reshape(channels, *x.shape[:-1], groups)


def _interleave(parts: list[jax.Array]) -> jax.Array:
    """Put channel ``g`` of ``parts[j]`` at channel ``g I + j``: the inverse of ``_planes``."""
    if len(parts) == 1:
        return parts[0]
    flat = [part.reshape(math.prod(part.shape[:-1]), part.shape[-1]) for part in parts]
    return jnp.stack(flat, axis=-1).reshape(*parts[0].shape[:-1], parts[0].shape[-1] * len(parts))


def _map_channels(x: jax.Array, function: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Apply a function to the last axis, all others flattened: XLA compiles low ranks better."""
    rows = function(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
    return rows.reshape(*x.shape[:-1], rows.shape[-1])


shift_and_add = Algorithm("shift_and_add", conv, input_gradient, kernel_gradient)

window_sums = Algorithm("window_sums", conv, input_gradient, kernel_gradient)
"""``shift_and_add`` for kernels of ones, whose products cost nothing. Its name tells the choice
that a convolution is a sum pool."""

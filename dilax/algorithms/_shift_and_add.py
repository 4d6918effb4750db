"""A convolution as a sum over kernel taps of shifted slices: multiply, add, never inflate.

A grouped convolution whose groups have ``I`` inputs is the sum of ``I`` depthwise ones: for member
``j`` of the groups, every output channel ``o`` of group ``g`` reads input channel ``g I + j``. So
all three passes are written for one channel in, one channel out, and summed or stacked over ``j``:

    conv             y[n, i]  =  sum_k      x[n, s i + d k - low]  w[k]
    input gradient   x'[n, i] =  sum_k      g[n, i + d (K - 1 - k)]  w[k]     (phase by phase)
    kernel gradient  w'[k]    =  sum_{n, i} x[n, s i + d k - low]  g[n, i]

XLA fuses each of the first two into one pass over memory. Of the third it makes a slow sum, which
`dilax.algorithms._shift_and_add_gradient` computes another way.
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
from dilax.algorithms._shift_and_add_gradient import sums_of_products
from dilax.algorithms._windows import input_offsets, pad_input, window
from dilax.geometry import AxisPadding, ConvGeometry

FEW_TERMS = 9
"""A sum of so few terms reads the array as it is; for more, a padded copy is read faster."""

FEWEST_TERMS = 4
"""The same where neighbours in memory differ in whether they lie inside, as with few channels, and
where a product is no more than what it reads, as with a kernel of ones."""

FEW_CHANNELS = 24
"""Fewer than so many are few."""

LONG_AXIS = 9
"""A kernel of so many taps along one axis reads a padded copy, too."""

UNROLLED_TAPS = 64
"""Up to so many taps are written out for XLA to fuse; more run in a loop."""

MOST_PLANES = 32
"""Up to so many outputs of a group are written out where the input's gradient adds them up."""


def conv(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    few_terms: int = FEW_TERMS,
) -> jax.Array:
    """``y[n, i, o] = sum_k sum_j x[n, s i + d k - low, g(o) I + j] w[k, j, o]``."""
    del precision  # products of single elements are exact to their type
    dtype = result_type(lhs, preferred_element_type)
    members = rhs.shape[-2]
    copies = rhs.shape[-1] // geometry.feature_group_count
    padded = _better_padded(geometry, members, few_terms if copies == 1 else FEWEST_TERMS)
    source = pad_input(lhs, geometry) if padded else lhs
    offsets = input_offsets(geometry)
    starts = offsets if padded else _moved(offsets, geometry.padding)
    weights = _flat_taps(rhs)

    def seen_by(member: int) -> jax.Array:
        return _sum_over_taps(
            _spread(source, member, geometry, rhs),
            weights[:, member],
            starts,
            geometry.output_size,
            geometry.strides,
            accumulation_type(lhs, rhs, dtype),
            padded,
        )

    shape = (lhs.shape[0], *geometry.output_size, rhs.shape[-1])
    return fusion_barrier(lambda: _sum(seen_by, members, members).astype(dtype), shape, dtype, rhs)


def input_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    few_terms: int = FEW_TERMS,
) -> jax.Array:
    """``x'[n, i, g I + j] = sum_k sum_{o in g} g[n, i + d (K - 1 - k), o] w[k, j, o]``."""
    del precision
    dtype = result_type(lhs, preferred_element_type)
    groups, members = geometry.feature_group_count, rhs.shape[-2]
    if lhs.size == 0:
        return jnp.zeros((lhs.shape[0], *geometry.input_size, groups * members), dtype)
    phases = Phases.of(geometry)
    padded = _better_padded(geometry, rhs.shape[-1] // groups, few_terms)
    source = phases.pad(lhs) if padded else phases.spread(lhs)
    outputs, kernels = _planes(source, groups), _planes(rhs, groups)
    ones, wide = (1,) * geometry.rank, accumulation_type(lhs, rhs, dtype)

    def seen_by(member: int) -> jax.Array:
        def part(phase: Phase) -> jax.Array:
            some = kernels[(slice(None), *phase.taps, member)]
            weights = some.reshape(len(outputs), phase.geometry.taps, groups)
            offsets, sizes = phase.offsets(phases.edges), phase.geometry.input_size
            starts = offsets if padded else _moved(offsets, phases.edges)

            def through(output: Any) -> jax.Array:
                seen, weight = outputs[output], weights[output]
                return _sum_over_taps(seen, weight, starts, sizes, ones, wide, padded)

            return _sum(through, len(outputs), MOST_PLANES)

        shape = (lhs.shape[0], *geometry.input_size, groups)
        return fusion_barrier(lambda: phases.gradient(part).astype(dtype), shape, dtype, rhs)

    return _interleave([seen_by(member) for member in range(members)])


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
    parts = [
        sums_of_products(
            _spread(lhs, member, geometry, rhs),
            rhs,
            geometry,
            accumulation_type(lhs, rhs, dtype),
        )
        for member in range(members)
    ]
    return jnp.stack(parts, axis=1).reshape(shape).astype(dtype)


def _better_padded(geometry: ConvGeometry, planes: int, few_terms: int) -> bool:
    """Whether a padded copy is read faster than the array itself; ``planes`` are added up."""
    simple = geometry.feature_group_count >= FEW_CHANNELS or max(geometry.strides) > 1
    few = few_terms if simple else FEWEST_TERMS
    return geometry.taps * planes > few or max(geometry.kernel_size) >= LONG_AXIS


def _moved(offsets: list[tuple[int, ...]], edges: Sequence[AxisPadding]) -> list[tuple[int, ...]]:
    """Offsets in an array padded by ``edges`` as offsets in the array itself."""
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
) -> jax.Array:
    """Sum over taps of the window at ``offsets[t]`` times ``weights[t]`` (one a channel).

    If ``x`` is not ``padded``, it is the window of the product: XLA fuses that into a loop which
    computes products only where they lie inside, and reads no zeros.
    """

    def product(tap: Any) -> jax.Array:
        weight = lax.expand_dims(weights[tap].astype(dtype), range(x.ndim - 1))
        if not padded:
            return window(x.astype(dtype) * weight, offsets[tap], sizes, strides)
        offset = offsets[tap] if isinstance(tap, int) else jnp.asarray(offsets, jnp.int32)[tap]
        return window(x, offset, sizes, strides).astype(dtype) * weight

    return _sum(product, len(offsets), UNROLLED_TAPS)


def _sum(term: Callable[[Any], jax.Array], count: int, written_out: int) -> jax.Array:
    """``term(0) + ... + term(count - 1)``, written out or in a loop."""
    if count <= written_out:
        return functools.reduce(lax.add, map(term, range(count)))
    return lax.fori_loop(1, count, lambda place, total: total + term(place), term(0))


def _flat_taps(kernel: jax.Array) -> jax.Array:
    """``(*K, I, O)`` as ``(taps, I, O)``."""
    return kernel.reshape(-1, *kernel.shape[-2:])


def _spread(x: jax.Array, member: int, geometry: ConvGeometry, outputs: jax.Array) -> jax.Array:
    """For every output channel, the input channel that member ``member`` of its group gives it."""
    groups = geometry.feature_group_count
    members, copies = x.shape[-1] // groups, outputs.shape[-1] // groups
    chosen = lax.slice_in_dim(x, member, None, members, axis=-1) if members > 1 else x
    return _map_channels(chosen, lambda c: jnp.repeat(c, copies, axis=-1)) if copies > 1 else chosen


def _planes(x: jax.Array, groups: int) -> jax.Array:
    """For every ``j``, the channels ``g I + j`` of all groups, side by side: ``(I, *, G)``.

    Written to memory: read from there, every tap finds its channels next to each other.
    """
    members = x.shape[-1] // groups
    if members == 1:
        return x[None]
    rows = x.reshape(math.prod(x.shape[:-1]), groups, members)
    planes = lax.optimization_barrier(jnp.moveaxis(rows, -1, 0))
    return planes.reshape(members, *x.shape[:-1], groups)


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


shift_and_add = Algorithm("shift_and_add", conv, input_gradient, kernel_gradient)

"""A convolution as one matrix product: a matrix of windows times the flat kernel.

    y = P(x) W,        P(x)[n, i, (k, c)] = x[n, s i + d k - low, c],      W[(k, c), o] = w[k, c, o]

The kernel gradient is ``P(x)^T g``, summed over blocks whose patches stay in the cache. The input
gradient adds each entry of ``g W^T`` to the input that its tap reads. If windows do not overlap, as
with a kernel of size one, the patches are the input itself, cut into pieces. In other cases, the
matrix of patches is worth its memory for the forward pass and the input gradient only if
``taps * C`` is small: in the first layer of a network, and in strided layers.

The settings affect only speed:

- ``by_phase``: add up the gradient of a strided input phase by phase, not spread by zeros;
- ``block``: the numbers of examples, and of outputs along their first axis, whose patches are made
  at a time;
- ``by_row``: in the kernel gradient, lay out only the taps along the last axis side by side, and
  take a product for each row of taps: ``k`` shifted copies of the input in place of ``k^2``.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax._arrays import common_type
from dilax.algorithms._algorithm import Algorithm, accumulation_type, result_type
from dilax.algorithms._phases import Phase, Phases
from dilax.algorithms._vma import vary, varying_axes
from dilax.algorithms._windows import (
    block,
    input_offsets,
    input_offsets_by_axis,
    pad_input,
    window,
)
from dilax.geometry import ConvGeometry


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
    by_phase: bool = False,
) -> jax.Array:
    """``x'[n, i, c] = sum_k p[n, i + d (K - 1 - k), (k, c)]``, ``p = g W^T``, group by group."""
    groups = geometry.feature_group_count
    shape = (lhs.shape[0], *geometry.input_size, groups * rhs.shape[-2])
    dtype = result_type(lhs, preferred_element_type)
    if lhs.size == 0:
        return jnp.zeros(shape, dtype)
    batch, channels = groups * lhs.shape[0], rhs.shape[-2]
    products = _product(
        "gmo,gko->gmk", _by_group(lhs, groups), _matrices(rhs, groups), precision, dtype
    )
    by_tap = products.reshape(batch, *geometry.output_size, *geometry.kernel_size, channels)
    if geometry.non_overlapping:
        whole = _joined(by_tap, geometry)
    else:
        whole = _overlapped(by_tap, geometry, by_phase)
    whole = whole.reshape(groups, *shape[:-1], channels)
    return jnp.moveaxis(whole, 0, -2).reshape(shape).astype(dtype)


def kernel_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    block: tuple[int, int] | None = None,
    by_row: bool = False,
) -> jax.Array:
    """``w'[k, c, o] = sum_(n, i) P(x)[n, i, (k, c)] g[n, i, o]``, group by group."""
    groups = geometry.feature_group_count
    channels, outputs = lhs.shape[-1] // groups, rhs.shape[-1] // groups
    dtype = result_type(lhs, preferred_element_type)
    if lhs.size == 0 or rhs.size == 0:
        return jnp.zeros((*geometry.kernel_size, channels, rhs.shape[-1]), dtype)
    if geometry.non_overlapping:
        pieces = _input_patches(lhs, geometry), _by_group(rhs, groups)
        matrices = _product("gmk,gmo->gko", *pieces, precision, dtype)
    else:
        matrices = _sum_over_blocks(lhs, rhs, geometry, precision, dtype, block, by_row)
    taps = jnp.moveaxis(matrices.reshape(groups, geometry.taps, channels, outputs), 0, 2)
    return taps.reshape(*geometry.kernel_size, channels, rhs.shape[-1]).astype(dtype)


def _sum_over_blocks(
    x: jax.Array,
    g: jax.Array,
    geometry: ConvGeometry,
    precision: Any,
    dtype: jnp.dtype,
    block_size: tuple[int, int] | None,
    by_row: bool,
) -> jax.Array:
    """Compute ``P(x)^T g`` as ``(G, taps C, O)``, for a block of rows or examples at a time."""
    (batch, length), groups, stride = g.shape[:2], geometry.feature_group_count, geometry.strides[0]
    examples, rows = block_size or (1, length)
    across, span = -(-length // rows), stride * (rows - 1) + geometry.effective_kernel_size[0]
    g = _fill(g, -batch % examples, across * rows - length)
    x = pad_input(x, geometry)
    x = _fill(x, -batch % examples, stride * (across - 1) * rows + span - x.shape[1])
    inner = dataclasses.replace(
        geometry, input_size=(span, *x.shape[2:-1]), padding=((0, 0),) * geometry.rank
    )

    def product(place: jax.Array) -> jax.Array:
        place = lax.convert_element_type(place, jnp.uint32)  # no code for negative indices
        first, row = place // across * examples, place % across * rows
        some = _by_group(block(g, (first, row), (examples, rows)), groups)
        seen = block(x, (first, row * stride), (examples, span))
        patches = _patches_by_row(seen, inner) if by_row else [_input_patches(seen, inner)]
        parts = [_product("gmo,gmk->gok", some, part, precision, dtype) for part in patches]
        return jnp.concatenate(parts, axis=-1)

    rounds = g.shape[0] // examples * across
    one = jax.eval_shape(product, jax.ShapeDtypeStruct((), jnp.int32))
    nothing = vary(jnp.zeros(one.shape, one.dtype), varying_axes(g))
    total = lax.fori_loop(0, rounds, lambda place, total: total + product(place), nothing)
    return total.swapaxes(1, 2)


def _fill(x: jax.Array, examples: int, rows: int) -> jax.Array:
    """Append examples and rows of zeros; if a number is negative, append none."""
    ends = (max(examples, 0), max(rows, 0), *(0 for _ in x.shape[2:]))
    return lax.pad(x, x.dtype.type(0), [(0, end, 0) for end in ends]) if max(ends) else x


def _input_patches(x: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """Lay out the window of each output as a row: ``(G, N S, taps C)``."""
    groups = geometry.feature_group_count
    if geometry.non_overlapping:
        pieces = _by_group(_cut(x, geometry), groups)
        rows, channels = pieces.shape[1:]
        return pieces.reshape(groups, rows // geometry.taps, geometry.taps * channels)
    padded = pad_input(x, geometry)
    windows = [
        _by_group(window(padded, offset, geometry.output_size, geometry.strides), groups)
        for offset in input_offsets(geometry)
    ]
    return jnp.concatenate(windows, axis=-1)


def _patches_by_row(x: jax.Array, geometry: ConvGeometry) -> list[jax.Array]:
    """Return ``(G, N S, K C)`` for each row of ``K`` taps along the last axis of a padded input."""
    groups, (*strides, across) = geometry.feature_group_count, geometry.strides
    *rows, columns = input_offsets_by_axis(geometry)
    length, zeros = geometry.output_size[-1], (0,) * len(rows)
    ones, sizes = (1,) * len(rows), (*x.shape[1:-2], length)
    shifted = [window(x, (*zeros, column), sizes, (*ones, across)) for column in columns]
    split = [part.reshape(*part.shape[:-1], groups, -1) for part in shifted]
    lines = jnp.concatenate(split, axis=-1).reshape(*shifted[0].shape[:-1], -1)
    return [
        _by_group(window(lines, (*row, 0), geometry.output_size, (*strides, 1)), groups)
        for row in itertools.product(*rows)
    ]


def _cut(x: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """Cut an input into windows that do not overlap: ``(N, *S, *K, G C)``."""
    lows = [low for low, _ in geometry.padding]
    places = list(zip(geometry.output_size, geometry.strides, strict=True))
    sizes, ones = [count * step for count, step in places], (1,) * geometry.rank
    whole = window(x, [-low for low in lows], sizes, ones)
    axes = whole.reshape(x.shape[0], *itertools.chain(*places), x.shape[-1])
    rank = geometry.rank
    order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    return axes.transpose(order)


def _joined(pieces: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """Undo ``_cut``: join the pieces, with zeros for inputs that no window sees."""
    rank = geometry.rank
    inner = [axis for pair in zip(range(rank), range(rank, 2 * rank), strict=True) for axis in pair]
    axes = pieces.transpose(0, *(1 + axis for axis in inner), 2 * rank + 1)
    sizes = map(operator.mul, geometry.output_size, geometry.strides)
    whole = axes.reshape(pieces.shape[0], *sizes, pieces.shape[-1])
    lows = [low for low, _ in geometry.padding]
    return window(whole, lows, geometry.input_size, (1,) * rank)


def _overlapped(by_tap: jax.Array, geometry: ConvGeometry, by_phase: bool) -> jax.Array:
    """Add the entries of ``(N, *S, *K, C)`` to the inputs that their taps read."""
    phases = Phases.of(geometry, split=by_phase)

    def part(phase: Phase) -> jax.Array:
        some = by_tap[(..., *phase.taps, slice(None))]
        flat = some.reshape(*some.shape[: 1 + geometry.rank], phase.geometry.taps, some.shape[-1])
        sizes, strides = phase.geometry.input_size, (1,) * geometry.rank
        windows = [
            window(phases.pad(flat[..., tap, :]), offset, sizes, strides)
            for tap, offset in enumerate(phase.offsets(phases.edges))
        ]
        return functools.reduce(lax.add, windows)

    return phases.gradient(part)


def _by_group(x: jax.Array, groups: int) -> jax.Array:
    """``(N, *S, G C)`` as ``(G, N S, C)``."""
    rows = x.reshape(math.prod(x.shape[:-1]), groups, x.shape[-1] // groups)
    return jnp.moveaxis(rows, 1, 0)


def _matrices(kernel: jax.Array, groups: int) -> jax.Array:
    """``(*K, I, G O)`` as ``(G, taps I, O)``."""
    channels, outputs = kernel.shape[-2], kernel.shape[-1] // groups
    by_tap = kernel.reshape(math.prod(kernel.shape[:-2]), channels, groups, outputs)
    return jnp.moveaxis(by_tap, 2, 0).reshape(groups, len(by_tap) * channels, outputs)


def _product(
    equation: str, lhs: jax.Array, rhs: jax.Array, precision: Any, dtype: jnp.dtype
) -> jax.Array:
    """Multiply matrices group by group; for a single group, drop the axis of groups."""
    common = common_type(lhs, rhs)
    alone = lhs.shape[0] == 1
    product = jnp.einsum(
        equation.replace("g", "") if alone else equation,
        *(x.astype(common).reshape(x.shape[1:] if alone else x.shape) for x in (lhs, rhs)),
        precision=precision,
        preferred_element_type=accumulation_type(common, dtype),
    )
    return product[None] if alone else product


im2col = Algorithm("im2col", conv, input_gradient, kernel_gradient)

"""Shifted, strided views of an array: what a kernel's taps see of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax.geometry import AxisPadding, ConvGeometry


def pad_input(x: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """``x`` with its window axes padded with zeros; a negative padding crops."""
    return _pad(x, geometry.padding)


def pad_and_spread(g: jax.Array, edges: Sequence[AxisPadding], strides: Sequence[int]) -> jax.Array:
    """``g`` with its entries ``strides`` apart and zeros between them, then padded by ``edges``."""
    return _pad(g, edges, [stride - 1 for stride in strides])


def cotangent_padding(geometry: ConvGeometry) -> tuple[AxisPadding, ...]:
    """Padding after which output ``o`` of an axis stands at ``d (k - 1) - low + s o``.

    An axis of ``n`` input entries then has ``n + d (k - 1)``.
    """
    edges = []
    for axis, (low, _) in enumerate(geometry.padding):
        reach = geometry.effective_kernel_size[axis] - 1
        last = geometry.strides[axis] * (geometry.output_size[axis] - 1)
        edges.append((reach - low, geometry.input_size[axis] + low - last - 1))
    return tuple(edges)


def input_offsets(geometry: ConvGeometry) -> list[tuple[int, ...]]:
    """Where each tap starts in the padded input, taps in row-major order: ``d k``."""
    axes = zip(geometry.kernel_size, geometry.kernel_dilation, strict=True)
    return list(itertools.product(*(range(0, size * step, step) for size, step in axes)))


def cotangent_offsets(geometry: ConvGeometry) -> list[tuple[int, ...]]:
    """Where each tap starts in the padded cotangent: ``d (k - 1) - d k``."""
    reach = [size - 1 for size in geometry.effective_kernel_size]
    return [
        tuple(far - near for far, near in zip(reach, offset, strict=True))
        for offset in input_offsets(geometry)
    ]


def window(
    x: jax.Array,
    offset: Sequence[int] | jax.Array,
    sizes: Sequence[int],
    strides: Sequence[int],
) -> jax.Array:
    """``sizes`` entries of each window axis, ``strides`` apart, from ``offset`` on.

    Outside of ``x`` they are zeros. ``offset`` may be an array, as it is inside a loop over taps;
    then they must lie inside.
    """
    spans = [stride * (size - 1) + 1 for size, stride in zip(sizes, strides, strict=True)]
    starts = (0,) * len(spans)
    if isinstance(offset, jax.Array):
        zero = jnp.zeros((), offset.dtype)
        x = lax.dynamic_slice(x, (zero, *offset, zero), (x.shape[0], *spans, x.shape[-1]))
    else:
        axes = zip(offset, spans, x.shape[1:-1], strict=True)
        edges = [(-start, start + span - size) for start, span, size in axes]
        if max(map(max, edges)) > 0:
            x = _pad(x, edges)
        else:
            starts = tuple(offset)
    ends = [start + span for start, span in zip(starts, spans, strict=True)]
    return lax.slice(x, (0, *starts, 0), (x.shape[0], *ends, x.shape[-1]), (1, *strides, 1))


def block(x: jax.Array, starts: tuple[Any, Any], sizes: tuple[int, int]) -> jax.Array:
    """``sizes`` examples, and entries of their first window axis, from ``starts`` on."""
    examples = lax.dynamic_slice_in_dim(x, starts[0], sizes[0], axis=0)
    return lax.dynamic_slice_in_dim(examples, starts[1], sizes[1], axis=1)


def _pad(
    x: jax.Array, edges: Sequence[AxisPadding], interior: Sequence[int] | None = None
) -> jax.Array:
    gaps = interior or (0,) * len(edges)
    inner = [(low, high, gap) for (low, high), gap in zip(edges, gaps, strict=True)]
    return lax.pad(x, x.dtype.type(0), [(0, 0, 0), *inner, (0, 0, 0)])

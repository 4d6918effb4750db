"""Shifted, strided views of an array: what a kernel's taps see of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from dilax.geometry import AxisPadding, ConvGeometry


def each_axis(geometry: ConvGeometry) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Of each window axis: inputs, outputs, taps, stride, dilation, padding at the low end."""
    return zip(
        geometry.input_size,
        geometry.output_size,
        geometry.kernel_size,
        geometry.strides,
        geometry.kernel_dilation,
        [low for low, _ in geometry.padding],
        strict=True,
    )


def pad_input(x: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """``x`` with its window axes padded with zeros; a negative padding crops."""
    return lax.pad(x, x.dtype.type(0), _config(geometry.padding, (0,) * geometry.rank))


def pad_and_spread(g: jax.Array, edges: Sequence[AxisPadding], strides: Sequence[int]) -> jax.Array:
    """``g`` with its entries ``strides`` apart and zeros between them, then padded by ``edges``."""
    return lax.pad(g, g.dtype.type(0), _config(edges, [stride - 1 for stride in strides]))


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
    padded: jax.Array,
    offset: Sequence[int] | jax.Array,
    sizes: Sequence[int],
    strides: Sequence[int],
) -> jax.Array:
    """``sizes`` entries of each window axis, ``strides`` apart, from ``offset`` on.

    ``offset`` may be an array, as it is inside a loop over taps.
    """
    spans = [stride * (size - 1) + 1 for size, stride in zip(sizes, strides, strict=True)]
    whole = (padded.shape[0], padded.shape[-1])
    if isinstance(offset, jax.Array):
        zero = jnp.zeros((), offset.dtype)
        block = lax.dynamic_slice(padded, (zero, *offset, zero), (whole[0], *spans, whole[1]))
        start: tuple[int, ...] = (0,) * padded.ndim
    else:
        block, start = padded, (0, *offset, 0)
    ends = [begin + span for begin, span in zip(start[1:-1], spans, strict=True)]
    return lax.slice(block, start, (whole[0], *ends, whole[1]), (1, *strides, 1))


def _config(edges: Sequence[AxisPadding], interior: Sequence[int]) -> list[tuple[int, int, int]]:
    inner = [(low, high, gap) for (low, high), gap in zip(edges, interior, strict=True)]
    return [(0, 0, 0), *inner, (0, 0, 0)]

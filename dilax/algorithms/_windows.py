"""The windows that taps of a kernel read: shifted, strided slices of an array."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax.geometry import AxisPadding, ConvGeometry


def pad_input(x: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """Pad the window axes of ``x`` with zeros; a negative padding crops."""
    return _pad(x, geometry.padding)


def pad_and_spread(g: jax.Array, edges: Sequence[AxisPadding], strides: Sequence[int]) -> jax.Array:
    """Put zeros between the entries of ``g``, ``strides`` apart, then pad by ``edges``."""
    return _pad(g, edges, [stride - 1 for stride in strides])


def cotangent_padding(geometry: ConvGeometry) -> tuple[AxisPadding, ...]:
    """Compute the padding of a spread cotangent that gives every input a whole window.

    In the padded cotangent, output ``o`` of an axis is at ``d (k - 1) - low + s o``, and the axis
    has ``n + d (k - 1)`` entries for ``n`` inputs.
    """
    edges = []
    for axis, (low, _) in enumerate(geometry.padding):
        span = geometry.effective_kernel_size[axis]
        last = geometry.strides[axis] * (geometry.output_size[axis] - 1)
        edges.append((span - 1 - low, geometry.input_size[axis] + low - last - 1))
    return tuple(edges)


def input_offsets(geometry: ConvGeometry) -> list[tuple[int, ...]]:
    """Return where each tap starts in the padded input, ``d k``, with taps in row-major order."""
    return list(itertools.product(*input_offsets_by_axis(geometry)))


def input_offsets_by_axis(geometry: ConvGeometry) -> list[range]:
    """Return where the taps start along each window axis of the padded input."""
    axes = zip(geometry.kernel_size, geometry.kernel_dilation, strict=True)
    return [range(0, size * step, step) for size, step in axes]


def cotangent_offsets(geometry: ConvGeometry) -> list[tuple[int, ...]]:
    """Return where each tap starts in the padded cotangent, ``d (k - 1) - d k``."""
    last = [size - 1 for size in geometry.effective_kernel_size]
    return [
        tuple(far - near for far, near in zip(last, offset, strict=True))
        for offset in input_offsets(geometry)
    ]


def window(
    x: jax.Array,
    offset: Sequence[int] | jax.Array,
    sizes: Sequence[int],
    strides: Sequence[int],
) -> jax.Array:
    """Slice ``sizes`` entries of each window axis, ``strides`` apart, from ``offset`` on.

    Entries outside of ``x`` are zeros. ``offset`` may be an array, as in a loop over taps; in that
    case all entries must lie inside ``x``. A single entry is sliced without a stride: with one, XLA
    slices the last entry of a sharded axis wrongly.
    """
    steps = [1 if size == 1 else stride for size, stride in zip(sizes, strides, strict=True)]
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
    return lax.slice(x, (0, *starts, 0), (x.shape[0], *ends, x.shape[-1]), (1, *steps, 1))


def block(x: jax.Array, starts: tuple[Any, Any], sizes: tuple[int, int]) -> jax.Array:
    """Slice ``sizes`` examples, and entries of their first window axis, from ``starts`` on."""
    examples = lax.dynamic_slice_in_dim(x, starts[0], sizes[0], axis=0)
    return lax.dynamic_slice_in_dim(examples, starts[1], sizes[1], axis=1)


def _pad(
    x: jax.Array, edges: Sequence[AxisPadding], interior: Sequence[int] | None = None
) -> jax.Array:
    gaps = interior or (0,) * len(edges)
    inner = [(low, high, gap) for (low, high), gap in zip(edges, gaps, strict=True)]
    return lax.pad(x, x.dtype.type(0), [(0, 0, 0), *inner, (0, 0, 0)])

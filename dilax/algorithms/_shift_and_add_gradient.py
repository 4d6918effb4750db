"""The kernel gradient of a depthwise convolution: for each tap, a sum of its window times ``g``.

    w'[k]  =  sum_{n, i}  x[n, s i + d k - low]  g[n, i]

XLA computes a sum over pixels channel by channel, with entries far apart in memory. So a loop over
blocks of the batch adds up products elementwise, and they are reduced once at the end. One kernel
multiplies each pixel of ``g`` by the pixels of ``x`` that all taps see. A gather reads these
pixels, and after the first tap they are in the nearest cache. With few channels, a pixel does not
fill a vector. Then whole rows of the last window axis take the place of pixels, and each tap along
that axis has a kernel of its own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dilax.algorithms._vma import vary, varying_axes
from dilax.algorithms._windows import block, input_offsets, pad_input, window
from dilax.geometry import ConvGeometry


class Blocks(NamedTuple):
    """The size of a block: examples, outputs along their first axis, and taps."""

    examples: int
    rows: int
    taps: int
    whole_rows: bool
    """Whether to read whole rows of the last window axis rather than single pixels."""
    padded_in_loop: bool
    """Whether to pad examples inside the loop, rather than all of them before it."""

    def places(self, geometry: ConvGeometry) -> np.ndarray:
        """Return ``(pixels, taps)``: the pixel of a block that each tap reads for each output."""
        axes = self.pixel_axes(geometry)
        padded = geometry.padded_size
        steps = [math.prod(padded[axis + 1 : axes]) for axis in range(axes)]
        sizes = (self.rows, *geometry.output_size[1:])
        outputs = _multiples(sizes, geometry.strides, steps)
        taps = _multiples(geometry.kernel_size, geometry.kernel_dilation, steps)
        return np.add.outer(outputs, taps).astype(np.int32)

    def pixel_axes(self, geometry: ConvGeometry) -> int:
        """Number of window axes that are read pixel by pixel: all, or all but the last."""
        return geometry.rank - 1 if self.whole_rows else geometry.rank


def sums_of_products(
    x: jax.Array, g: jax.Array, geometry: ConvGeometry, dtype: jnp.dtype, blocks: Blocks | None
) -> jax.Array:
    """Sum each tap's window of ``x`` times ``g``: ``(taps, channels)``.

    ``x`` has the channels of ``g``. Without blocks, each tap is one sum.
    """
    if blocks is None:
        return _as_they_stand(pad_input(x, geometry), g, geometry, dtype)
    source = x if blocks.padded_in_loop else pad_input(x, geometry)
    places = blocks.places(geometry)

    def summed(places: jax.Array) -> jax.Array:
        return _in_blocks(source, g, geometry, blocks, places, dtype)

    if blocks.taps == places.shape[1]:
        return summed(jnp.asarray(places)).reshape(geometry.taps, g.shape[-1])
    some = np.stack(np.split(places, places.shape[1] // blocks.taps, axis=1))
    return lax.map(summed, jnp.asarray(some)).reshape(geometry.taps, g.shape[-1])


def _as_they_stand(
    padded: jax.Array, g: jax.Array, geometry: ConvGeometry, dtype: jnp.dtype
) -> jax.Array:
    """Compute one sum for each tap, without blocks."""

    def of(offset: tuple[int, ...]) -> jax.Array:
        seen = window(padded, offset, geometry.output_size, geometry.strides)
        return (seen.astype(dtype) * g.astype(dtype)).sum(axis=range(g.ndim - 1))

    return jnp.stack([of(offset) for offset in input_offsets(geometry)])


def _multiples(sizes: Sequence[int], strides: Sequence[int], steps: Sequence[int]) -> np.ndarray:
    """Compute ``sum_a i_a strides[a] steps[a]`` for all ``i < sizes``, in row-major order."""
    along = [np.arange(n) * s * by for n, s, by in zip(sizes, strides, steps, strict=False)]
    return functools.reduce(np.add.outer, along, np.zeros(1, int)).reshape(-1)


def _in_blocks(
    x: jax.Array,
    g: jax.Array,
    geometry: ConvGeometry,
    blocks: Blocks,
    places: jax.Array,
    dtype: jnp.dtype,
) -> jax.Array:
    """Return ``(taps, channels)`` for the taps that read the pixels of a block at ``places``."""
    across = geometry.output_size[0] // blocks.rows
    pixels, channels = places.shape[0], g.shape[-1]
    windows = _windows(x, geometry, blocks, channels)
    axes = blocks.pixel_axes(geometry)
    outputs = _pixels(g, axes)
    count = outputs.shape[1] // across
    entries = outputs.shape[2] if axes else count
    kernels = geometry.kernel_size[-1] if blocks.whole_rows else 1
    shifts = [geometry.kernel_dilation[-1] * channels * tap for tap in range(kernels)]

    def products(shift: int, seen: jax.Array, one: jax.Array) -> jax.Array:
        shifted = lax.slice_in_dim(seen, shift, shift + entries, axis=1)
        return _rows(shifted, places).astype(dtype) * one.astype(dtype)

    def add(index: jax.Array, totals: list[jax.Array]) -> list[jax.Array]:
        index = lax.convert_element_type(index, jnp.uint32)  # no code for negative indices
        first, place = index // across * blocks.examples, index % across
        seen = windows(first, place)
        starts = [(first + example, place * count) for example in range(blocks.examples)]
        some = [block(outputs, start, (1, count)).reshape(pixels, 1, entries) for start in starts]
        terms = [list(map(functools.partial(products, shift), seen, some)) for shift in shifts]
        return list(map(lax.add, totals, (functools.reduce(lax.add, each) for each in terms)))

    nothing = vary(jnp.zeros((*places.shape, entries), dtype), varying_axes(g))
    rounds = g.shape[0] // blocks.examples * across
    totals = lax.fori_loop(0, rounds, add, [nothing] * kernels)
    sums = [total.reshape(*places.shape, -1, channels).sum(axis=(0, 2)) for total in totals]
    return jnp.stack(sums, axis=1).reshape(-1, channels)


def _windows(
    x: jax.Array, geometry: ConvGeometry, blocks: Blocks, channels: int
) -> Callable[[jax.Array, jax.Array], list[jax.Array]]:
    """Make the function that returns the inputs of a block, ``(pixels, entries)`` for each example.

    Its arguments are the first example of the block, and the index of the block in an example.
    """
    axes = blocks.pixel_axes(geometry)
    inputs = _pixels(x, axes)
    row = math.prod(geometry.padded_size[1:axes]) if axes else channels
    step = row * geometry.strides[0] * blocks.rows
    span = row * (geometry.strides[0] * (blocks.rows - 1) + geometry.effective_kernel_size[0])
    shape = (span, -1) if axes else (1, span)

    def padded(first: jax.Array, place: jax.Array) -> list[jax.Array]:
        del place  # a single block per example
        some = pad_input(lax.dynamic_slice_in_dim(x, first, blocks.examples), geometry)
        some = lax.optimization_barrier(some)  # so that one kernel cuts and pads, not two
        return [one[:span].reshape(shape) for one in _pixels(some, axes)]

    def cut(first: jax.Array, place: jax.Array) -> list[jax.Array]:
        starts = [(first + example, place * step) for example in range(blocks.examples)]
        return [block(inputs, start, (1, span)).reshape(shape) for start in starts]

    return padded if blocks.padded_in_loop else cut


def _pixels(x: jax.Array, axes: int) -> jax.Array:
    """Flatten the first ``axes`` window axes to pixels, the rest to entries, after ``N``."""
    entries = math.prod(x.shape[axes + 1 :])
    return x.reshape(x.shape[0], *([math.prod(x.shape[1 : axes + 1])] if axes else []), entries)


def _rows(x: jax.Array, places: jax.Array) -> jax.Array:
    """Gather the rows of a matrix at ``places``: ``(*places.shape, entries)``."""
    return lax.gather(
        x,
        places[..., None],
        lax.GatherDimensionNumbers(
            offset_dims=(places.ndim,), collapsed_slice_dims=(0,), start_index_map=(0,)
        ),
        (1, x.shape[1]),
        mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )

"""The live part of a convolution: the inputs that are read, and the taps that meet an input.

Tap ``k`` of an axis stands at ``s o + d k - low`` for output ``o``. If that is never one of the
``n`` inputs, the tap sees padding alone: it adds nothing to the output, and its own gradient is
zero. A kernel dilated beyond the image has many such taps. Negative padding crops the input. Both
are cut off before a convolution is computed, so that no algorithm has to look for them.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
from jax import lax

from dilax.geometry import ConvGeometry


class LivePart(NamedTuple):
    """The live inputs and taps, a slice of each window axis, and the convolution they make up."""

    inputs: tuple[slice, ...]
    taps: tuple[slice, ...]
    geometry: ConvGeometry

    @classmethod
    def of(cls, geometry: ConvGeometry) -> LivePart | None:
        """Find the live part; none where no tap of an axis meets an input."""
        found = [
            _live_axis(*axis, edges[1])
            for axis, edges in zip(geometry.axes, geometry.padding, strict=True)
        ]
        live = [axis for axis in found if axis is not None]
        if len(live) < len(found):
            return None
        inputs, taps, padding = zip(*live, strict=True)
        kept = ConvGeometry(
            tuple(part.stop - part.start for part in inputs),
            tuple(part.stop - part.start for part in taps),
            geometry.strides,
            padding,
            geometry.kernel_dilation,
            geometry.feature_group_count,
        )
        return cls(inputs, taps, kept)

    def crop_input(self, x: jax.Array) -> jax.Array:
        """Cut the live inputs out of ``(N, *S, C)``."""
        return _crop(x, (slice(0, x.shape[0]), *self.inputs, slice(0, x.shape[-1])))

    def crop_kernel(self, kernel: jax.Array) -> jax.Array:
        """Cut the live taps out of ``(*K, I, O)``."""
        return _crop(kernel, (*self.taps, *map(slice, (0, 0), kernel.shape[-2:])))

    def fill_input(self, gradient: jax.Array, whole: ConvGeometry) -> jax.Array:
        """Put zeros where ``whole`` has inputs that are not live."""
        sizes = (gradient.shape[0], *whole.input_size, gradient.shape[-1])
        kept = (slice(0, sizes[0]), *self.inputs, slice(0, sizes[-1]))
        return _fill(gradient, kept, sizes)

    def fill_kernel(self, gradient: jax.Array, whole: ConvGeometry) -> jax.Array:
        """Put zeros where ``whole`` has taps that are not live."""
        features = gradient.shape[-2:]
        kept = (*self.taps, *map(slice, (0, 0), features))
        return _fill(gradient, kept, (*whole.kernel_size, *features))


def _live_axis(
    input_size: int, output_size: int, taps: int, stride: int, dilation: int, low: int, high: int
) -> tuple[slice, slice, tuple[int, int]] | None:
    """The live inputs and taps of an axis, and the padding that is left."""

    def meets(tap: int) -> bool:
        before = max(low - dilation * tap, 0)  # entries of padding left of the first output
        output = -(-before // stride)  # the first output whose tap stands past them
        return output < output_size and stride * output + dilation * tap - low < input_size

    first = next((tap for tap in range(taps) if meets(tap)), None)
    if first is None:
        return None
    last = next(tap for tap in reversed(range(taps)) if meets(tap))
    low, high = low - dilation * first, high - dilation * (taps - 1 - last)
    inputs = slice(max(-low, 0), input_size - max(-high, 0))
    return inputs, slice(first, last + 1), (max(low, 0), max(high, 0))


def _crop(array: jax.Array, kept: tuple[slice, ...]) -> jax.Array:
    if all(part.stop - part.start == size for part, size in zip(kept, array.shape, strict=True)):
        return array
    return lax.slice(array, [part.start for part in kept], [part.stop for part in kept])


def _fill(array: jax.Array, kept: tuple[slice, ...], sizes: tuple[int, ...]) -> jax.Array:
    if array.shape == sizes:
        return array
    edges = [(part.start, size - part.stop, 0) for part, size in zip(kept, sizes, strict=True)]
    return lax.pad(array, array.dtype.type(0), edges)

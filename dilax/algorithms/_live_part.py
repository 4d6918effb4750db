"""The live part of a convolution: the inputs that are read, and the taps that meet an input.

Tap ``k`` of an axis stands at ``s o + d k - low`` for output ``o``. If that is never one of the
``n`` inputs, the tap sees padding alone: it adds nothing to the output, and its own gradient is
zero. A kernel dilated beyond the image has many such taps. Negative padding crops the input. Both
are cut off when a primitive is computed, so that no algorithm has to look for them.
"""

from __future__ import annotations

import dataclasses
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

    def crop(self, array: jax.Array, role: str) -> jax.Array:
        """Cut the live part out of ``"x"``, the input, or ``"w"``, the kernel; ``"g"`` lives."""
        kept = self._kept(array.shape, role)
        return array if kept is None else _crop(array, kept)

    def fill(self, array: jax.Array, role: str, whole: ConvGeometry) -> jax.Array:
        """Undo ``crop`` for a gradient: put zeros where ``whole`` has what is not live."""
        kept = self._kept(array.shape, role)
        if kept is None:
            return array
        if role == "x":
            sizes = (array.shape[0], *whole.input_size, array.shape[-1])
        else:
            sizes = (*whole.kernel_size, *array.shape[-2:])
        if array.shape == sizes:
            return array
        edges = [(part.start, size - part.stop, 0) for part, size in zip(kept, sizes, strict=True)]
        return lax.pad(array, array.dtype.type(0), edges)

    def _kept(self, shape: tuple[int, ...], role: str) -> tuple[slice, ...] | None:
        if role == "x":
            return (slice(0, shape[0]), *self.inputs, slice(0, shape[-1]))
        return (*self.taps, slice(0, shape[-2]), slice(0, shape[-1])) if role == "w" else None


def crop_negative_padding(
    x: jax.Array, kernel: jax.Array, geometry: ConvGeometry
) -> tuple[jax.Array, jax.Array, ConvGeometry]:
    """Crop the input by slicing where its padding is negative: XLA on CPU crops wrong."""
    sizes = zip(geometry.input_size, geometry.padding, strict=True)
    kept = [slice(max(-low, 0), size - max(-high, 0)) for size, (low, high) in sizes]
    if any(part.start >= part.stop for part in kept):
        return x, kernel, geometry
    cropped = dataclasses.replace(
        geometry,
        input_size=tuple(part.stop - part.start for part in kept),
        padding=tuple((max(low, 0), max(high, 0)) for low, high in geometry.padding),
    )
    return _crop(x, (slice(0, x.shape[0]), *kept, slice(0, x.shape[-1]))), kernel, cropped


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

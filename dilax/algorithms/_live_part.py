"""The live part of a convolution: the inputs, taps and outputs that affect its result.

Tap ``k`` of an axis reads input ``s o + d k - low`` for output ``o``. A tap that reads none of the
``n`` inputs sees only padding: it adds nothing to the output, and its gradient is zero. A kernel
dilated beyond the image has many such taps. An output whose whole window lies in the padding is
zero. Inputs cropped by negative padding are not read. All of these are cut off before a convolution
is computed. The live part has no negative padding, nor has the convolution that computes its input
gradient; the one for its kernel gradient may crop inputs at the high end only. XLA on CPU computes
some convolutions with negative padding at the low end wrongly.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
from jax import lax

from dilax.geometry import AxisPadding, ConvGeometry


class LivePart(NamedTuple):
    """The live inputs, taps and outputs as slices, and the geometry of their convolution."""

    inputs: tuple[slice, ...]
    taps: tuple[slice, ...]
    outputs: tuple[slice, ...]
    geometry: ConvGeometry

    @classmethod
    def of(cls, geometry: ConvGeometry) -> LivePart | None:
        """Find the live part; None if along some axis no tap reads an input."""
        found = [
            _live_axis(*axis, edges[1])
            for axis, edges in zip(geometry.axes, geometry.padding, strict=True)
        ]
        live = [axis for axis in found if axis is not None]
        if len(live) < len(found):
            return None
        inputs, taps, outputs, padding = zip(*live, strict=True)
        kept = ConvGeometry(
            _sizes(inputs),
            _sizes(taps),
            geometry.strides,
            padding,
            geometry.kernel_dilation,
            geometry.feature_group_count,
        )
        return cls(inputs, taps, outputs, kept)

    def crop(self, array: jax.Array, role: str) -> jax.Array:
        """Cut the live part out of an input ``"x"``, a kernel ``"w"`` or an output ``"g"``."""
        kept = self._kept(array.shape, role)
        if _sizes(kept) == array.shape:
            return array
        return lax.slice(array, [part.start for part in kept], [part.stop for part in kept])

    def fill(self, array: jax.Array, role: str, whole: ConvGeometry) -> jax.Array:
        """Undo ``crop``: pad with zeros to the size in ``whole``."""
        window = {"x": whole.input_size, "w": whole.kernel_size, "g": whole.output_size}[role]
        kept = self._kept(array.shape, role)
        first = 0 if role == "w" else 1
        sizes = (*array.shape[:first], *window, *array.shape[first + len(window) :])
        if array.shape == sizes:
            return array
        edges = [(part.start, size - part.stop, 0) for part, size in zip(kept, sizes, strict=True)]
        return lax.pad(array, array.dtype.type(0), edges)

    def _kept(self, shape: tuple[int, ...], role: str) -> tuple[slice, ...]:
        if role == "w":
            return (*self.taps, slice(0, shape[-2]), slice(0, shape[-1]))
        window = self.inputs if role == "x" else self.outputs
        return (slice(0, shape[0]), *window, slice(0, shape[-1]))


def _sizes(parts: tuple[slice, ...]) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in parts)


def _live_axis(
    input_size: int, output_size: int, taps: int, stride: int, dilation: int, low: int, high: int
) -> tuple[slice, slice, slice, AxisPadding] | None:
    """Find the live inputs, taps and outputs of an axis, and the remaining padding."""

    def meets(tap: int) -> bool:
        before = max(low - dilation * tap, 0)  # entries of padding left of the first output
        output = -(-before // stride)  # the first output whose tap reads beyond that padding
        return output < output_size and stride * output + dilation * tap - low < input_size

    first = next((tap for tap in range(taps) if meets(tap)), None)
    if first is None:
        return None
    last = next(tap for tap in reversed(range(taps)) if meets(tap))
    low, high = low - dilation * first, high - dilation * (taps - 1 - last)
    outputs = _live_outputs(input_size, output_size, dilation * (last - first), stride, low)
    low -= stride * outputs.start
    high -= stride * (output_size - outputs.stop)
    inputs = slice(max(-low, 0), input_size - max(-high, 0))
    return inputs, slice(first, last + 1), outputs, (max(low, 0), max(high, 0))


def _live_outputs(input_size: int, output_size: int, reach: int, stride: int, low: int) -> slice:
    """Find the outputs whose windows, from ``s o - low`` to ``s o - low + reach``, see an input."""
    first = max(-(-(low - reach) // stride), 0)
    return slice(first, min((input_size - 1 + low) // stride + 1, output_size))

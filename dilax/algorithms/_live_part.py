"""The live part of a convolution: the inputs, taps and outputs that can meet one another.

Tap ``k`` of an axis reads input ``s o + d k - low`` for output ``o``. A tap that never reads one of
the ``n`` inputs sees padding alone: it adds nothing to the output, and its own gradient is zero. A
kernel dilated beyond the image has many such taps. An output whose whole window lies in the padding
is zero. Negative padding crops the input. All three are cut off before a convolution is computed.
What is left has no negative padding, nor has the convolution that is its input gradient; that of
its kernel gradient may crop inputs at the high end alone. XLA on CPU computes wrong where padding
is negative at the low end.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
from jax import lax

from dilax.geometry import AxisPadding, ConvGeometry


class LivePart(NamedTuple):
    """What is live, a slice of each window axis, and the convolution that it makes up."""

    inputs: tuple[slice, ...]
    taps: tuple[slice, ...]
    outputs: tuple[slice, ...]
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
        """Undo ``crop``: put zeros where ``whole`` has what is not live."""
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
    """The live inputs, taps and outputs of an axis, and the padding that is left."""

    def meets(tap: int) -> bool:
        before = max(low - dilation * tap, 0)  # entries of padding left of the first output
        output = -(-before // stride)  # the first output whose tap stands past them
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
    """The outputs whose windows, from ``s o - low`` to ``reach`` further, touch the input."""
    first = max(-(-(low - reach) // stride), 0)
    return slice(first, min((input_size - 1 + low) // stride + 1, output_size))

"""The taps of a kernel that meet the input: all others see padding alone, and need no work.

A kernel dilated beyond the image has many of those. Tap ``k`` of an axis stands at
``s o + d k - low`` for output ``o``; if that is never one of the ``n`` inputs, the tap adds nothing
to the output and its own gradient is zero.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
from jax import lax

from dilax.algorithms._windows import each_axis
from dilax.geometry import ConvGeometry


class LiveTaps(NamedTuple):
    """From the first to the last tap of each axis that meets an input, and what they make up."""

    taps: tuple[slice, ...]
    geometry: ConvGeometry

    @classmethod
    def of(cls, geometry: ConvGeometry) -> LiveTaps:
        """The reach of a convolution; all of it, where no tap of an axis meets an input."""
        met = [_met(*axis) for axis in each_axis(geometry)]
        if not all(met):
            return cls((slice(None),) * geometry.rank, geometry)
        taps = tuple(slice(axis[0], axis[-1] + 1) for axis in met)
        padding = [
            (low - step * some.start, high - step * (size - some.stop))
            for some, (low, high), size, step in zip(
                taps, geometry.padding, geometry.kernel_size, geometry.kernel_dilation, strict=True
            )
        ]
        sizes = tuple(some.stop - some.start for some in taps)
        return cls(taps, dataclasses.replace(geometry, kernel_size=sizes, padding=tuple(padding)))

    def crop(self, kernel: jax.Array) -> jax.Array:
        """A kernel without the taps beyond."""
        return kernel[self.taps]

    def fill(self, kernel: jax.Array, geometry: ConvGeometry) -> jax.Array:
        """Zeros for the taps beyond, to the kernel of ``geometry``, whose reach this is."""
        if self.geometry == geometry:
            return kernel
        sizes = zip(self.taps, geometry.kernel_size, strict=True)
        edges = [(some.start, size - some.stop, 0) for some, size in sizes]
        return lax.pad(kernel, kernel.dtype.type(0), [*edges, (0, 0, 0), (0, 0, 0)])


def _met(
    input_size: int, output_size: int, kernel_size: int, stride: int, dilation: int, low: int
) -> list[int]:
    """The taps of an axis that meet an input."""

    def meets(tap: int) -> bool:
        before = max(low - dilation * tap, 0)  # entries of padding left of the first output
        output = -(-before // stride)  # the first output whose tap stands past them
        place = stride * output + dilation * tap - low
        return output < output_size and place < input_size

    return [tap for tap in range(kernel_size) if meets(tap)]

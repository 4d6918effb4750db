"""Windows that slide along an axis, as convolutions, pools and slices have them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from dilax.analysis._field import NOWHERE, Read, in_place
from dilax.geometry import ConvGeometry


@dataclasses.dataclass(frozen=True)
class Window:
    """Output ``i`` reads at ``(stride i + dilation k - low) / base_dilation`` for every tap ``k``.

    Where that is no integer it falls into a hole of an input dilated by ``base_dilation``.

    >>> Window(3, stride=2, low=1).positions(np.arange(2)[:, None])
    array([[-1,  0,  1],
           [ 1,  2,  3]])
    """

    taps: int = 1
    stride: int = 1
    low: int = 0
    dilation: int = 1
    base_dilation: int = 1

    def positions(self, indices: np.ndarray) -> np.ndarray:
        """Positions that outputs at ``indices``, ``(..., 1)``, read, ``(..., taps)``."""
        places = indices * self.stride + np.arange(self.taps) * self.dilation - self.low
        if self.base_dilation == 1:
            return places
        inputs, beside = np.divmod(places, self.base_dilation)
        return np.where(beside == 0, inputs, NOWHERE)

    def read(self, axis: int) -> Read:
        """The window as a read, along an axis of the output."""
        return in_place(axis) if self == Window() else Read((axis,), self.positions)

    def transposed(self) -> Window:
        """The window of the gradient: input ``p`` reads the outputs that read ``p``.

        >>> Window(2, stride=2, low=1).transposed()
        Window(taps=2, stride=1, low=0, dilation=1, base_dilation=2)
        """
        last = (self.taps - 1) * self.dilation
        return Window(self.taps, self.base_dilation, last - self.low, self.dilation, self.stride)

    def pairs(self, inputs: int, outputs: int) -> int:
        """How many pairs of an output and a tap meet an input, and neither padding nor a hole."""
        places = self.positions(np.arange(outputs)[:, None])
        return int(((places >= 0) & (places < inputs)).sum())


def conv_windows(params: Mapping[str, Any], kernel_shape: tuple[int, ...]) -> list[Window]:
    """The window along each spatial axis, of a convolution of lax or of dilax."""
    if "geometry" in params:
        geometry: ConvGeometry = params["geometry"]
        sizes, strides, padding = geometry.kernel_size, geometry.strides, geometry.padding
        dilation, base = geometry.kernel_dilation, (1,) * geometry.rank
    else:
        sizes = tuple(kernel_shape[axis] for axis in params["dimension_numbers"].rhs_spec[2:])
        strides, padding = params["window_strides"], params["padding"]
        dilation, base = params["rhs_dilation"], params["lhs_dilation"]
    lows = [low for low, _ in padding]
    return [Window(*axis) for axis in zip(sizes, strides, lows, dilation, base, strict=True)]

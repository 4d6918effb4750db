"""One window axis of a pool: its index in the array, and its sizes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dilax.geometry import AxisPadding


class WindowAxis(NamedTuple):
    """A window axis of a pool: its index in the array, and its sizes."""

    axis: int
    length: int
    size: int
    stride: int
    dilation: int
    padding: AxisPadding

    @property
    def outputs(self) -> int:
        """Number of windows."""
        span = self.dilation * (self.size - 1) + 1
        return max((self.length + sum(self.padding) - span) // self.stride + 1, 0)

    def starts(self) -> range:
        """Offsets of the entries of a window in the padded input."""
        return range(0, self.size * self.dilation, self.dilation)

    def counts(self, include_pad: bool) -> np.ndarray:
        """Number of entries that count in each window."""
        if include_pad:
            return np.full(self.outputs, self.size)
        first = np.arange(self.outputs) * self.stride - self.padding[0]
        places = first[:, None] + np.asarray(self.starts())
        return ((places >= 0) & (places < self.length)).sum(axis=1)

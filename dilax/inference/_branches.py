"""Convolutions of one array whose results are added, merged into one convolution.

Along each window axis, tap ``j`` of a branch reads the input at ``s o - low + d j`` for the output
``o``. Two branches of the same strides thus merge if their taps lie on one grid: the kernel of the
sum reaches from the first tap of both to the last, and has at each place the sum of what is there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from dilax.inference._scaled import Constant, Convolution, Scaled


@dataclasses.dataclass(frozen=True)
class Taps:
    """Where the taps of a kernel are, along one window axis."""

    size: int
    low: int
    """Entries of padding before the input."""
    high: int
    dilation: int

    @property
    def positions(self) -> tuple[int, int]:
        """Where the first and the last tap read, for the first output."""
        return -self.low, -self.low + self.dilation * (self.size - 1)


def merged(first: Scaled, second: Scaled) -> Scaled | None:
    """Return the sum of two convolutions as one, or None if that takes more taps than both.

    Source: X. Ding et al., "RepVGG: making VGG-style ConvNets great again", 2021.
    """
    pair = first.convolution, second.convolution
    one, other = pair
    name = one.equation.primitive.name
    if first.moves or second.moves or one.x is not other.x or name not in WINDOWS:
        return None
    if one.place != 1 or other.place != 1 or other.equation.primitive.name != name:
        return None
    windows = [WINDOWS[name](each) for each in pair]
    if windows[0].rest != windows[1].rest or first.axis != second.axis:
        return None
    columns = list(zip(windows[0].taps, windows[1].taps, strict=True))
    taps = [joined(*column) for column in columns]
    known = [each for each in taps if each is not None]
    most = sum(math.prod(each.size for each in window.taps) for window in windows)
    if len(known) < len(taps) or math.prod(each.size for each in known) > most:
        return None
    kernel = sum(
        _placed(each, value.scale, window, known)
        for each, value, window in zip(pair, (first, second), windows, strict=True)
    )
    convolution = dataclasses.replace(
        one,
        equation=windows[0].with_taps(known),
        kernel=Constant.of(np.asarray(kernel, one.kernel.dtype)),
    )
    total = dataclasses.replace(first, convolution=convolution, scale=np.ones_like(first.scale))
    return total if second.shift is None else total.plus(second.shift)


def joined(one: Taps, other: Taps) -> Taps | None:
    """Return the taps that cover both, or None if they lie on no common grid.

    >>> joined(Taps(3, 1, 1, 1), Taps(1, 0, 0, 1))
    Taps(size=3, low=1, high=1, dilation=1)
    >>> joined(Taps(3, 2, 2, 2), Taps(3, 1, 1, 1)) is None
    True
    """
    dilations = {each.dilation for each in (one, other) if each.size > 1} or {1}
    if len(dilations) > 1 or (one.low - other.low) % (dilation := dilations.pop()):
        return None
    low = max(one.low, other.low)
    last = max(each.positions[1] for each in (one, other))
    size = (last + low) // dilation + 1
    # As many outputs as before: what the kernel grows by is padded.
    high = one.high + (last - one.positions[1])
    return Taps(size, low, high, dilation)


@dataclasses.dataclass(frozen=True)
class Window:
    """What one convolution does along its window axes, and how to make another of it."""

    axes: Sequence[int]
    """The window axes of the kernel."""
    taps: Sequence[Taps]
    rest: Mapping[str, Any]
    """All that must be equal in convolutions that are merged."""
    with_taps: Callable[[Sequence[Taps]], JaxprEqn]


def _placed(
    convolution: Convolution, scale: np.ndarray, window: Window, taps: Sequence[Taps]
) -> np.ndarray:
    """Return a scaled kernel with zeros around it, as large as the kernel of the sum."""
    kernel = convolution.scaled_kernel(scale)
    edges = [(0, 0)] * kernel.ndim
    for axis, own, whole in zip(window.axes, window.taps, taps, strict=True):
        before = (whole.low - own.low) // whole.dilation
        edges[axis] = before, whole.size - own.size - before
    return np.pad(kernel, edges)


def _taps(
    sizes: Sequence[int], paddings: Sequence[tuple[int, int]], dilations: Sequence[int]
) -> list[Taps]:
    """Return the taps along each window axis."""
    columns = zip(sizes, paddings, dilations, strict=True)
    return [Taps(size, low, high, dilation) for size, (low, high), dilation in columns]


def _window_of_lax(convolution: Convolution) -> Window:
    equation = convolution.equation
    params = equation.params
    axes = params["dimension_numbers"].rhs_spec[2:]
    sizes = [convolution.kernel.shape[axis] for axis in axes]
    taps = _taps(sizes, params["padding"], params["rhs_dilation"])

    def with_taps(taps: Sequence[Taps]) -> JaxprEqn:
        changed = {
            "padding": tuple((each.low, each.high) for each in taps),
            "rhs_dilation": tuple(each.dilation for each in taps),
        }
        return equation.replace(params=params | changed)

    rest = {name: params[name] for name in params if name not in ("padding", "rhs_dilation")}
    return Window(axes, taps, rest, with_taps)


def _window_of_dilax(convolution: Convolution) -> Window:
    equation = convolution.equation
    geometry = equation.params["geometry"]
    taps = _taps(geometry.kernel_size, geometry.padding, geometry.kernel_dilation)

    def with_taps(taps: Sequence[Taps]) -> JaxprEqn:
        changed = dataclasses.replace(
            geometry,
            kernel_size=tuple(each.size for each in taps),
            padding=tuple((each.low, each.high) for each in taps),
            kernel_dilation=tuple(each.dilation for each in taps),
        )
        return equation.replace(params=equation.params | {"geometry": changed})

    rest = dict(equation.params) | {
        "geometry": (geometry.strides, geometry.feature_group_count),
    }
    return Window(range(geometry.rank), taps, rest, with_taps)


WINDOWS: Mapping[str, Callable[[Convolution], Window]] = {
    "conv_general_dilated": _window_of_lax,
    "dilax_conv": _window_of_dilax,
}
"""By primitive, what a convolution does along its window axes."""

"""The input gradient of a strided convolution, phase by phase, without zeros between cotangents.

Output ``o`` of an axis reads input ``i`` through tap ``k`` if ``i + low = s o + d k``. So the
inputs ``i = s t + f`` of a phase ``f`` see only the taps with ``d k = f + low`` modulo ``s``. These
taps lie ``s / gcd(s, d)`` apart. As a function of ``t``, the phase is the input of a convolution
with these taps, of stride 1 and dilation ``d / gcd(s, d)``. The input gradients of all phases,
interleaved, are the input gradient of the strided convolution.

Source: Shi et al., "Is the deconvolution layer the same as a convolutional layer?",
https://arxiv.org/abs/1609.07009
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dilax.algorithms._vma import vary, varying_axes
from dilax.algorithms._windows import (
    cotangent_offsets,
    cotangent_padding,
    pad_and_spread,
)
from dilax.geometry import AxisPadding, ConvGeometry, _exact_padding


class Phase(NamedTuple):
    """The taps that the inputs of a phase see, as slices, and the geometry of their convolution."""

    taps: tuple[slice, ...]
    geometry: ConvGeometry

    def offsets(self, edges: tuple[AxisPadding, ...]) -> list[tuple[int, ...]]:
        """Return where each tap starts to read in the cotangent padded by ``edges``."""
        own = cotangent_padding(self.geometry)
        starts = [low - own_low for (low, _), (own_low, _) in zip(edges, own, strict=True)]
        return [
            tuple(map(operator.add, starts, offset)) for offset in cotangent_offsets(self.geometry)
        ]


class Phases(NamedTuple):
    """All phases of a geometry in row-major order; ``None`` for a phase that no tap reads.

    ``edges`` is a padding of the cotangent that is large enough for all phases.
    """

    geometry: ConvGeometry
    found: list[Phase | None]
    edges: tuple[AxisPadding, ...]

    @classmethod
    def of(cls, geometry: ConvGeometry, *, split: bool) -> Phases:
        """Make a phase for each remainder of the strides, or only one if not ``split``."""
        whole: list[Phase | None] = [Phase((slice(None),) * geometry.rank, geometry)]
        found = _split(geometry) if split else whole
        paddings = [cotangent_padding(phase.geometry) for phase in found if phase]
        by_axis = zip(*paddings, strict=True)
        edges = tuple(
            (max(low for low, _ in axis), max(high for _, high in axis)) for axis in by_axis
        )
        return cls(geometry, found, edges)

    def pad(self, g: jax.Array) -> jax.Array:
        """Spread the cotangent by the remaining strides, and pad it by ``edges``."""
        return pad_and_spread(g, self.edges, self._strides_left)

    def spread(self, g: jax.Array) -> jax.Array:
        """Spread the cotangent by the remaining strides."""
        return pad_and_spread(g, ((0, 0),) * self.geometry.rank, self._strides_left)

    @property
    def _strides_left(self) -> tuple[int, ...]:
        return next(phase for phase in self.found if phase).geometry.strides

    def gradient(self, part: Callable[[Phase], jax.Array]) -> jax.Array:
        """Compute the gradient of all inputs; ``part`` computes the gradient of one phase."""
        parts = [part(phase) if phase else None for phase in self.found]
        one = next(part for part in parts if part is not None)
        if len(parts) == 1:
            return one
        zeros = vary(jnp.zeros_like(one), varying_axes(one))
        filled = [zeros if part is None else part for part in parts]
        whole = _interleave(filled, self.geometry.strides)
        return whole[(slice(None), *map(slice, self.geometry.input_size))]


def _split(geometry: ConvGeometry) -> list[Phase | None]:
    by_axis = [_axis_phases(*axis) for axis in geometry.axes]
    return [_together(phase, geometry) for phase in itertools.product(*by_axis)]


class _AxisPhase(NamedTuple):
    """A phase along one axis: its taps, and the numbers of their convolution of stride 1."""

    taps: slice
    input_size: int
    kernel_size: int
    padding: AxisPadding
    dilation: int


def _axis_phases(
    input_size: int, output_size: int, kernel_size: int, stride: int, dilation: int, low: int
) -> list[_AxisPhase | None]:
    """Make the phases ``0`` to ``s - 1`` of an axis, each with ``ceil(n / s)`` inputs."""
    size, common = math.ceil(input_size / stride), math.gcd(stride, dilation)
    phases: list[_AxisPhase | None] = []
    for first in range(stride):
        taps = [k for k in range(kernel_size) if (first + low - dilation * k) % stride == 0]
        if not taps:
            phases.append(None)
            continue
        start = (first + low - dilation * taps[0]) // stride
        padding = _exact_padding(size, output_size, len(taps), 1, dilation // common, start)
        every = slice(taps[0], None, stride // common)
        phases.append(_AxisPhase(every, size, len(taps), padding, dilation // common))
    return phases


def _together(phases: Sequence[_AxisPhase | None], geometry: ConvGeometry) -> Phase | None:
    """Combine one phase of each axis into a phase; ``None`` if one of them is ``None``."""
    seen = [phase for phase in phases if phase is not None]
    if len(seen) < len(phases):
        return None
    taps, input_size, kernel_size, padding, dilation = zip(*seen, strict=True)
    ones, groups = (1,) * len(seen), geometry.feature_group_count
    return Phase(taps, ConvGeometry(input_size, kernel_size, ones, padding, dilation, groups))


def _interleave(parts: list[jax.Array], strides: tuple[int, ...]) -> jax.Array:
    """Interleave phases ``(N, *T, C)``, in row-major order, to an array ``(N, *(T s), C)``."""
    for axis, stride in reversed(list(enumerate(strides, start=1))):
        together = [parts[place : place + stride] for place in range(0, len(parts), stride)]
        parts = [_alternate(some, axis) for some in together]
    return parts[0]


def _alternate(parts: list[jax.Array], axis: int) -> jax.Array:
    """Interleave arrays along ``axis``: all first entries, then all second entries, and so on."""
    shape = parts[0].shape
    entries = len(parts) * shape[axis]
    return jnp.stack(parts, axis + 1).reshape(*shape[:axis], entries, *shape[axis + 1 :])

"""A dilated convolution as one without dilation, of the phases of its input, which join the batch.

Along an axis of stride ``s`` and dilation ``d``, write ``s = c s'`` and ``d = c d'`` without a
common factor of ``s'`` and ``d'``. Output ``o = d' t + r`` reads the padded input at

    s o + d k  =  d (s' t + k) + s r

So the outputs of phase ``r`` are a convolution of stride ``s'`` and dilation 1 of every ``d``-th
entry from ``s r`` on. All ``d'`` phases have one kernel, so they are more examples of a batch.

XLA has fast programs for convolutions without dilation on every device, but on GPUs it computes the
kernel gradient of a dilated one with the whole image as its window, and puts zeros between the taps
of a kernel if stride and dilation meet. Optimisation barriers keep it from undoing the phases.

Source: F. Yu and V. Koltun, "Multi-scale context aggregation by dilated convolutions", 2016, for
dilated convolution; TensorFlow's ``space_to_batch``, for the phases.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax as jax_lax

from dilax.algorithms._algorithm import Algorithm
from dilax.algorithms._lax import lax, transpose
from dilax.geometry import ConvGeometry


@dataclasses.dataclass(frozen=True)
class _Axis:
    """The phases along one window axis."""

    inputs: int
    outputs: int
    low: int
    stride: int
    """``s``, from one phase of the input to the next."""
    dilation: int
    """``d``, from one entry of a phase to the next."""
    phases: int
    """``d'``."""
    steps: int
    """Outputs of a phase."""
    entries: int
    """Inputs of a phase."""

    @classmethod
    def of(
        cls, inputs: int, outputs: int, size: int, stride: int, dilation: int, low: int
    ) -> _Axis:
        common = math.gcd(stride, dilation)
        phases = dilation // common
        steps = -(-outputs // phases)
        entries = stride // common * (steps - 1) + size
        return cls(inputs, outputs, low, stride, dilation, phases, steps, entries)

    def input_phases(self, x: jax.Array, axis: int) -> jax.Array:
        """Take an axis of ``(N, ...)`` apart: ``(N d', ...)``, with zeros where nothing is."""
        if self.dilation == self.stride == 1:
            return _padded(x, axis, self.low, self.entries - self.inputs - self.low)
        last = self.dilation * (self.entries - 1) + 1
        length = self.stride * (self.phases - 1) + last
        x = _padded(x, axis, self.low, length - self.inputs - self.low)
        if self.stride == 1:
            return _taken_apart(x, axis, self.phases)
        starts = [self.stride * phase for phase in range(self.phases)]
        parts = [jax_lax.slice_in_dim(x, n, n + last, self.dilation, axis) for n in starts]
        return _joined(jnp.stack(parts, axis=1))

    def output_phases(self, g: jax.Array, axis: int) -> jax.Array:
        """Take an axis of ``(N, ...)`` apart: ``(N d', ...)``, with zeros where nothing is."""
        g = _padded(g, axis, 0, self.phases * self.steps - self.outputs)
        return _taken_apart(g, axis, self.phases)

    def outputs_of(self, y: jax.Array, axis: int) -> jax.Array:
        """Put the phases of an axis together: the reverse of ``output_phases``."""
        y = y.reshape(y.shape[0] // self.phases, self.phases, *y.shape[1:])
        y = jnp.moveaxis(y, 1, axis + 1)
        whole = self.steps * self.phases
        y = y.reshape(*y.shape[:axis], whole, *y.shape[axis + 2 :])
        return jax_lax.slice_in_dim(y, 0, self.outputs, axis=axis)


def _padded(array: jax.Array, axis: int, low: int, high: int) -> jax.Array:
    edges = [(0, 0, 0)] * array.ndim
    edges[axis] = (low, high, 0)
    return jax_lax.pad(array, array.dtype.type(0), edges)


def _taken_apart(array: jax.Array, axis: int, phases: int) -> jax.Array:
    """Take every ``phases``-th entry of an axis as a phase."""
    shape = (*array.shape[:axis], array.shape[axis] // phases, phases, *array.shape[axis + 1 :])
    return _joined(jnp.moveaxis(array.reshape(shape), axis + 1, 1))


def _joined(array: jax.Array) -> jax.Array:
    """Join the axis of phases, after that of examples, with it."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


@dataclasses.dataclass(frozen=True)
class _Phases:
    """The phases along all window axes, and the convolution of each."""

    axes: tuple[_Axis, ...]
    geometry: ConvGeometry

    @classmethod
    def of(cls, geometry: ConvGeometry) -> _Phases:
        axes = tuple(_Axis.of(*numbers) for numbers in geometry.axes)
        rank, groups = geometry.rank, geometry.feature_group_count
        steps = zip(geometry.strides, geometry.kernel_dilation, strict=True)
        own = ConvGeometry(
            tuple(axis.entries for axis in axes),
            geometry.kernel_size,
            tuple(stride // math.gcd(stride, dilation) for stride, dilation in steps),
            ((0, 0),) * rank,
            (1,) * rank,
            groups,
        )
        return cls(axes, own)

    def of_input(self, x: jax.Array) -> jax.Array:
        for place, axis in enumerate(self.axes, start=1):
            x = axis.input_phases(x, place)
        return x

    def of_output(self, g: jax.Array) -> jax.Array:
        for place, axis in enumerate(self.axes, start=1):
            g = axis.output_phases(g, place)
        return g

    def together(self, y: jax.Array) -> jax.Array:
        for place, axis in reversed(list(enumerate(self.axes, start=1))):
            y = axis.outputs_of(y, place)
        return y


def conv(lhs: jax.Array, rhs: jax.Array, geometry: ConvGeometry, **options: Any) -> jax.Array:
    """Convolve the phases, and put their outputs together."""
    phases = _Phases.of(geometry)
    apart = jax_lax.optimization_barrier(phases.of_input(lhs))
    return phases.together(lax.conv(apart, rhs, phases.geometry, **options))


def input_gradient(
    lhs: jax.Array, rhs: jax.Array, geometry: ConvGeometry, **options: Any
) -> jax.Array:
    """Compute the gradients of the phases of the input, and put them where they were read."""
    phases = _Phases.of(geometry)
    apart = jax_lax.optimization_barrier(phases.of_output(lhs))
    found = jax_lax.optimization_barrier(lax.input_gradient(apart, rhs, phases.geometry, **options))
    features = rhs.shape[-2] * geometry.feature_group_count
    shape = (lhs.shape[0], *geometry.input_size, features)
    return transpose(phases.of_input, shape, found)


def kernel_gradient(
    lhs: jax.Array, rhs: jax.Array, geometry: ConvGeometry, **options: Any
) -> jax.Array:
    """Compute the gradient of the kernel from all phases, as from a larger batch."""
    phases = _Phases.of(geometry)
    inputs = jax_lax.optimization_barrier(phases.of_input(lhs))
    cotangents = jax_lax.optimization_barrier(phases.of_output(rhs))
    return lax.kernel_gradient(inputs, cotangents, phases.geometry, **options)


space_to_batch = Algorithm("space_to_batch", conv, input_gradient, kernel_gradient)

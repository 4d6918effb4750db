"""A convolution of an array that is padded before, by an operation of its own.

XLA for GPUs cannot pass cuDNN a padding that is larger at one end, as that of a causal convolution.
If the kernel is dilated as well, it puts zeros between the taps: 3 taps at dilation 16 become a
window of 33. With padding in an operation of its own, behind an optimisation barrier, the
window stays as it is.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jax import lax as jax_lax

from dilax.algorithms._algorithm import Algorithm
from dilax.algorithms._lax import lax
from dilax.geometry import ConvGeometry


def conv(lhs: jax.Array, rhs: jax.Array, geometry: ConvGeometry, **options: Any) -> jax.Array:
    """Pad, then convolve."""
    return lax.conv(_padded(lhs, geometry), rhs, _unpadded(geometry), **options)


def input_gradient(
    lhs: jax.Array, rhs: jax.Array, geometry: ConvGeometry, **options: Any
) -> jax.Array:
    """Compute the gradient of the padded input, and cut the padding off."""
    whole = lax.input_gradient(lhs, rhs, _unpadded(geometry), **options)
    edges = [(-low, -high, 0) for low, high in geometry.padding]
    whole = jax_lax.optimization_barrier(whole)
    return jax_lax.pad(whole, whole.dtype.type(0), [(0, 0, 0), *edges, (0, 0, 0)])


def kernel_gradient(
    lhs: jax.Array, rhs: jax.Array, geometry: ConvGeometry, **options: Any
) -> jax.Array:
    """Pad, then compute the gradient of the kernel."""
    return lax.kernel_gradient(_padded(lhs, geometry), rhs, _unpadded(geometry), **options)


def _padded(x: jax.Array, geometry: ConvGeometry) -> jax.Array:
    edges = [(low, high, 0) for low, high in geometry.padding]
    padded = jax_lax.pad(x, x.dtype.type(0), [(0, 0, 0), *edges, (0, 0, 0)])
    return jax_lax.optimization_barrier(padded)


def _unpadded(geometry: ConvGeometry) -> ConvGeometry:
    """The convolution of the padded input."""
    padding = ((0, 0),) * geometry.rank
    return dataclasses.replace(geometry, input_size=geometry.padded_size, padding=padding)


pad_first = Algorithm("pad_first", conv, input_gradient, kernel_gradient)

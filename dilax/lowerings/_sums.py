"""Sums over windows: a depthwise convolution by ones, so that its gradient is such a sum again."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from dilax.geometry import ConvGeometry
from dilax.lowerings import _taps
from dilax.lowerings._bilinear import conv
from dilax.lowerings._lowering import Lowering

sums = Lowering(
    "sums",
    functools.partial(_taps.conv, few_terms=_taps.FEWEST_TERMS),
    functools.partial(_taps.input_gradient, few_terms=_taps.FEWEST_TERMS),
    _taps.kernel_gradient,
)
"""`taps` of a kernel of ones. By it a pool is told from a convolution."""


def window_sums(x: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """``y[n, i, c] = sum_k x[n, s i + d k - low, c]``."""
    ones = jnp.ones((*geometry.kernel_size, 1, x.shape[-1]), x.dtype)
    return conv(x, ones, geometry, precision=None, dtype=x.dtype, lowering=sums)

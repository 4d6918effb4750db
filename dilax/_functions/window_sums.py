"""Sums over windows: a depthwise convolution by ones, so that its gradient is such a sum again."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from dilax._primitives import conv
from dilax.algorithms import _shift_and_add
from dilax.algorithms._algorithm import Algorithm
from dilax.geometry import ConvGeometry

sums = Algorithm(
    "sums",
    functools.partial(_shift_and_add.conv, few_terms=_shift_and_add.FEWEST_TERMS),
    functools.partial(_shift_and_add.input_gradient, few_terms=_shift_and_add.FEWEST_TERMS),
    _shift_and_add.kernel_gradient,
)
"""`shift_and_add` of a kernel of ones. By it a pool is told from a convolution."""


def window_sums(x: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """``y[n, i, c] = sum_k x[n, s i + d k - low, c]``."""
    ones = jnp.ones((*geometry.kernel_size, 1, x.shape[-1]), x.dtype)
    return conv(x, ones, geometry, precision=None, dtype=x.dtype, algorithm=sums)

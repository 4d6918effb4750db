"""Branches that were trained apart, made one kernel, exactly."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from dilax._arrays import as_array
from dilax._checks import shown
from dilax._functions import BatchNormParams
from dilax._functions.arguments import MOST_PADDED, as_scalar
from dilax._functions.blocks import check_norm
from dilax.degridding._branches import Rates, arrays_of, centred_padding, check_branches
from dilax.geometry import canonical_tuple


def merge_kernels(kernels: Sequence[ArrayLike], *, kernel_dilation: Rates) -> jax.Array:
    """One kernel without holes that does what the sum of dilated ones does, centres aligned.

    ``W[k] = sum_b w_b[j]`` over the branches ``b`` and taps ``j`` with ``k - (K - 1) / 2 =
    d_b (j - (K_b - 1) / 2)``, where ``K`` is the largest effective size of all.

    Args:
      kernels: of each branch, ``(*window, I, O)``.
      kernel_dilation: of each branch.

    Returns:
      ``(*window, I, O)``, as large as the largest effective kernel.

    Raises:
      ValueError: if shapes do not fit, or an effective kernel size is even and has no centre.

    Source: Ding et al., "UniRepLKNet" (2023).

    >>> import jax.numpy as jnp
    >>> kernels = [jnp.ones((3, 1, 1)), 10 * jnp.ones((3, 1, 1))]
    >>> merge_kernels(kernels, kernel_dilation=(1, 2))[:, 0, 0]
    Array([10.,  1., 11.,  1., 10.], dtype=float32)
    """
    arrays = arrays_of(kernels, "kernels")
    kernel_dilation = check_branches(arrays, kernel_dilation)
    reaches = [
        [low for low, _ in centred_padding(*pair)]
        for pair in zip(arrays, kernel_dilation, strict=True)
    ]
    largest = [max(axis) for axis in zip(*reaches, strict=True)]
    if math.prod(2 * reach + 1 for reach in largest) > MOST_PADDED:
        raise ValueError(
            f"kernel_dilation {shown(kernel_dilation)} makes a kernel without holes that is too "
            f"large; dilate less."
        )
    spread = [
        _spread(kernel, rates, [far - near for far, near in zip(largest, reach, strict=True)])
        for kernel, rates, reach in zip(arrays, kernel_dilation, reaches, strict=True)
    ]
    return functools.reduce(lax.add, spread)


def fold_batch_norm(
    kernel: ArrayLike, norm: BatchNormParams, *, epsilon: float = 1e-5
) -> tuple[jax.Array, jax.Array]:
    """A convolution and the normalisation after it, by running statistics, as one convolution.

    ``w' = w scale / sqrt(var + eps)``, ``b' = bias - mean scale / sqrt(var + eps)``

    Args:
      kernel: ``(*window, I, O)``.
      norm: of ``O`` features.
      epsilon: as in `dilax.batch_norm`.

    Returns:
      The kernel, of the same shape, and the bias ``(O,)``.

    Raises:
      ValueError: if the features do not fit.

    >>> import jax.numpy as jnp
    >>> norm = BatchNormParams(scale=jnp.ones(2), bias=jnp.zeros(2), mean=jnp.ones(2),
    ...                        var=jnp.full(2, 0.25))
    >>> kernel, bias = fold_batch_norm(jnp.ones((3, 1, 2)), norm, epsilon=0.0)
    >>> kernel[0, 0], bias
    (Array([2., 2.], dtype=float32), Array([-2., -2.], dtype=float32))
    """
    kernel = as_array(kernel, "kernel")
    if not jnp.issubdtype(kernel.dtype, jnp.inexact):
        raise TypeError(f"kernel must be of floating point, to be scaled, got {kernel.dtype}.")
    norm = check_norm(norm, "norm", kernel.shape[-1:], f"kernel has shape {kernel.shape}")
    epsilon = as_scalar(epsilon, "epsilon")
    gain = norm.scale * lax.rsqrt(norm.var + epsilon)
    each = jnp.expand_dims(gain, range(kernel.ndim - 1))
    return (kernel * each).astype(kernel.dtype), norm.bias - norm.mean * gain


def _spread(
    kernel: jax.Array, kernel_dilation: int | Sequence[int], edges: Sequence[int]
) -> jax.Array:
    """The kernel with its holes as zeros, and zeros around it."""
    rates = canonical_tuple(kernel_dilation, len(edges), "kernel_dilation")
    window = [(edge, edge, rate - 1) for edge, rate in zip(edges, rates, strict=True)]
    return lax.pad(kernel, kernel.dtype.type(0), [*window, (0, 0, 0), (0, 0, 0)])

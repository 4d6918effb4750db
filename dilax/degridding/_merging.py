"""Exact merging of parallel branches, and of batch normalisation, into one kernel."""

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
from dilax.degridding._branches import Dilations, arrays_of, centred_padding, check_branches
from dilax.geometry import canonical_tuple


def merge_kernels(kernels: Sequence[ArrayLike], *, kernel_dilation: Dilations) -> jax.Array:
    """Merge dilated kernels into one without holes, which gives the sum of their results.

    ``W[k] = sum_b w_b[j]`` over the branches ``b`` and taps ``j`` with ``k - (K - 1) / 2 =
    d_b (j - (K_b - 1) / 2)``. ``K`` is the largest effective size, and the centres are aligned.

    Args:
        kernels: Kernel of each branch, ``(*window, I, O)``.
        kernel_dilation: Dilation of each branch.

    Returns:
        ``(*window, I, O)``, as large as the largest effective kernel.

    Raises:
        ValueError: Shapes do not fit, or an effective kernel size is even and has no centre.

    Source: Ding et al., "UniRepLKNet" (2023).

    >>> import jax.numpy as jnp
    >>> kernels = [jnp.ones((3, 1, 1)), 10 * jnp.ones((3, 1, 1))]
    >>> merge_kernels(kernels, kernel_dilation=(1, 2))[:, 0, 0]
    Array([10.,  1., 11.,  1., 10.], dtype=float32)
    """
    arrays = arrays_of(kernels, "kernels")
    dilations = check_branches(arrays, kernel_dilation)
    halves = [
        [low for low, _ in centred_padding(*branch)]
        for branch in zip(arrays, dilations, strict=True)
    ]
    largest = [max(axis) for axis in zip(*halves, strict=True)]
    if math.prod(2 * half + 1 for half in largest) > MOST_PADDED:
        raise ValueError(
            f"kernel_dilation must make a kernel of at most {MOST_PADDED} entries, got "
            f"{shown(kernel_dilation)}; dilate less."
        )
    filled = [
        _fill_holes(kernel, dilation, [most - own for most, own in zip(largest, half, strict=True)])
        for kernel, dilation, half in zip(arrays, dilations, halves, strict=True)
    ]
    return functools.reduce(lax.add, filled)


def fold_batch_norm(
    kernel: ArrayLike, norm: BatchNormParams, *, epsilon: float = 1e-5
) -> tuple[jax.Array, jax.Array]:
    """Fold batch normalisation by running statistics into the convolution before it.

    ``w' = w scale / sqrt(var + eps)``, ``b' = bias - mean scale / sqrt(var + eps)``

    Args:
        kernel: Kernel of the convolution, ``(*window, I, O)``.
        norm: Normalisation of the ``O`` features of the convolution's output.
        epsilon: Added to the variance, as in ``dilax.batch_norm``.

    Returns:
        The kernel ``(*window, I, O)`` and the bias ``(O,)`` of one convolution.

    Raises:
        ValueError: The features do not fit.
        TypeError: The kernel is not of floating point.

    >>> import jax.numpy as jnp
    >>> norm = BatchNormParams(scale=jnp.ones(2), bias=jnp.zeros(2), mean=jnp.ones(2),
    ...                        var=jnp.full(2, 0.25))
    >>> kernel, bias = fold_batch_norm(jnp.ones((3, 1, 2)), norm, epsilon=0.0)
    >>> kernel[0, 0], bias
    (Array([2., 2.], dtype=float32), Array([-2., -2.], dtype=float32))
    """
    kernel = as_array(kernel, "kernel")
    if not jnp.issubdtype(kernel.dtype, jnp.inexact):
        raise TypeError(f"kernel must be of floating point, for its scaling, got {kernel.dtype}.")
    norm = check_norm(norm, "norm", kernel.shape[-1:], f"kernel has shape {kernel.shape}")
    epsilon = as_scalar(epsilon, "epsilon")
    gain = norm.scale * lax.rsqrt(norm.var + epsilon)
    each = jnp.expand_dims(gain, range(kernel.ndim - 1))
    return (kernel * each).astype(kernel.dtype), norm.bias - norm.mean * gain


def _fill_holes(
    kernel: jax.Array, kernel_dilation: int | Sequence[int], edges: Sequence[int]
) -> jax.Array:
    """The kernel with zeros in its holes and around it."""
    dilation = canonical_tuple(kernel_dilation, len(edges), "kernel_dilation")
    window = [(edge, edge, d - 1) for edge, d in zip(edges, dilation, strict=True)]
    return lax.pad(kernel, kernel.dtype.type(0), [*window, (0, 0, 0), (0, 0, 0)])

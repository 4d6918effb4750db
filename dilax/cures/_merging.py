"""Branches that were trained apart, made one kernel, exactly."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from dilax.cures._branches import Rates, centred_padding, check_branches
from dilax.geometry import canonical_tuple
from dilax.ops import BatchNormParams


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
    arrays = [jnp.asarray(kernel) for kernel in kernels]
    check_branches(arrays, kernel_dilation)
    if len({(array.ndim, array.shape[-2:]) for array in arrays}) != 1:
        raise ValueError(
            f"kernels have shapes {[array.shape for array in arrays]}; required: as many window "
            f"axes, in-features and out-features in each."
        )
    reaches = [
        [low for low, _ in centred_padding(*pair)]
        for pair in zip(arrays, kernel_dilation, strict=True)
    ]
    largest = [max(axis) for axis in zip(*reaches, strict=True)]
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
    kernel = jnp.asarray(kernel)
    if kernel.ndim < 1 or norm.scale.shape != kernel.shape[-1:]:
        raise ValueError(
            f"norm is for features of shape {norm.scale.shape}, kernel has shape {kernel.shape}; "
            f"required: scale.shape == kernel.shape[-1:]."
        )
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

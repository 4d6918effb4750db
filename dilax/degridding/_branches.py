"""Several rates side by side, over one input."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from dilax._arrays import as_array, as_dtype
from dilax._checks import entries
from dilax._functions import depthwise_conv
from dilax.geometry import canonical_tuple, effective_kernel_size

Rates = Sequence[int | Sequence[int]]


def hierarchical_fusion(branches: Sequence[ArrayLike]) -> jax.Array:
    """Running sums of the branches, side by side: ``[b_1, b_1 + b_2, b_1 + b_2 + b_3, ...]``.

    Ordered by rate, a branch with holes is added to those without.

    Args:
      branches: arrays ``(..., C)`` of one shape.

    Returns:
      ``(..., C len(branches))``.

    Raises:
      ValueError: if there are none, or their shapes differ.

    Source: Mehta et al., "ESPNet" (2018), hierarchical feature fusion.

    >>> import jax.numpy as jnp
    >>> hierarchical_fusion([jnp.asarray([1.0]), jnp.asarray([10.0]), jnp.asarray([100.0])])
    Array([  1.,  11., 111.], dtype=float32)
    """
    arrays = arrays_of(branches, "branches")
    if len({array.shape for array in arrays}) != 1 or not arrays[0].ndim:
        raise ValueError(
            f"branches have shapes {[array.shape for array in arrays]}; required: at least one, "
            f"all of one shape (..., C)."
        )
    return jnp.concatenate(list(itertools.accumulate(arrays, lax.add)), axis=-1)


def parallel_depthwise_conv(
    x: ArrayLike,
    kernels: Sequence[ArrayLike],
    *,
    kernel_dilation: Rates,
    strides: int | Sequence[int] = 1,
    **options: Any,
) -> jax.Array:
    """Sum of depthwise convolutions of several sizes and rates, their kernels' centres aligned.

    ``y[n, i, o] = sum_b sum_k x[n, s i + d_b (k - (K_b - 1) / 2), c(o)] w_b[k, o]``

    `merge_kernels` makes one kernel of them all, for the same result at the price of one.

    Args:
      x: ``(batch..., *window, C)``.
      kernels: of each branch, ``(*window, 1, C m)``.
      kernel_dilation: of each branch.
      strides: of all.
      **options: of all, as in `dilax.depthwise_conv`.

    Returns:
      ``(batch..., *window_out, C m)``.

    Raises:
      ValueError: if shapes do not fit, or an effective kernel size is even and has no centre.

    Source: Ding et al., "UniRepLKNet" (2023), the dilated re-parameterised block.

    >>> import jax.numpy as jnp
    >>> kernels = [jnp.ones((5, 5, 1, 8)), jnp.ones((3, 3, 1, 8))]
    >>> parallel_depthwise_conv(jnp.ones((2, 9, 9, 8)), kernels, kernel_dilation=(1, 2)).shape
    (2, 9, 9, 8)
    """
    arrays = arrays_of(kernels, "kernels")
    kernel_dilation = check_branches(arrays, kernel_dilation)
    branches = [
        depthwise_conv(
            x,
            kernel,
            strides=strides,
            kernel_dilation=rate,
            padding=centred_padding(kernel, rate),
            **options,
        )
        for kernel, rate in zip(arrays, kernel_dilation, strict=True)
    ]
    return functools.reduce(lax.add, branches)


def arrays_of(values: Any, name: str) -> list[jax.Array]:
    """Each of several arrays, all of one type of numbers."""
    arrays = [as_array(value, f"each of {name}") for value in entries(values, name, "arrays")]
    common = jnp.result_type(*arrays) if arrays else jnp.dtype(jnp.float32)
    return [array.astype(as_dtype(common, f"the common type of {name}")) for array in arrays]


def check_branches(kernels: Sequence[jax.Array], kernel_dilation: Rates) -> tuple[Any, ...]:
    """There are branches, alike but for their size, and a rate for each: the rates."""
    rates = entries(kernel_dilation, "kernel_dilation", "rates")
    if any(0 in kernel.shape for kernel in kernels):
        raise ValueError(
            f"kernels have shapes {[k.shape for k in kernels]}; required: no empty axis."
        )
    if not kernels or len(kernels) != len(rates):
        raise ValueError(
            f"there are {len(kernels)} kernels and {len(rates)} rates in kernel_dilation; "
            f"required: at least one kernel, and a rate for each."
        )
    if len({(kernel.ndim, kernel.shape[-2:]) for kernel in kernels}) != 1 or kernels[0].ndim < 3:
        raise ValueError(
            f"kernels have shapes {[kernel.shape for kernel in kernels]}; required: as many window "
            f"axes, in-features and out-features in each."
        )
    return rates


def centred_padding(
    kernel: jax.Array, kernel_dilation: int | Sequence[int]
) -> list[tuple[int, int]]:
    """As many zeros before as after, so that the kernel's centre stands on each entry in turn."""
    window = kernel.shape[:-2]
    rates = canonical_tuple(kernel_dilation, len(window), "kernel_dilation")
    spans = [effective_kernel_size(*axis) for axis in zip(window, rates, strict=True)]
    if any(span % 2 == 0 for span in spans):
        raise ValueError(
            f"kernel of {window} at kernel_dilation {rates} has the effective size "
            f"{tuple(spans)}, which has no centre; required: odd sizes. Use a kernel of odd size."
        )
    return [(span // 2, span // 2) for span in spans]

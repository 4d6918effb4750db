"""Several dilations at once, over one input."""

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

Dilations = Sequence[int | Sequence[int]]
"""A ``kernel_dilation`` for each branch."""


def hierarchical_fusion(branches: Sequence[ArrayLike]) -> jax.Array:
    """Concatenate running sums of branches: ``[b_1, b_1 + b_2, b_1 + b_2 + b_3, ...]``.

    With branches in order of rising dilation, each branch is added to all branches of smaller
    dilation, which fill the holes of its grid.

    Args:
        branches: Arrays ``(..., C)`` of one shape.

    Returns:
        ``(..., C len(branches))``.

    Raises:
        ValueError: There are no branches, or their shapes differ.

    Source: Mehta et al., "ESPNet" (2018), hierarchical feature fusion.

    >>> import jax.numpy as jnp
    >>> hierarchical_fusion([jnp.asarray([1.0]), jnp.asarray([10.0]), jnp.asarray([100.0])])
    Array([  1.,  11., 111.], dtype=float32)
    """
    arrays = arrays_of(branches, "branches")
    if len({array.shape for array in arrays}) != 1 or not arrays[0].ndim:
        raise ValueError(
            f"branches must be at least one array, all of one shape (..., C), got shapes "
            f"{[array.shape for array in arrays]}."
        )
    return jnp.concatenate(list(itertools.accumulate(arrays, lax.add)), axis=-1)


def parallel_depthwise_conv(
    x: ArrayLike,
    kernels: Sequence[ArrayLike],
    *,
    kernel_dilation: Dilations,
    strides: int | Sequence[int] = 1,
    **options: Any,
) -> jax.Array:
    """Sum depthwise convolutions of several sizes and dilations, with aligned kernel centres.

    ``y[n, i, o] = sum_b sum_k x[n, s i + d_b (k - (K_b - 1) / 2), c(o)] w_b[k, o]``

    ``merge_kernels`` merges the kernels into one, which gives the same result with one convolution.

    Args:
        x: ``(batch..., *window, C)``.
        kernels: Kernel of each branch, ``(*window, 1, C m)``.
        kernel_dilation: Dilation of each branch.
        strides: Entries between neighbouring outputs, equal for all branches.
        **options: Options of all branches, as in ``dilax.depthwise_conv``: precision, algorithm and
            so on.

    Returns:
        ``(batch..., *window_out, C m)``.

    Raises:
        ValueError: Shapes do not fit, or an effective kernel size is even and has no centre.

    Source: Ding et al., "UniRepLKNet" (2023), the dilated re-parameterised block.

    >>> import jax.numpy as jnp
    >>> kernels = [jnp.ones((5, 5, 1, 8)), jnp.ones((3, 3, 1, 8))]
    >>> parallel_depthwise_conv(jnp.ones((2, 9, 9, 8)), kernels, kernel_dilation=(1, 2)).shape
    (2, 9, 9, 8)
    """
    arrays = arrays_of(kernels, "kernels")
    branches = [
        depthwise_conv(
            x,
            kernel,
            strides=strides,
            kernel_dilation=dilation,
            padding=centred_padding(kernel, dilation),
            **options,
        )
        for kernel, dilation in zip(arrays, check_branches(arrays, kernel_dilation), strict=True)
    ]
    return functools.reduce(lax.add, branches)


def arrays_of(values: Any, name: str) -> list[jax.Array]:
    """Return each of several arrays, all converted to their common type of numbers."""
    arrays = [as_array(value, f"each of {name}") for value in entries(values, name, "arrays")]
    common = jnp.result_type(*arrays) if arrays else jnp.dtype(jnp.float32)
    return [array.astype(as_dtype(common, f"the common type of {name}")) for array in arrays]


def check_branches(kernels: Sequence[jax.Array], kernel_dilation: Dilations) -> tuple[Any, ...]:
    """Return the branches' dilations; refuse kernels that differ in more than their window."""
    dilations = entries(kernel_dilation, "kernel_dilation", "dilations")
    shapes = [kernel.shape for kernel in kernels]
    if any(0 in shape for shape in shapes):
        raise ValueError(f"kernels must have no empty axis, got shapes {shapes}.")
    if not kernels or len(kernels) != len(dilations):
        raise ValueError(
            f"kernels and kernel_dilation must have equally many entries, at least one, got "
            f"{len(kernels)} and {len(dilations)}."
        )
    if len({(len(shape), shape[-2:]) for shape in shapes}) != 1 or kernels[0].ndim < 3:
        raise ValueError(
            f"kernels must have shapes (*window, I, O) of one number of window axes, one I and one "
            f"O, got {shapes}."
        )
    return dilations


def centred_padding(
    kernel: jax.Array, kernel_dilation: int | Sequence[int]
) -> list[tuple[int, int]]:
    """Equal padding before and after each axis, so that the kernel's centre meets every entry."""
    window = kernel.shape[:-2]
    dilation = canonical_tuple(kernel_dilation, len(window), "kernel_dilation")
    spans = [effective_kernel_size(*axis) for axis in zip(window, dilation, strict=True)]
    if any(span % 2 == 0 for span in spans):
        raise ValueError(
            f"kernel must have an odd effective size, and so a centre, on every axis, got "
            f"{tuple(spans)} for {window} at kernel_dilation {dilation}; use a kernel of odd size."
        )
    return [(span // 2, span // 2) for span in spans]

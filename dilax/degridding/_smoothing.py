"""Smoothing before a dilated convolution, so that each of its taps sees the entries around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dilax._arrays import as_array
from dilax._functions import depthwise_conv
from dilax._functions.arguments import MOST_PADDED
from dilax.geometry import PaddingLike, canonical_tuple


def shared_conv(x: ArrayLike, kernel: ArrayLike, **options: Any) -> jax.Array:
    """Depthwise convolution in which all features share one kernel ("separable and shared").

    ``y[n, i, c] = sum_k x[n, s i + d k - low, c] w[k]``

    Args:
      x: ``(batch..., *window, C)``.
      kernel: ``(*window)``: one number a tap.
      **options: as in `dilax.depthwise_conv`: strides, padding and so on.

    Returns:
      ``(batch..., *window_out, C)``.

    Raises:
      ValueError: as `dilax.depthwise_conv`.

    Source: Wang and Ji, "Smoothed dilated convolutions for improved dense prediction" (2018).

    >>> import jax.numpy as jnp
    >>> shared_conv(jnp.arange(6.0).reshape(1, 3, 2), jnp.asarray([1.0, 0.0, 0.0]))[0]
    Array([[0., 0.],
           [0., 1.],
           [2., 3.]], dtype=float32)
    """
    x, kernel = as_array(x, "x"), as_array(kernel, "kernel")
    features = x.shape[-1] if x.ndim else 0
    each = jnp.broadcast_to(kernel[..., None, None], (*kernel.shape, 1, features))
    return depthwise_conv(x, each, **options)


def smoothed_depthwise_conv(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    kernel_dilation: int | Sequence[int],
    smoothing: ArrayLike | None = None,
    padding: PaddingLike = "SAME",
    **options: Any,
) -> jax.Array:
    """Dilated depthwise convolution of a smoothed input: ``depthwise_conv(shared_conv(x))``.

    With ``2 d - 1`` entries an axis, a smoothing kernel joins each tap to its neighbours' inputs.

    Args:
      x: ``(batch..., *window, C)``.
      kernel: ``(*window, 1, C m)``.
      kernel_dilation: of ``kernel``.
      smoothing: kernel ``(*window)`` that all features share; the average of as many entries as
        the taps stand apart when left out.
      padding: of ``kernel``; the smoothing keeps the size, by zeros.
      **options: of the dilated part, as in `dilax.depthwise_conv`.

    Returns:
      ``(batch..., *window_out, C m)``.

    Raises:
      ValueError: if shapes do not fit.

    Source: Wang and Ji, "Smoothed dilated convolutions for improved dense prediction" (2018).

    >>> import jax.numpy as jnp
    >>> x = jnp.zeros((1, 9, 1)).at[0, 3].set(1.0)
    >>> kernel = jnp.ones((3, 1, 1))
    >>> smoothed_depthwise_conv(x, kernel, kernel_dilation=2)[0, :, 0]
    Array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0. , 0. , 0. ], dtype=float32)
    """
    kernel = as_array(kernel, "kernel")
    if kernel.ndim < 3:
        raise ValueError(f"kernel must have shape (*window, 1, features), got {kernel.shape}.")
    rates = canonical_tuple(kernel_dilation, kernel.ndim - 2, "kernel_dilation")
    if smoothing is not None:
        smoothing = as_array(smoothing, "smoothing")
        if smoothing.ndim != len(rates):
            raise ValueError(
                f"smoothing must have an axis for each of the kernel's {len(rates)} window axes, "
                f"got shape {smoothing.shape}."
            )
    elif math.prod(rates) > MOST_PADDED:
        raise ValueError(f"kernel_dilation {rates} averages too many entries; dilate less.")
    else:
        smoothing = jnp.full(rates, 1 / math.prod(rates), kernel.dtype)
    return depthwise_conv(
        shared_conv(x, smoothing),
        kernel,
        kernel_dilation=rates,
        padding=padding,
        **options,
    )

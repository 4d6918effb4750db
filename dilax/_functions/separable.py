"""Depthwise, pointwise and separable convolution."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from dilax import algorithms
from dilax._functions.arguments import Options, as_arrays, canonical_options, geometry_of
from dilax._functions.convolution import add_bias, conv_canonical
from dilax._functions.sharding import call_sharded, specs_of
from dilax._functions.symbolic import has_known_size
from dilax.algorithms import Algorithm
from dilax.algorithms._algorithm import accumulation_type
from dilax.geometry import PaddingLike


def depthwise_conv(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    strides: int | Sequence[int] = 1,
    padding: PaddingLike = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    bias: ArrayLike | None = None,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Convolve each feature with kernels of its own.

    With ``m`` kernels for each of ``C`` features (the channel multiplier)::

        y[..., i, c m + j] = bias[c m + j] + sum_k x[..., s i + d k - low, c] kernel[k, 0, c m + j]

    Args:
        x: ``(batch..., *window, C)``.
        kernel: ``(*window, 1, C m)``, with one to three window axes.
        strides: Entries between neighbouring outputs, one integer or one for each window axis.
        padding: As in ``conv``.
        kernel_dilation: Entries between neighbouring kernel taps.
        bias: ``(C m,)``.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: Type of the result; the inputs' type when left out.
        algorithm: How to compute this convolution and all its derivatives.

    Returns:
        ``(batch..., *window_out, C m)``.

    Raises:
        ValueError: The second-last axis of the kernel is not of size 1, or shapes do not fit.

    Source: Chollet, "Xception: deep learning with depthwise separable convolutions" (2017).

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((8, 28, 28, 16)), jnp.ones((3, 3, 1, 32))
    >>> depthwise_conv(x, kernel, kernel_dilation=(1, 2), padding="CAUSAL").shape
    (8, 28, 28, 32)
    """
    x, kernel = as_arrays(x, kernel)
    options = canonical_options(x.dtype, precision, preferred_element_type, algorithm)
    window: Any = {"strides": strides, "padding": padding, "kernel_dilation": kernel_dilation}
    y = _depthwise(x, kernel, options, **window)
    return y if bias is None else add_bias(y, bias)


def _depthwise(
    x: jax.Array, kernel: jax.Array, options: Options, *, name: str = "kernel", **window: Any
) -> jax.Array:
    if kernel.ndim < 3 or kernel.shape[-2] != 1:
        raise ValueError(
            f"{name} of a depthwise convolution must have shape (*window, 1, features * "
            f"multiplier), got {kernel.shape}; for a dense or grouped kernel call dilax.conv."
        )
    if x.ndim == 0 or not x.shape[-1] or kernel.shape[-1] % x.shape[-1]:
        raise ValueError(
            f"{name} has {kernel.shape[-1]} out-features, which must be a multiple of x's "
            f"features, got x of shape {x.shape}; are its features the last axis?"
        )
    x, geometry = geometry_of(x, kernel, feature_group_count=x.shape[-1], **window)
    return conv_canonical(x, kernel, geometry, options)


def pointwise_conv(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """Mix the features at each position: a convolution with a kernel of size one.

    ``y[..., o] = bias[o] + sum_c x[..., c] kernel[..., c, o]``

    Args:
        x: ``(..., C)``.
        kernel: ``(C, O)``, or ``(1, ..., 1, C, O)`` as in a convolution of size one.
        bias: ``(O,)``.
        precision: As in ``jax.lax.dot_general``.
        preferred_element_type: Type of the result; the inputs' type when left out.

    Returns:
        ``(..., O)``.

    Raises:
        ValueError: The kernel's window is not of size one, or features do not fit.

    >>> import jax.numpy as jnp
    >>> pointwise_conv(jnp.ones((8, 28, 28, 16)), jnp.ones((16, 24))).shape
    (8, 28, 28, 24)
    """
    x, kernel = as_arrays(x, kernel)
    options = canonical_options(x.dtype, precision, preferred_element_type)
    y = _pointwise(x, kernel, options)
    return y if bias is None else add_bias(y, bias)


def _pointwise(
    x: jax.Array, kernel: jax.Array, options: Options, name: str = "kernel"
) -> jax.Array:
    if kernel.ndim < 2 or set(kernel.shape[:-2]) - {1}:
        raise ValueError(
            f"{name} of a pointwise convolution must have shape (C, O) or (1, ..., 1, C, O), got "
            f"{kernel.shape}; for a larger window call dilax.conv."
        )
    if x.ndim < 1 or x.shape[-1] != kernel.shape[-2]:
        raise ValueError(
            f"{name} has {kernel.shape[-2]} in-features, x has shape {x.shape}; required: "
            f"x.shape[-1] == kernel.shape[-2]. Are x's features its last axis?"
        )
    kernel = kernel.reshape(kernel.shape[-2:])
    if not isinstance(kernel, jax.Array):  # what a quantiser has put in its place
        return _dot(x, kernel, options)
    x_spec, kernel_spec = specs_of(x, kernel)
    shape, spec = (*x.shape[:-1], kernel.shape[-1]), (*x_spec[:-1], kernel_spec[-1])
    run = functools.partial(_mix, options=options)
    return call_sharded(run, x, kernel, shape=shape, spec=spec)


def _mix(x: jax.Array, kernel: jax.Array, options: Options) -> jax.Array:
    """Multiply matrices, which is fast; where lax computes, as it is, so that tools see images.

    JAX refuses to reshape to sizes that may be negative.
    """
    if options.algorithm is algorithms.lax or not has_known_size(x.shape):
        return _dot(x, kernel, options)
    y = _dot(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), kernel, options)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def _dot(x: jax.Array, kernel: jax.Array, options: Options) -> jax.Array:
    return lax.dot_general(
        x,
        kernel,
        (((x.ndim - 1,), (0,)), ((), ())),
        precision=options.precision,
        preferred_element_type=accumulation_type(x, kernel),
    ).astype(options.dtype)


def separable_conv(
    x: ArrayLike,
    depthwise_kernel: ArrayLike,
    pointwise_kernel: ArrayLike,
    *,
    strides: int | Sequence[int] = 1,
    padding: PaddingLike = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    bias: ArrayLike | None = None,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Convolve by a depthwise separable kernel: ``depthwise_conv``, then ``pointwise_conv``.

    For ``k`` taps, ``C`` in-features and ``O`` out-features, it has ``k C + C O`` weights. A dense
    kernel has ``k C O``, so the ratio is ``1 / O + 1 / k``.

    Args:
        x: ``(batch..., *window, C)``.
        depthwise_kernel: ``(*window, 1, C m)``.
        pointwise_kernel: ``(C m, O)`` or ``(1, ..., 1, C m, O)``.
        strides: Strides of the depthwise convolution, as in ``conv``.
        padding: Padding of the depthwise convolution, as in ``conv``.
        kernel_dilation: Dilation of the depthwise convolution, as in ``conv``.
        bias: ``(O,)``.
        precision: Precision of both convolutions, as in ``jax.lax.conv_general_dilated``.
        preferred_element_type: Type of the result; the inputs' type when left out.
        algorithm: Algorithm of the depthwise convolution, as in ``conv``.

    Returns:
        ``(batch..., *window_out, O)``.

    Raises:
        ValueError: Shapes do not fit.

    >>> import jax.numpy as jnp
    >>> x = jnp.ones((8, 28, 28, 16))
    >>> separable_conv(x, jnp.ones((3, 3, 1, 16)), jnp.ones((16, 24)), kernel_dilation=3).shape
    (8, 28, 28, 24)
    """
    x, depthwise_kernel = as_arrays(x, depthwise_kernel, "depthwise_kernel")
    options = canonical_options(x.dtype, precision, None, algorithm)
    window: Any = {"strides": strides, "padding": padding, "kernel_dilation": kernel_dilation}
    filtered = _depthwise(x, depthwise_kernel, options, name="depthwise_kernel", **window)
    filtered, pointwise_kernel = as_arrays(filtered, pointwise_kernel, "pointwise_kernel")
    options = canonical_options(filtered.dtype, precision, preferred_element_type, algorithm)
    y = _pointwise(filtered, pointwise_kernel, options, "pointwise_kernel")
    return y if bias is None else add_bias(y, bias)

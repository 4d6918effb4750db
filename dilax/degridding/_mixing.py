"""Smoothing before a dilated convolution, and mixing of its phases after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dilax._arrays import as_array, holds
from dilax._checks import entries
from dilax._functions import depthwise_conv
from dilax._functions.arguments import MOST_PADDED, canonical_options
from dilax.algorithms import Algorithm
from dilax.geometry import PaddingLike, canonical_tuple


def shared_conv(x: ArrayLike, kernel: ArrayLike, **options: Any) -> jax.Array:
    """Convolve every feature with one shared kernel ("separable and shared" convolution).

    ``y[n, i, c] = sum_k x[n, s i + d k - low, c] w[k]``

    Args:
        x: ``(batch..., *window, C)``.
        kernel: ``(*window)``, one number for each tap.
        **options: As in ``dilax.depthwise_conv``: strides, padding, kernel_dilation, precision,
            algorithm and so on.

    Returns:
        ``(batch..., *window_out, C)``.

    Raises:
        ValueError: Shapes do not fit, as in ``dilax.depthwise_conv``.

    Source: Wang and Ji, "Smoothed dilated convolutions for improved dense prediction" (2018).

    >>> import jax.numpy as jnp
    >>> shared_conv(jnp.ones((2, 9, 9, 4)), jnp.ones((3, 3)), kernel_dilation=2).shape
    (2, 9, 9, 4)
    """
    x, kernel = as_array(x, "x"), as_array(kernel, "kernel")
    features = x.shape[-1] if x.ndim else 0
    repeated = jnp.broadcast_to(kernel[..., None, None], (*kernel.shape, 1, features))
    return depthwise_conv(x, repeated, **options)


def smoothed_depthwise_conv(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    kernel_dilation: int | Sequence[int],
    smoothing: ArrayLike | None = None,
    padding: PaddingLike = "SAME",
    precision: jax.lax.PrecisionLike = None,
    algorithm: Algorithm | None = None,
    **options: Any,
) -> jax.Array:
    """Smooth the input, then convolve it depthwise: ``depthwise_conv(shared_conv(x))``.

    With a smoothing kernel of ``2 d - 1`` entries along each axis, every tap sees all inputs
    between it and its neighbouring taps.

    Args:
        x: ``(batch..., *window, C)``.
        kernel: ``(*window, 1, C m)``.
        kernel_dilation: Entries between neighbouring taps of ``kernel``.
        smoothing: Smoothing kernel ``(*window)``, which all features share; when left out, an
            average of ``d`` entries along each axis, where ``d`` is the dilation.
        padding: Padding of the dilated convolution; the smoothing pads with zeros and keeps the
            size.
        precision: Precision of both convolutions, as in ``dilax.depthwise_conv``.
        algorithm: Algorithm of both convolutions, as in ``dilax.depthwise_conv``.
        **options: Other options of the dilated convolution, as in ``dilax.depthwise_conv``.

    Returns:
        ``(batch..., *window_out, C m)``.

    Raises:
        ValueError: Shapes do not fit.

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
    kernel_dilation = canonical_tuple(kernel_dilation, kernel.ndim - 2, "kernel_dilation")
    if smoothing is None:
        smoothing = _average(kernel_dilation, kernel.dtype)
    smoothing = as_array(smoothing, "smoothing")
    if smoothing.ndim != kernel.ndim - 2:
        raise ValueError(
            f"smoothing must have an axis for each of the kernel's {kernel.ndim - 2} window axes, "
            f"got shape {smoothing.shape}."
        )
    return depthwise_conv(
        shared_conv(x, smoothing, precision=precision, algorithm=algorithm),
        kernel,
        kernel_dilation=kernel_dilation,
        padding=padding,
        precision=precision,
        algorithm=algorithm,
        **options,
    )


def group_interaction(
    x: ArrayLike,
    mixing: ArrayLike,
    *,
    kernel_dilation: Sequence[int],
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """Mix the ``prod(d)`` phases of an array, which a convolution of dilation ``d`` keeps apart.

    ``y[n, d i + p, c] = sum_q M[p, q] x[n, d i + q, c]``, with phases ``p`` and ``q`` in row-major
    order. Entries beyond the array's end count as zeros.

    Args:
        x: ``(batch..., *window, C)``, the result of a dilated convolution.
        mixing: ``(P, P)`` with ``P = prod(kernel_dilation)``; the identity leaves ``x`` as it is.
        kernel_dilation: Dilation of the convolution along each window axis; its length is the
            number of window axes.
        precision: Precision of the product with ``mixing``, as in ``jax.lax.dot_general``.

    Returns:
        An array of the shape and type of ``x``.

    Raises:
        ValueError: Shapes do not fit, or ``precision`` is unknown.
        TypeError: The type of ``x`` cannot hold the products.

    Source: Wang and Ji, "Smoothed dilated convolutions for improved dense prediction" (2018).

    >>> import jax.numpy as jnp
    >>> swap = jnp.asarray([[0.0, 1.0], [1.0, 0.0]])
    >>> group_interaction(jnp.arange(4.0)[:, None], swap, kernel_dilation=(2,))[:, 0]
    Array([1., 0., 3., 2.], dtype=float32)
    """
    x, mixing = as_array(x, "x"), as_array(mixing, "mixing")
    canonical_options(x.dtype, precision, None)
    if x.dtype == jnp.bool_ or not holds(x.dtype, mixing.dtype):
        raise TypeError(
            f"x must be of a type that holds its products with mixing of {mixing.dtype}, got "
            f"{x.dtype}; convert one: x.astype({mixing.dtype})."
        )
    kernel_dilation = entries(kernel_dilation, "kernel_dilation", "integers")
    dilation = canonical_tuple(kernel_dilation, len(kernel_dilation), "kernel_dilation")
    rank, phases = len(dilation), math.prod(dilation)
    if mixing.shape != (phases, phases):
        raise ValueError(
            f"mixing must have shape ({phases}, {phases}), a row and a column for each of the "
            f"prod(kernel_dilation={dilation}) phases, got {mixing.shape}."
        )
    if not rank or x.ndim < rank + 1:
        raise ValueError(
            f"x must have shape (batch..., *window, features) with {rank} window axes, as many as "
            f"kernel_dilation has entries and at least one, got {x.shape}."
        )
    return _mix_phases(x, mixing, dilation, precision).astype(x.dtype)


def _average(kernel_dilation: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """A smoothing kernel of ``d`` equal entries along each axis."""
    entries = math.prod(kernel_dilation)
    if entries > MOST_PADDED:
        raise ValueError(
            f"kernel_dilation must average at most {MOST_PADDED} entries, got {kernel_dilation}; "
            f"dilate less, or pass smoothing."
        )
    return jnp.full(kernel_dilation, 1 / entries, dtype)


def _mix_phases(
    x: jax.Array, mixing: jax.Array, dilation: tuple[int, ...], precision: jax.lax.PrecisionLike
) -> jax.Array:
    """Pad each window axis to whole blocks of ``d`` entries, mix within blocks, crop again."""
    rank = len(dilation)
    batch, window = x.shape[: -rank - 1], x.shape[-rank - 1 : -1]
    blocks = [-(-size // d) for size, d in zip(window, dilation, strict=True)]
    ends = [(0, n * d - size) for n, d, size in zip(blocks, dilation, window, strict=True)]
    padded = jnp.pad(x, [*((0, 0) for _ in batch), *ends, (0, 0)])
    halves = [size for pair in zip(blocks, dilation, strict=True) for size in pair]
    split = padded.reshape(math.prod(batch), *halves, x.shape[-1])
    block_axes, phase_axes = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    order = (0, *block_axes, *phase_axes, 2 * rank + 1)
    ordered = split.transpose(order)
    rows = ordered.reshape(math.prod(batch) * math.prod(blocks), math.prod(dilation), x.shape[-1])
    mixed = jnp.einsum("pq,bqc->bpc", mixing, rows, precision=precision).reshape(ordered.shape)
    back = [order.index(axis) for axis in range(len(order))]
    joined = mixed.transpose(back).reshape(padded.shape)
    return joined[(..., *(slice(size) for size in window), slice(None))]

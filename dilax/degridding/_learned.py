"""Dilation that is learned: taps at real positions, interpolated into a kernel."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dilax._arrays import as_array
from dilax._checks import entries
from dilax.geometry import canonical_tuple

LEAST_SIGMA = 0.27
"""A Gaussian tap is at least so wide, in entries, that it never falls between two of them."""


def learned_kernel(
    weights: ArrayLike,
    positions: ArrayLike,
    kernel_size: Sequence[int],
    *,
    sigma: ArrayLike | None = None,
) -> jax.Array:
    """A kernel of few taps at positions that may lie between its entries, and have gradients.

    ``K[k, i, o] = sum_n a_n[k, o] w[n, i, o]``, where the shares ``a_n`` of a tap sum to one over
    the kernel's entries ``k`` and fall off with the distance ``r = k - c - p`` from its position,
    axis by axis: linearly within one entry, ``max(0, 1 - |r|)``, or as a Gaussian, ``exp(-(r /
    s)^2 / 2)`` with ``s = |sigma| + 0.27``. ``c`` is the centre, ``kernel_size // 2``.

    Args:
      weights: ``(taps, I, O)``.
      positions: ``(taps, rank, O)``, from the centre, in entries; those beyond the kernel count as
        at its edge.
      kernel_size: entries along each of the ``rank`` window axes.
      sigma: ``(taps, rank, O)`` for Gaussian taps.

    Returns:
      ``(*kernel_size, I, O)``, to convolve with.

    Raises:
      ValueError: if shapes do not fit.

    Source: Hassani et al., "Dilated convolution with learnable spacings" (2021) and its Gaussian
    form (2023).

    >>> import jax.numpy as jnp
    >>> weights, positions = jnp.ones((1, 1, 1)), jnp.full((1, 1, 1), 1.25)
    >>> learned_kernel(weights, positions, (5,))[:, 0, 0].round(2)
    Array([0.  , 0.  , 0.  , 0.75, 0.25], dtype=float32)
    """
    weights, positions = as_array(weights, "weights"), _coordinates(positions, "positions")
    sigma = None if sigma is None else _coordinates(sigma, "sigma")
    kernel_size = entries(kernel_size, "kernel_size", "integers")
    kernel_size = canonical_tuple(kernel_size, len(kernel_size), "kernel_size")
    taps, _, features = weights.shape if weights.ndim == 3 else (None, None, None)
    rank = len(kernel_size)
    if not rank:
        raise ValueError("kernel_size must name at least one window axis, got ().")
    for name, array in (("positions", positions), ("sigma", sigma)):
        if array is not None and array.shape != (taps, rank, features):
            raise ValueError(
                f"{name} has shape {array.shape}, weights {weights.shape}; required: "
                f"weights (taps, in, out) and {name} (taps, {rank}, out), a coordinate for each "
                f"axis of kernel_size={kernel_size}."
            )
    widths = None if sigma is None else jnp.abs(sigma) + LEAST_SIGMA
    axes = [
        _shares(size, positions[:, axis], None if widths is None else widths[:, axis])
        for axis, size in enumerate(kernel_size)
    ]
    shares = functools.reduce(_outer, axes)
    return jnp.einsum("...no,nio->...io", shares, weights)


def _coordinates(value: ArrayLike, name: str) -> jax.Array:
    array = as_array(value, name)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be of floating point, got {array.dtype}.")
    return array


def _shares(size: int, positions: jax.Array, widths: jax.Array | None) -> jax.Array:
    """``(size, taps, O)``: how much of each tap each entry of an axis gets, one in all."""
    centre = size // 2
    entries = jnp.arange(size, dtype=positions.dtype)[:, None, None] - centre
    distance = entries - jnp.clip(positions, -centre, size - 1 - centre)[None]
    if widths is None:
        shares = jnp.maximum(1 - jnp.abs(distance), 0)
    else:
        shares = jnp.exp(-((distance / widths[None]) ** 2) / 2)
    return shares / shares.sum(axis=0, keepdims=True)


def _outer(shares: jax.Array, axis: jax.Array) -> jax.Array:
    """``(*window, taps, O)`` and ``(size, taps, O)`` as ``(*window, size, taps, O)``."""
    return shares[..., None, :, :] * axis[(None,) * (shares.ndim - 2)]

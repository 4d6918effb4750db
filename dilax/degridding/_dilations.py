"""Dilations that fall at the end of a stack, that are random, or that each tap learns."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from dilax._arrays import as_array
from dilax._checks import LONGEST, entries, integer, shown
from dilax._functions import depthwise_conv
from dilax._functions.arguments import canonical_options
from dilax.geometry import canonical_tuple

LEAST_SIGMA = 0.27
"""Least width of a Gaussian tap, in entries; a narrower one could vanish between two entries."""


def degridding_dilation(kernel_dilation: int) -> tuple[int, ...]:
    """Compute the dilations of layers that follow a dilated layer and remove its grid.

    Each is half of the one before, ``d_{l + 1} = floor(d_l / 2)``, down to one. The layers must not
    be residual, for a residual connection would carry the grid past them.

    Args:
        kernel_dilation: Dilation of the layer that leaves the grid.

    Returns:
        The kernel dilation of each layer to add; none after a dilation of one.

    Raises:
        ValueError: The dilation is not positive, or too large for 32 bits.
        TypeError: The dilation is no integer.

    Source: Yu, Koltun and Funkhouser, "Dilated residual networks" (2017).

    >>> degridding_dilation(4), degridding_dilation(6)
    ((2, 1), (3, 1))
    """
    kernel_dilation = integer(kernel_dilation, "kernel_dilation", minimum=1, maximum=LONGEST)
    if kernel_dilation == 1:
        return ()
    half = kernel_dilation // 2
    return (half, *degridding_dilation(half))


def random_depthwise_conv(
    key: jax.Array,
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    kernel_dilation_choices: Sequence[int | Sequence[int]],
    **options: Any,
) -> jax.Array:
    """Convolve depthwise with a random dilation; all choices are equally likely.

    Every choice is compiled, and one of them is run. All choices must give results of one shape, as
    they do with the default padding ``"SAME"``.

    Args:
        key: PRNG key; give each layer its own, so that dilations are drawn independently.
        x: ``(batch..., *window, C)``.
        kernel: ``(*window, 1, C m)``.
        kernel_dilation_choices: Values of ``kernel_dilation`` to draw from.
        **options: As in ``dilax.depthwise_conv``: strides, padding, precision, algorithm and so on.

    Returns:
        ``(batch..., *window_out, C m)``.

    Raises:
        ValueError: There are no choices, or shapes do not fit.

    >>> import jax, jax.numpy as jnp
    >>> x, kernel = jnp.ones((2, 9, 9, 4)), jnp.ones((3, 3, 1, 4))
    >>> random_depthwise_conv(jax.random.key(0), x, kernel, kernel_dilation_choices=(1, 2)).shape
    (2, 9, 9, 4)
    """
    choices = entries(
        kernel_dilation_choices, "kernel_dilation_choices", "values of kernel_dilation"
    )
    if not choices:
        raise ValueError("kernel_dilation_choices must have at least one entry, got ().")
    x, kernel = as_array(x, "x"), as_array(kernel, "kernel")
    branches = [
        functools.partial(depthwise_conv, kernel_dilation=choice, **options) for choice in choices
    ]
    shapes = {jax.eval_shape(branch, x, kernel).shape for branch in branches}
    if len(shapes) > 1:
        raise ValueError(
            f"kernel_dilation_choices must give results of one shape, got {shapes} for "
            f"{shown(choices)} under padding {shown(options.get('padding'))}; use padding='SAME'."
        )
    return lax.switch(jax.random.randint(key, (), 0, len(choices)), branches, x, kernel)


def learned_kernel(
    weights: ArrayLike,
    positions: ArrayLike,
    kernel_size: Sequence[int],
    *,
    sigma: ArrayLike | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """Make a kernel from a few taps at real-valued positions, which have gradients.

    ``K[k, i, o] = sum_n a_n[k, o] w[n, i, o]``, where the shares ``a_n`` of a tap sum to one over
    the kernel's entries ``k`` and fall off with the distance ``r = k - c - p`` from its position,
    axis by axis: linearly within one entry, ``max(0, 1 - |r|)``, or as a Gaussian, ``exp(-(r /
    s)^2 / 2)`` with ``s = |sigma| + 0.27``. ``c`` is the centre, ``kernel_size // 2``.

    Args:
        weights: Weights of the taps, ``(taps, I, O)``.
        positions: Positions of the taps relative to the centre, in entries, ``(taps, rank, O)``;
            positions beyond the edge are moved to it.
        kernel_size: Entries along each of the ``rank`` window axes.
        sigma: Widths ``(taps, rank, O)`` of Gaussian taps; taps are linear when left out.
        precision: Precision of the sum over taps, as in ``jax.lax.dot_general``.

    Returns:
        The kernel ``(*kernel_size, I, O)``.

    Raises:
        ValueError: Shapes do not fit, or ``precision`` is unknown.
        TypeError: ``positions`` or ``sigma`` are not of floating point.

    Source: Hassani et al., "Dilated convolution with learnable spacings" (2021) and its Gaussian
    form (2023).

    >>> import jax.numpy as jnp
    >>> weights, positions = jnp.ones((1, 1, 1)), jnp.full((1, 1, 1), 1.25)
    >>> learned_kernel(weights, positions, (5,))[:, 0, 0].round(2)
    Array([0.  , 0.  , 0.  , 0.75, 0.25], dtype=float32)
    """
    weights, positions = as_array(weights, "weights"), _coordinates(positions, "positions")
    sigma = None if sigma is None else _coordinates(sigma, "sigma")
    canonical_options(weights.dtype, precision, None)
    kernel_size = entries(kernel_size, "kernel_size", "integers")
    kernel_size = canonical_tuple(kernel_size, len(kernel_size), "kernel_size")
    rank = len(kernel_size)
    if not rank:
        raise ValueError("kernel_size must have an entry for at least one window axis, got ().")
    taps, _, outputs = weights.shape if weights.ndim == 3 else (None, None, None)
    for name, array in (("positions", positions), ("sigma", sigma)):
        if array is not None and array.shape != (taps, rank, outputs):
            raise ValueError(
                f"{name} must have shape (taps, {rank}, out) for weights (taps, in, out), a "
                f"coordinate for each axis of kernel_size={kernel_size}, got {array.shape} for "
                f"weights {weights.shape}."
            )
    widths = None if sigma is None else jnp.abs(sigma) + LEAST_SIGMA
    axes = [
        _shares(size, positions[:, axis], None if widths is None else widths[:, axis])
        for axis, size in enumerate(kernel_size)
    ]
    shares = functools.reduce(_outer, axes)
    return jnp.einsum("...no,nio->...io", shares, weights, precision=precision)


def _coordinates(value: ArrayLike, name: str) -> jax.Array:
    array = as_array(value, name)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be of floating point, got {array.dtype}.")
    return array


def _shares(size: int, positions: jax.Array, widths: jax.Array | None) -> jax.Array:
    """``(size, taps, O)``: the share of each tap that each entry of an axis gets, one in all."""
    centre = size // 2
    places = jnp.arange(size, dtype=positions.dtype)[:, None, None] - centre
    distance = places - jnp.clip(positions, -centre, size - 1 - centre)[None]
    if widths is None:
        shares = jnp.maximum(1 - jnp.abs(distance), 0)
    else:
        shares = jnp.exp(-((distance / widths[None]) ** 2) / 2)
    return shares / shares.sum(axis=0, keepdims=True)


def _outer(shares: jax.Array, axis: jax.Array) -> jax.Array:
    """``(*window, taps, O)`` and ``(size, taps, O)`` as ``(*window, size, taps, O)``."""
    return shares[..., None, :, :] * axis[(None,) * (shares.ndim - 2)]

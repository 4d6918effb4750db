"""Mixing after a dilated convolution: the phases that it computes apart, joined."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dilax._arrays import as_array, holds
from dilax._checks import entries
from dilax.geometry import canonical_tuple


def group_interaction(
    x: ArrayLike, mixing: ArrayLike, *, kernel_dilation: Sequence[int]
) -> jax.Array:
    """Mix the ``prod(d)`` phases of an array, which a convolution of dilation ``d`` keeps apart.

    ``y[n, d i + p, c] = sum_q M[p, q] x[n, d i + q, c]``, phases ``p`` and ``q`` in row-major
    order. Entries beyond the array's end count as zeros.

    Args:
      x: ``(batch..., *window, C)``: what a dilated convolution gave.
      mixing: ``(P, P)``, ``P = prod(kernel_dilation)``; the identity leaves ``x`` as it is.
      kernel_dilation: rate along each window axis; their number tells how many axes there are.

    Returns:
      As ``x``.

    Raises:
      ValueError: if shapes do not fit.

    Source: Wang and Ji, "Smoothed dilated convolutions for improved dense prediction" (2018).

    >>> import jax.numpy as jnp
    >>> swap = jnp.asarray([[0.0, 1.0], [1.0, 0.0]])
    >>> group_interaction(jnp.arange(4.0)[:, None], swap, kernel_dilation=(2,))[:, 0]
    Array([1., 0., 3., 2.], dtype=float32)
    """
    x, mixing = as_array(x, "x"), as_array(mixing, "mixing")
    if x.dtype == jnp.bool_ or not holds(x.dtype, mixing.dtype):
        raise TypeError(f"x of {x.dtype} cannot hold what mixing of {mixing.dtype} makes of it.")
    kernel_dilation = entries(kernel_dilation, "kernel_dilation", "integers")
    rates = canonical_tuple(kernel_dilation, len(kernel_dilation), "kernel_dilation")
    rank, phases = len(rates), math.prod(rates)
    if mixing.shape != (phases, phases):
        raise ValueError(
            f"mixing has shape {mixing.shape}; required: ({phases}, {phases}), a row and a column "
            f"for each of the prod(kernel_dilation={rates}) phases."
        )
    if not rank or x.ndim < rank + 1:
        raise ValueError(
            f"x has shape {x.shape}; required: (batch..., *window, features) with {rank} window "
            f"axes, as many as kernel_dilation has rates."
        )
    window = x.shape[-rank - 1 : -1]
    blocks = [-(-size // rate) for size, rate in zip(window, rates, strict=True)]
    ends = [(0, n * rate - size) for n, rate, size in zip(blocks, rates, window, strict=True)]
    batch = x.shape[: -rank - 1]
    whole = jnp.pad(x, [*((0, 0) for _ in batch), *ends, (0, 0)])
    cut = whole.reshape(
        math.prod(batch), *(n for p in zip(blocks, rates, strict=True) for n in p), x.shape[-1]
    )
    block_axes, phase_axes = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    order = (0, *block_axes, *phase_axes, 2 * rank + 1)
    apart = cut.transpose(order)
    rows = apart.reshape(math.prod(batch) * math.prod(blocks), phases, x.shape[-1])
    mixed = jnp.einsum("pq,bqc->bpc", mixing, rows).reshape(apart.shape)
    back = [order.index(axis) for axis in range(len(order))]
    joined = mixed.transpose(back).reshape(whole.shape)
    return joined[(..., *(slice(size) for size in window), slice(None))].astype(x.dtype)

"""From lax's orders of dimensions to dilax's, and back."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def channels_last(spec: Sequence[int]) -> tuple[int, ...]:
    """Axes in the order batch, window, features, from lax's batch, features, window."""
    batch, features, *window = spec
    return (batch, *window, features)


def kernel_last(spec: Sequence[int]) -> tuple[int, ...]:
    """Axes in the order window, in-features, out-features, from lax's out, in, window."""
    out_features, in_features, *window = spec
    return (*window, in_features, out_features)


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes another."""
    return tuple(sorted(range(len(axes)), key=lambda place: axes[place]))


def permute(array: jax.Array, axes: Sequence[int]) -> jax.Array:
    """The array with its axes in this order; itself where that is its order."""
    return array if tuple(axes) == tuple(range(array.ndim)) else jnp.transpose(array, axes)

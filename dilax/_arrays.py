"""Arrays and their types as callers pass them: refused with an error that names the argument."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dilax._checks import shown


def as_array(value: Any, name: str) -> jax.Array:
    """``value`` as an array of numbers or booleans.

    Raises:
        TypeError: if it is none.
    """
    array = value if isinstance(value, jax.Array) else _converted(value, name)
    if not (jnp.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise TypeError(
            f"{name} must be an array of numbers, got {array.dtype} of shape {array.shape}."
        )
    return array


def as_dtype(value: Any, name: str) -> np.dtype:
    """``value`` as a type of numbers.

    Raises:
        TypeError: if it is none.
    """
    try:
        dtype = jnp.dtype(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a type of numbers, got {shown(value)}.") from None
    if value is None or not jnp.issubdtype(dtype, np.number):
        raise TypeError(f"{name} must be a type of numbers, got {shown(value)}.")
    return dtype


def holds(dtype: np.dtype, other: np.dtype) -> bool:
    """Whether numbers of ``other`` are of a kind that ``dtype`` holds: no fractions in integers."""
    kinds = (np.inexact, np.complexfloating)
    return all(jnp.issubdtype(dtype, k) or not jnp.issubdtype(other, k) for k in kinds)


def _converted(value: Any, name: str) -> jax.Array:
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return jnp.asarray(value)
    except Exception as error:  # whatever a strange object does when it is asked
        raise TypeError(f"{name} must be an array of numbers, got {shown(value)}.") from error

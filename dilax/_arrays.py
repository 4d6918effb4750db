"""Checks of arrays and their types; each error names the argument."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from dilax._checks import shown

_KINDS = frozenset("biufc")
"""Kinds of NumPy's own types of numbers, and of booleans."""


def as_array(value: Any, name: str) -> jax.Array:
    """Give ``value`` as an array of numbers or booleans.

    Raises:
        TypeError: ``value`` cannot be such an array.
    """
    array = value if isinstance(value, jax.Array) else _converted(value, name)
    if getattr(array.dtype, "kind", None) in _KINDS:
        return array
    if not jnp.issubdtype(array.dtype, np.number):
        raise TypeError(
            f"{name} must be an array of numbers, got {array.dtype} of shape {array.shape}."
        )
    return array


def as_dtype(value: Any, name: str) -> np.dtype:
    """Give ``value`` as a type of numbers.

    Raises:
        TypeError: ``value`` names no such type.
    """
    try:
        dtype = jnp.dtype(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a type of numbers, got {shown(value)}.") from None
    if value is None or not jnp.issubdtype(dtype, np.number):
        raise TypeError(f"{name} must be a type of numbers, got {shown(value)}.")
    return dtype


def as_type(array: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Convert an array to a type; one that has it already is returned as it is.

    So is what a tool has put in the place of an array, which may not know how to be converted.
    """
    return array if array.dtype == dtype else array.astype(dtype)


def common_type(*types: Any) -> np.dtype:
    """Return the type that holds numbers of all ``types``, also where JAX forbids promotion."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*types)


def holds(dtype: np.dtype, other: np.dtype) -> bool:
    """Say whether ``dtype`` can hold numbers of ``other``'s kind: integers hold no fractions."""
    kinds = (np.inexact, np.complexfloating)
    return all(jnp.issubdtype(dtype, k) or not jnp.issubdtype(other, k) for k in kinds)


def _converted(value: Any, name: str) -> jax.Array:
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return jnp.asarray(value)
    except Exception as error:  # whatever a strange object does when it is asked
        raise TypeError(f"{name} must be an array of numbers, got {shown(value)}.") from error

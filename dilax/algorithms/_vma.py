"""Varying manual axes: over which mesh axes of ``shard_map`` an array differs between devices.

An operation on a replicated array and a sharded one first marks the replicated one as varying; the
transpose of that mark sums its gradient over the devices. JAX does this for its own operations, but
not for new primitives.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import lax


def match_vma(lhs: jax.Array, rhs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mark both arrays as varying over every axis that either varies over."""
    of_lhs, of_rhs = varying_axes(lhs), varying_axes(rhs)
    if of_lhs == of_rhs:
        return lhs, rhs
    return vary(lhs, of_lhs | of_rhs), vary(rhs, of_lhs | of_rhs)


def varying_axes(array: jax.Array) -> frozenset[Any]:
    """Return the mesh axes that an array varies over; none outside ``shard_map``."""
    aval = jax.typeof(array)
    manual = getattr(aval, "manual_axis_type", None)  # newer JAX; before it, ``vma``
    return manual.varying if manual is not None else aval.vma


def vary(array: jax.Array, axes: frozenset[Any]) -> jax.Array:
    """Mark an array as varying over ``axes``, in addition to its own."""
    missing = tuple(axes - varying_axes(array))
    if not missing:
        return array
    if hasattr(lax, "pcast"):
        return lax.pcast(array, missing, to="varying")
    return lax.pvary(array, missing)  # type: ignore[attr-defined]

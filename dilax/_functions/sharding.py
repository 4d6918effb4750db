"""Calls under explicit sharding: the result has a sharding, and inside, the compiler decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import PartitionSpec, auto_axes


def specs_of(*arrays: jax.Array) -> list[tuple[Any, ...]]:
    """Return for each array the mesh axes that each of its axes is explicitly sharded over."""
    return [tuple(jax.typeof(array).sharding.spec) for array in arrays]


def call_sharded(
    run: Callable[..., jax.Array],
    *arrays: jax.Array,
    shape: Sequence[Any],
    spec: Sequence[Any],
) -> jax.Array:
    """Return ``run(*arrays)``, of ``shape``, sharded by ``spec`` where the mesh divides an axis.

    Without explicit sharding, this is just the call.
    """
    if not any(entry for each in specs_of(*arrays) for entry in each):
        return run(*arrays)
    mesh = jax.typeof(arrays[0]).sharding.mesh
    divided = [
        entry if _divides(mesh, entry, size) else None
        for entry, size in zip(spec, shape, strict=True)
    ]
    return auto_axes(run, out_sharding=PartitionSpec(*divided))(*arrays)


def _divides(mesh: Any, entry: Any, size: Any) -> bool:
    names = entry if isinstance(entry, tuple) else (entry,)
    return size % math.prod(mesh.shape[name] for name in names if name is not None) == 0

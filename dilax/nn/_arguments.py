"""What the modules' constructors are given, checked before parameters are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from dilax._arrays import as_dtype
from dilax._checks import LONGEST, check_callable, check_instance, entries, integer
from dilax.geometry import canonical_tuple
from dilax.nn._flax import nnx

Initializer = jax.nn.initializers.Initializer

KERNEL_INIT = jax.nn.initializers.lecun_normal()


def window_size(kernel_size: Sequence[int], name: str = "kernel_size") -> tuple[int, ...]:
    """The entries of a kernel along each of one to three window axes."""
    given = entries(kernel_size, name, "integers")
    if not 1 <= len(given) <= 3:
        raise ValueError(f"{name} must name 1 to 3 window axes, got {given}.")
    return canonical_tuple(given, len(given), name)


def check_sizes(**sizes: int) -> None:
    """Refuse what is no number of features, taps or classes."""
    for name, size in sizes.items():
        integer(size, name, minimum=1, maximum=LONGEST)


def check_dtype(dtype: DTypeLike | None, name: str = "dtype") -> None:
    """Refuse what is no type of numbers, where one is given."""
    if dtype is not None:
        as_dtype(dtype, name)


def check_input(x: jax.Array, features: int) -> None:
    """Refuse an input of other features than the module was made for.

    (As many as divide them would pass for a channel multiplier.)
    """
    if x.ndim < 1 or x.shape[-1] != features:
        raise ValueError(
            f"x must have {features} features along its last axis, as the module was made for "
            f"(in_features), got shape {x.shape}."
        )


def parameter(
    initializer: Any,
    rngs: nnx.Rngs,
    shape: tuple[int, ...],
    param_dtype: DTypeLike = jnp.float32,
    *,
    name: str = "kernel_init",
) -> nnx.Param:
    """A parameter, drawn."""
    check_callable(initializer, name)
    check_instance(rngs, nnx.Rngs, "rngs")
    return nnx.Param(initializer(rngs.params(), shape, as_dtype(param_dtype, "param_dtype")))

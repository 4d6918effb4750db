"""Parameters that PyTorch publishes: their names, axes and images, and how a network takes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of red, green and blue in [0, 1], for the published parameters."""


def write(
    variables: Mapping[str, Any],
    arrays: Mapping[str, ArrayLike],
    *,
    unused: Collection[str],
    network: str,
) -> None:
    """Set variables to the arrays of a state dict, or change none of them.

    Args:
        variables: The variables of a network by their names in the state dict.
        arrays: The state dict.
        unused: Names in the state dict that belong to no variable, and may be there.
        network: Its name, for messages.

    Raises:
        ValueError: Entries are missing, have another shape, or belong to no layer; each is named.
    """
    wrong = [f"{name} is missing" for name in variables if name not in arrays]
    wrong += [f"{name} is of no layer" for name in arrays if name not in (*variables, *unused)]
    for name in variables.keys() & arrays.keys():
        shape, required = jnp.shape(arrays[name]), torch_shape(variables[name].shape)
        if shape != required:
            wrong.append(f"{name} must have shape {required}, got {shape}")
    if wrong:
        raise ValueError(f"arrays must be the state dict of {network}: {'; '.join(sorted(wrong))}.")
    for name, variable in variables.items():
        variable[...] = from_torch(jnp.asarray(arrays[name], variable.dtype))


def from_torch(array: ArrayLike) -> jax.Array:
    """Convert an array of PyTorch's state dict to a kernel or a vector of Flax."""
    return jnp.moveaxis(array, (1, 0), (-2, -1)) if jnp.ndim(array) > 1 else jnp.asarray(array)


def torch_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape in PyTorch, ``(out, in, *window)``, of a kernel ``(*window, in, out)`` or a vector."""
    if len(shape) < 2:
        return tuple(shape)
    *window, in_features, out_features = shape
    return out_features, in_features, *window

"""What every classifier here is: images to logits, with the arrays in between open to view."""

from __future__ import annotations

import jax

from dilax.nn._flax import nnx


def check_size(images: jax.Array, smallest: int, largest: int) -> None:
    """Refuse images whose height or width a network that flattens its last layer cannot take.

    Raises:
        ValueError: a side is shorter than `smallest` or longer than `largest` pixels.

    >>> import jax.numpy as jnp
    >>> check_size(jnp.ones((1, 32, 32, 3)), 30, 33)
    """
    if images.ndim != 4 or not all(smallest <= side <= largest for side in images.shape[1:3]):
        sides = f"{smallest} pixels" if smallest == largest else f"{smallest} to {largest} pixels"
        raise ValueError(
            f"images must have shape (N, H, W, C) with H and W of {sides}, for this network "
            f"flattens its last layer, got {images.shape}."
        )


class Classifier(nnx.Module):
    """Maps images ``(N, H, W, C)``, normalised, to logits ``(N, classes)``."""

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """The output of every layer by name, in order; the last is ``logits``."""
        raise NotImplementedError

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits ``(N, classes)`` of images ``(N, H, W, C)``."""
        return self.activations(images)["logits"]

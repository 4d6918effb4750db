"""What every classifier here is: images to logits, with the arrays in between open to view."""

from __future__ import annotations

import jax

from dilax.nn._flax import nnx


class Classifier(nnx.Module):
    """Maps images ``(N, H, W, C)``, normalised, to logits ``(N, classes)``."""

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """The output of every layer by name, in order; the last is ``logits``."""
        raise NotImplementedError

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits ``(N, classes)`` of images ``(N, H, W, C)``."""
        return self.activations(images)["logits"]

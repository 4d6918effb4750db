"""A classifier of ESPNetv2's units: depthwise windows of four dilations, summed hierarchically."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

import dilax
from dilax.models._classifier import MOMENTUM, Classifier, Linear, NormalisedConv


class Halving(nnx.Module):
    """Halve the image and add features: a 3x3 mean and a separable block of stride 2, concatenated.

    Source: the downsampling unit of ESPNetv2 (Mehta et al., 2018), with a separable block in place
    of its strided EESP, and without its path from the image.

    >>> from flax import nnx
    >>> x = jnp.ones((4, 32, 32, 16))
    >>> nnx.eval_shape(lambda: Halving(16, 48, rngs=nnx.Rngs(0))(x)).shape
    (4, 16, 16, 48)
    """

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs) -> None:
        self.block = dilax.nn.SeparableBlock(
            in_features, out_features - in_features, (3, 3), 2, momentum=MOMENTUM, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H / 2, W / 2, out_features)``."""
        mean = dilax.avg_pool(x, (3, 3), strides=2, padding="SAME")
        return jnp.concatenate([mean, self.block(x)], axis=-1)


class CifarEESP(Classifier):
    """A small classifier of ESPNetv2's units: 65,210 parameters.

    Stem 3x3 to ``STEM``, batch normalisation, ReLU; then, for each of ``STAGES``, the image is
    halved and units of ``dilax.nn.EESP`` follow; mean over the image; linear. 5,756,160
    multiply-adds; receptive field of the convolutions 225.

    Source: Mehta et al., "ESPNetv2" (2018), for the units, their number in these two stages and
    their dilations, which fall with the image's size; widths and stem are ours.

    >>> from flax import nnx
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarEESP(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    STEM: int = 32
    """Out-features of the stem."""
    STAGES: Sequence[tuple[int, int, Sequence[int]]] = (
        (64, 3, (1, 2, 3, 4)),
        (128, 7, (1, 1, 2, 3)),
    )
    """Width, number of units and their dilations, of each stage."""

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        features = self.STEM
        self.stem = NormalisedConv(3, features, (3, 3), rngs=rngs)
        blocks: list[nnx.Module] = []
        for width, units, dilations in self.STAGES:
            blocks.append(Halving(features, width, rngs=rngs))
            for _ in range(units):
                unit = dilax.nn.EESP(
                    width, (3, 3), kernel_dilation=dilations, momentum=MOMENTUM, rngs=rngs
                )
                blocks.append(unit)
            features = width
        self.blocks = nnx.data(blocks)
        self.head = Linear(features, classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        x = jax.nn.relu(self.stem(images))
        layers = {"stem": x}
        for place, block in enumerate(self.blocks, start=1):
            name = "halved" if isinstance(block, Halving) else "eesp"
            x = layers[f"{name}_{place}"] = block(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers

"""Dilated residual networks: dilation in place of strides, and layers that remove its grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
from flax import nnx

from dilax.models._classifier import Classifier, Linear, NormalisedConv

KERNEL_INIT = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Level(NamedTuple):
    """One block of a dilated residual network."""

    features: int
    strides: int = 1
    kernel_dilation: int = 1
    residual: bool = True


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a skip: ``act(norm(conv(act(norm(conv(x))))) + skip(x))``.

    The skip is ``x``, or a normalised convolution of size one if shapes differ. A block that is not
    residual has no skip.

    Source: He et al., "Deep residual learning for image recognition" (2016).

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> x, level = jnp.ones((4, 32, 32, 8)), Level(16, strides=2)
    >>> nnx.eval_shape(lambda: BasicBlock(8, level, rngs=nnx.Rngs(0))(x)).shape
    (4, 16, 16, 16)
    """

    def __init__(self, in_features: int, level: Level, *, rngs: nnx.Rngs) -> None:
        features, strides, kernel_dilation, residual = level

        def conv(in_features: int, size: int, strides: int) -> NormalisedConv:
            return NormalisedConv(
                in_features,
                features,
                (size, size),
                strides=strides,
                kernel_dilation=kernel_dilation,
                kernel_init=KERNEL_INIT,
                rngs=rngs,
            )

        self.first, self.second = conv(in_features, 3, strides), conv(features, 3, 1)
        adapted = residual and (strides, in_features) != (1, features)
        self.skip = conv(in_features, 1, strides) if adapted else None
        self.residual = residual

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H / strides, W / strides, features)``."""
        y = self.second(jax.nn.relu(self.first(x)))
        if self.residual:
            y = y + (x if self.skip is None else self.skip(x))
        return jax.nn.relu(y)


class CifarDRN(Classifier):
    """A small dilated residual network, form C: 602,490 parameters.

    Stem 3x3 to 16, batch normalisation, ReLU; a block for each of ``LEVELS``; mean over the image;
    linear. The image is halved twice; then dilations of 2 and 4 widen the receptive field. They
    leave a grid, which two blocks of dilation 2 and 1 remove. These two have no skip, because it
    would carry the grid on. 45,941,696 multiply-adds; receptive field of the convolutions 169.

    Source: Yu, Koltun and Funkhouser, "Dilated residual networks" (2017), DRN-C-26. The published
    network is for images of 224 x 224: its stem is 7x7, it halves the image three times, and it has
    up to 512 features and two blocks in each of its middle four levels.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarDRN(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    LEVELS: Sequence[Level] = (
        Level(16),
        Level(32, strides=2),
        Level(48, strides=2),
        Level(64, kernel_dilation=2),
        Level(96, kernel_dilation=4),
        Level(96, kernel_dilation=2, residual=False),
        Level(96, residual=False),
    )
    """The blocks after the stem, of which the last two remove the grid."""

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        features = self.LEVELS[0].features
        self.stem = NormalisedConv(3, features, (3, 3), kernel_init=KERNEL_INIT, rngs=rngs)
        blocks = []
        for level in self.LEVELS:
            blocks.append(BasicBlock(features, level, rngs=rngs))
            features = level.features
        self.blocks = nnx.data(blocks)
        self.head = Linear(features, classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        x = jax.nn.relu(self.stem(images))
        layers = {"stem": x}
        for place, block in enumerate(self.blocks, start=1):
            x = layers[f"level_{place}"] = block(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers

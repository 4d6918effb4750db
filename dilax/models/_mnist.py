"""Classifiers of 28x28 grey images: two from textbooks, and our own."""

from __future__ import annotations

from collections.abc import Sequence

import jax

import dilax
from dilax.models._classifier import Classifier, check_size
from dilax.nn import Conv, SeparableBlock, SeparableConv
from dilax.nn._flax import nnx


class MnistTextbook(Classifier):
    """The textbook's network of "depthwise separable dilated convolution": 16,852 parameters.

    Conv 1 to 12, 7x7; ReLU; Conv 12 to 12, 3x3 in 6 groups, dilation 2; Conv 12 to 24, 1x1; ReLU;
    Conv 24 to 6, 7x7; linear from 6 x 12 x 12 to 10; nothing padded. (Its middle convolution is
    grouped, two channels a group, where the text says depthwise.) 1,472,592 multiply-adds.

    Source: Wang Xiaohua's book on developing large models from zero, its section on depthwise
    separable dilated convolution, in the form that reports 98.74 % after 10 epochs.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 28, 28, 1))
    >>> nnx.eval_shape(lambda: MnistTextbook(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        self.first = Conv(1, 12, (7, 7), padding="VALID", rngs=rngs)
        self.dilated = Conv(
            12, 12, (3, 3), padding="VALID", kernel_dilation=2, feature_group_count=6, rngs=rngs
        )
        self.pointwise = Conv(12, 24, (1, 1), padding="VALID", rngs=rngs)
        self.last = Conv(24, 6, (7, 7), padding="VALID", rngs=rngs)
        self.head = nnx.Linear(6 * 12 * 12, classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """The output of every layer by name, in order; the last is ``logits``.

        Raises:
            ValueError: if the images are not of 28 pixels a side.
        """
        check_size(images, 28, 28)
        first = jax.nn.relu(self.first(images))
        separable = jax.nn.relu(self.pointwise(self.dilated(first)))
        last = self.last(separable)
        logits = self.head(last.reshape(last.shape[0], -1))
        return {"first": first, "separable": separable, "last": last, "logits": logits}


class MnistTutorial(Classifier):
    """The tutorial's one layer, 28x28x1 to 28x28x32, and a linear classifier: 250,963 parameters.

    Separable convolution 3x3 of dilation 2, SAME; ReLU; linear from 28 x 28 x 32 to 10. 283,024
    multiply-adds.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 28, 28, 1))
    >>> model = lambda: MnistTutorial(rngs=nnx.Rngs(0)).activations(images)
    >>> nnx.eval_shape(model)["separable"].shape
    (8, 28, 28, 32)
    """

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        self.separable = SeparableConv(1, 32, (3, 3), kernel_dilation=2, rngs=rngs)
        self.head = nnx.Linear(28 * 28 * 32, classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """The output of every layer by name, in order; the last is ``logits``.

        Raises:
            ValueError: if the images are not of 28 pixels a side.
        """
        check_size(images, 28, 28)
        separable = jax.nn.relu(self.separable(images))
        logits = self.head(separable.reshape(separable.shape[0], -1))
        return {"separable": separable, "logits": logits}


class MnistDSDC(Classifier):
    """Ours: separable dilated blocks between a small stem and a global mean: 7,938 parameters.

    Stem 3x3, 1 to 16, 2x2 maximum pool, batch normalisation, ReLU; then seven separable blocks of
    3x3 (`BLOCKS`), with a pool before the last four; mean over the image; linear to 10. 768,248
    multiply-adds. Every second block is dilated; blocks that keep their width are residual. (The
    stem is pooled before it is normalised, at a quarter of the cost.)

    Source: ours; its parts are of Xception (Chollet, 2017) and of dilated residual networks (Yu,
    Koltun and Funkhouser, 2017).

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 28, 28, 1))
    >>> nnx.eval_shape(lambda: MnistDSDC(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    BLOCKS = ((24, 1), (24, 2), (24, 1), (32, 1), (32, 2), (32, 1), (32, 2))
    """Out-features and dilation of each block."""
    POOLED_BLOCK = 3
    """The block with a pool before it."""

    def __init__(
        self, *, classes: int = 10, kernel_dilation: Sequence[int] = (), rngs: nnx.Rngs
    ) -> None:
        if kernel_dilation and len(kernel_dilation) != len(self.BLOCKS):
            raise ValueError(
                f"kernel_dilation must be {len(self.BLOCKS)} integers, one for each block, got "
                f"{kernel_dilation}."
            )
        momentum, features = 0.9, 16
        self.stem = Conv(1, features, (3, 3), use_bias=False, rngs=rngs)
        self.stem_norm = nnx.BatchNorm(features, momentum=momentum, rngs=rngs)
        blocks = []
        own = [dilation for _, dilation in self.BLOCKS]
        for (out_features, _), dilation in zip(self.BLOCKS, kernel_dilation or own, strict=True):
            block = SeparableBlock(
                features,
                out_features,
                (3, 3),
                kernel_dilation=dilation,
                residual=features == out_features,
                momentum=momentum,
                rngs=rngs,
            )
            blocks.append(block)
            features = out_features
        self.blocks = nnx.data(blocks)
        self.head = nnx.Linear(features, classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """The output of every layer by name, in order; the last is ``logits``."""
        pooled = dilax.max_pool(self.stem(images), (2, 2), strides=2)
        x = jax.nn.relu(self.stem_norm(pooled))
        layers = {"stem": x}
        for place, block in enumerate(self.blocks):
            if place == self.POOLED_BLOCK:
                x = dilax.max_pool(x, (2, 2), strides=2)
            x = layers[f"separable_{place + 1}"] = block(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers

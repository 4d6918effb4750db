"""Our own network for 32x32 colour images: separable, dilated, residual, without a pool."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from dilax.models._classifier import Classifier
from dilax.nn import Conv, SeparableBlock
from dilax.nn._flax import nnx


class CifarDSDC(Classifier):
    """Ours: a dense stem, then residual separable blocks of hybrid dilation: 161,434 parameters.

    Stem 3x3, 3 to `STEM`, batch normalisation, ReLU; then the blocks of `STAGES`, each a depthwise
    3x3, a pointwise convolution, batch normalisation and ReLU; mean over the image; linear. The
    first block of a stage halves the image and sets the width; all others add their input to their
    output. Nothing is pooled before that mean, and the dilations of a stage leave no pixel out.
    15,510,784 multiply-adds; receptive field of the convolutions 129.

    Source: ours; its parts are of Xception (Chollet, 2017), hybrid dilated convolution (Wang et
    al., "Understanding convolution for semantic segmentation", 2018) and dilated residual networks
    (Yu, Koltun and Funkhouser, 2017).

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarDSDC(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    STEM: int = 24
    """Out-features of the stem."""
    STAGES: Sequence[tuple[int, Sequence[int]]] = (
        (64, (1, 1, 2, 1, 3, 1)),
        (128, (1, 1, 2, 1, 3, 1, 2, 1)),
    )
    """Width of each stage, and the dilation of each of its blocks, the strided one first."""
    MOMENTUM: float = 0.9
    """Share of the running statistics that a batch leaves."""

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        features = self.STEM
        self.stem = Conv(3, features, (3, 3), use_bias=False, rngs=rngs)
        self.stem_norm = nnx.BatchNorm(features, momentum=self.MOMENTUM, rngs=rngs)
        blocks = []
        for width, dilations in self.STAGES:
            for place, dilation in enumerate(dilations):
                blocks.append(self.block(features, width, place == 0, dilation, rngs))
                features = width
        self.blocks = nnx.data(blocks)
        self.head = nnx.Linear(features, classes, rngs=rngs)

    def block(
        self, in_features: int, out_features: int, first: bool, dilation: int, rngs: nnx.Rngs
    ) -> SeparableBlock:
        """One block: strided if it is the first of its stage, otherwise residual."""
        return SeparableBlock(
            in_features,
            out_features,
            (3, 3),
            strides=2 if first else 1,
            kernel_dilation=dilation,
            residual=not first,
            momentum=self.MOMENTUM,
            rngs=rngs,
        )

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """The output of every layer by name, in order; the last is ``logits``."""
        x = jax.nn.relu(self.stem_norm(self.stem(images)))
        layers = {"stem": x}
        for place, block in enumerate(self.blocks, start=1):
            x = layers[f"separable_{place}"] = block(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers

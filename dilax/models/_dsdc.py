"""Our own networks, of separable, dilated and residual blocks."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

import dilax
from dilax._checks import LONGEST, integer, shown
from dilax.models._classifier import MOMENTUM, Classifier, Linear, schedule


def residual_blocks(
    stem_features: int,
    widths: Sequence[int],
    kernel_dilation: Sequence[int],
    *,
    count: int,
    widening: Sequence[int],
    widening_strides: int = 1,
    rngs: nnx.Rngs,
) -> list[dilax.nn.SeparableBlock]:
    """Create ``count`` separable 3x3 blocks, which add their input, but for those at ``widening``.

    Raises:
        ValueError: There are not ``count`` widths or dilations, one is not positive, or a block
            that adds its input changes the width.
        TypeError: A width or a dilation is no integer.
    """
    features = integer(stem_features, "stem_features", minimum=1, maximum=LONGEST)
    outputs = schedule(widths, count, "widths")
    dilations = schedule(kernel_dilation, count)
    blocks = []
    for place, (width, dilation) in enumerate(zip(outputs, dilations, strict=True)):
        widens = place in widening
        if not widens and width != features:
            raise ValueError(
                f"widths may change only at indices {' and '.join(map(str, widening))}, because "
                f"other blocks add their input, got {shown(widths)}."
            )
        block = dilax.nn.SeparableBlock(
            features,
            width,
            (3, 3),
            strides=widening_strides if widens else 1,
            kernel_dilation=dilation,
            residual=not widens,
            momentum=MOMENTUM,
            rngs=rngs,
        )
        blocks.append(block)
        features = width
    return blocks


class MnistDSDC(Classifier):
    """A small network of separable dilated blocks: 7,938 parameters.

    Stem 3x3 to 16 features, 2x2 maximum pool, batch normalisation, ReLU; then seven separable 3x3
    blocks to ``widths`` features, with another pool before the fourth; mean over the image; linear.
    768,248 multiply-adds. The second, the fifth and the last block are dilated by 2; all
    but the first and the fourth are residual. The stem is pooled before it is normalised, which
    makes normalisation and ReLU four times cheaper.

    Args:
        classes: Number of logits.
        kernel_dilation: Dilation of each separable block.
        stem_features: Features of the stem.
        widths: Features of each separable block; only the first and the fourth may change them.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: ours; its parts are of Xception (Chollet, 2017) and of dilated residual networks (Yu,
    Koltun and Funkhouser, 2017).

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 28, 28, 1))
    >>> nnx.eval_shape(lambda: MnistDSDC(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    BLOCKS: int = 7
    """Number of separable blocks."""
    WIDENING: Sequence[int] = (0, 3)
    """Indices of the blocks that may change the width; all others add their input."""
    POOLED_BLOCK: int = 3
    """Index of the separable block with a pool before it."""

    def __init__(
        self,
        *,
        classes: int = 10,
        kernel_dilation: Sequence[int] = (1, 2, 1, 1, 2, 1, 2),
        stem_features: int = 16,
        widths: Sequence[int] = (24, 24, 24, 32, 32, 32, 32),
        rngs: nnx.Rngs,
    ) -> None:
        self.stem = dilax.nn.Conv(1, stem_features, (3, 3), use_bias=False, rngs=rngs)
        self.stem_norm = dilax.nn.BatchNorm(stem_features, momentum=MOMENTUM, rngs=rngs)
        blocks = residual_blocks(
            stem_features,
            widths,
            kernel_dilation,
            count=self.BLOCKS,
            widening=self.WIDENING,
            rngs=rngs,
        )
        self.blocks = nnx.data(blocks)
        self.head = Linear(widths[-1], classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        pooled = dilax.max_pool(self.stem(images), (2, 2), strides=2)
        x = jax.nn.relu(self.stem_norm(pooled))
        layers = {"stem": x}
        for place, block in enumerate(self.blocks):
            if place == self.POOLED_BLOCK:
                x = dilax.max_pool(x, (2, 2), strides=2)
            x = layers[f"separable_{place + 1}"] = block(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers


class CifarDSDC(Classifier):
    """Ours: a dense stem, then residual separable blocks of hybrid dilation: 161,434 parameters.

    Stem 3x3, 3 to 24, batch normalisation, ReLU; then two stages of separable blocks, each block a
    depthwise 3x3, a pointwise convolution, batch normalisation and ReLU; mean over the image;
    linear. The first block of a stage halves the image and sets the width; all others add their
    input to their output. Nothing is pooled before that mean, and the dilations of a stage leave no
    pixel out. 15,510,784 multiply-adds; receptive field of the convolutions 129.

    Args:
        classes: Number of logits.
        kernel_dilation: Dilation of each separable block, from the first to the last.
        stem_features: Features of the stem.
        widths: Features of each separable block; only the first and the seventh may change them.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: ours; its parts are of Xception (Chollet, 2017), hybrid dilated convolution (Wang et
    al., "Understanding convolution for semantic segmentation", 2018) and dilated residual networks
    (Yu, Koltun and Funkhouser, 2017).

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarDSDC(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    BLOCKS: int = 14
    """Number of separable blocks."""
    WIDENING: Sequence[int] = (0, 6)
    """Indices of the blocks that halve the image; all others add their input."""

    def __init__(
        self,
        *,
        classes: int = 10,
        kernel_dilation: Sequence[int] = (1, 1, 2, 1, 3, 1, 1, 1, 2, 1, 3, 1, 2, 1),
        stem_features: int = 24,
        widths: Sequence[int] = (*(64,) * 6, *(128,) * 8),
        rngs: nnx.Rngs,
    ) -> None:
        self.stem = dilax.nn.Conv(3, stem_features, (3, 3), use_bias=False, rngs=rngs)
        self.stem_norm = dilax.nn.BatchNorm(stem_features, momentum=MOMENTUM, rngs=rngs)
        blocks = residual_blocks(
            stem_features,
            widths,
            kernel_dilation,
            count=self.BLOCKS,
            widening=self.WIDENING,
            widening_strides=2,
            rngs=rngs,
        )
        self.blocks = nnx.data(blocks)
        self.head = Linear(widths[-1], classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        x = jax.nn.relu(self.stem_norm(self.stem(images)))
        layers = {"stem": x}
        for place, block in enumerate(self.blocks, start=1):
            x = layers[f"separable_{place}"] = block(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers

"""VGG16 with dilation in place of its last pools, for fine-tuning from published parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

import dilax
from dilax._checks import entries, integer
from dilax.models._classifier import Classifier, Linear
from dilax.models._torch import write

KERNEL_INIT = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Number of convolutions in each block."""
KERNEL_DILATION = (1, 1, 1, 1, 2)
"""Dilation of the convolutions of each block."""
BLOCKS = tuple(f"block_{place}" for place, _ in enumerate(CONVOLUTIONS, start=1))
"""Names of the blocks."""
POOLED_BLOCKS = 3
"""Number of blocks, from the first, that end in a pool; in the published network all five do."""
SMALLEST = 2**POOLED_BLOCKS
"""Least number of pixels along an axis, each of which a pool halves."""


class VGGBlock(nnx.Module):
    """A sequence of 3x3 convolutions, each with a ReLU, and if ``pooled`` a 2x2 maximum pool."""

    def __init__(
        self,
        in_features: int,
        features: int,
        *,
        convolutions: int,
        kernel_dilation: int,
        pooled: bool,
        rngs: nnx.Rngs,
    ) -> None:
        convs = []
        for _ in range(convolutions):
            conv = dilax.nn.Conv(
                in_features,
                features,
                (3, 3),
                kernel_dilation=kernel_dilation,
                kernel_init=KERNEL_INIT,
                rngs=rngs,
            )
            convs.append(conv)
            in_features = features
        self.convs, self.pooled = nnx.data(convs), pooled

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H, W, features)``, or half of H and W."""
        for conv in self.convs:
            x = jax.nn.relu(conv(x))
        return dilax.max_pool(x, (2, 2), strides=2) if self.pooled else x


class VGG16Dilated(Classifier):
    """VGG16 whose last two pools are replaced by dilation: 14,719,818 parameters.

    Five blocks, ``block_1`` to ``block_5``, of 2, 2, 3, 3 and 3 convolutions 3x3 with ReLU, of
    ``WIDTHS`` features; a 2x2 maximum pool after each of the first three; mean over the image;
    linear. 398,136,320 multiply-adds for an image of 32 x 32; receptive field of the convolutions
    188.

    It differs from the published network in the way of Yu and Koltun's front end. The pools after
    blocks 4 and 5 are removed, so an image of 32 x 32 ends as 4 x 4 positions rather than one. The
    convolutions of block 5 are dilated by 2 to make up for the missing pool, so that the published
    parameters fit. The mean and one linear layer, which are ours, replace the fully connected
    layers; Yu and Koltun make these convolutions dilated by 4.

    Images must have at least 8 x 8 pixels. The published parameters expect images in ``[0, 1]``,
    minus the mean of ImageNet and divided by its standard deviation.

    Args:
        classes: Number of logits.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: Simonyan and Zisserman, "Very deep convolutional networks" (2015), configuration D; Yu
    and Koltun, "Multi-scale context aggregation by dilated convolutions" (2016), section 4.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: VGG16Dilated(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    WIDTHS: Sequence[int] = (64, 128, 256, 512, 512)
    """Out-features of each block."""

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        features = 3
        rows = zip(BLOCKS, self.WIDTHS, CONVOLUTIONS, KERNEL_DILATION, strict=True)
        for name, width, convolutions, dilation in rows:
            block = VGGBlock(
                features,
                width,
                convolutions=convolutions,
                kernel_dilation=dilation,
                pooled=name in BLOCKS[:POOLED_BLOCKS],
                rngs=rngs,
            )
            setattr(self, name, block)
            features = width
        self.head = Linear(features, classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every block by name, in order; the last is ``logits``.

        Raises:
            ValueError: The images are smaller than 8 x 8, or not of three channels.
        """
        if images.ndim != 4 or min(images.shape[1:3]) < SMALLEST or images.shape[3] != 3:
            raise ValueError(
                f"images must have shape (N, H, W, 3) with H and W of {SMALLEST} or more, which "
                f"{POOLED_BLOCKS} pools halve, got {images.shape}."
            )
        x, layers = images, {}
        for name in BLOCKS:
            x = layers[name] = getattr(self, name)(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers

    def load_torch(self, arrays: Mapping[str, ArrayLike]) -> tuple[str, ...]:
        """Set the convolutions to those of a state dict of torchvision's VGG16.

        ``features.0.weight``, ``(out_features, in_features, 3, 3)``, becomes the first kernel of
        ``block_1``, ``(3, 3, in_features, out_features)``, and so on. The head stays as it is.

        Returns:
            The names that were not used: those of the published classifier.

        Raises:
            ValueError: Entries are missing, have another shape, or belong to no layer of VGG16;
                each is named, and no parameter is changed.
        """
        params = self._torch_params()
        unused = tuple(name for name in arrays if name.startswith("classifier."))
        write(params, arrays, unused=unused, network="VGG16")
        return unused

    def _torch_params(self) -> dict[str, nnx.Param]:
        """The parameters by their names in torchvision, which counts ReLUs and pools too."""
        params, place = {}, 0
        for name in BLOCKS:
            for conv in getattr(self, name).convs:
                params[f"features.{place}.weight"] = conv.kernel
                params[f"features.{place}.bias"] = conv.bias
                place += 2
            place += 1
        return params


def in_first_blocks(path: Sequence[Any], blocks: int) -> bool:
    """Tell whether a parameter of ``VGG16Dilated`` belongs to the first ``blocks`` of its blocks.

    Args:
        path: Path of the parameter in the network's state: names and indices, or the corresponding
            keys of ``jax.tree_util``.
        blocks: Number of blocks, from 0 to 5.

    Raises:
        ValueError: ``blocks`` is not from 0 to 5, or the path is empty.
        TypeError: ``blocks`` is no integer, or ``path`` no sequence.

    >>> in_first_blocks(("block_2", "convs", 0, "kernel"), 2)
    True
    >>> in_first_blocks(("block_3", "convs", 0, "kernel"), 2)
    False
    """
    integer(blocks, "blocks", minimum=0, maximum=len(BLOCKS))
    path = entries(path, "path", "names and indices")
    if not path:
        raise ValueError("path must have at least one name, got ().")
    return getattr(path[0], "key", path[0]) in BLOCKS[:blocks]

"""A dense convolutional network for 32x32 colour images, and separable dilated versions of it."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

import dilax
from dilax.models._classifier import MOMENTUM, Classifier, Linear, NormalisedConv, schedule


class ConvBlock(NormalisedConv):
    """Dense convolution, batch normalisation, ReLU."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H / strides, W / strides, out_features)``."""
        return jax.nn.relu(super().__call__(x))


class CifarCNN(Classifier):
    """A plain network of dense convolutions: 436,458 parameters.

    Stem 3x3 to 32 features, then six 3x3 layers to ``WIDTHS`` features, with batch normalisation
    and ReLU; mean over the image; linear. 48,071,936 multiply-adds; receptive field of the
    convolutions 31.

    Args:
        classes: Number of logits.
        kernel_dilation: Dilation of each layer after the stem.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: ours, for comparison with separable networks.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarCNN(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    WIDTHS: Sequence[int] = (32, 64, 64, 128, 128, 128)
    """Out-features of each layer after the stem; the stem has as many as the first of them."""
    STRIDES: Sequence[int] = (1, 2, 1, 2, 1, 1)
    """Strides of each layer after the stem."""

    def __init__(
        self,
        *,
        classes: int = 10,
        kernel_dilation: Sequence[int] = (1, 1, 1, 1, 1, 1),
        rngs: nnx.Rngs,
    ) -> None:
        features = self.WIDTHS[0]
        self.stem = ConvBlock(3, features, (3, 3), rngs=rngs)
        layers = []
        dilations = schedule(kernel_dilation, len(self.WIDTHS))
        for width, strides, dilation in zip(self.WIDTHS, self.STRIDES, dilations, strict=True):
            layers.append(
                self.layer(features, width, strides=strides, kernel_dilation=dilation, rngs=rngs)
            )
            features = width
        self.layers = nnx.data(layers)
        self.head = Linear(features, classes, rngs=rngs)

    def layer(
        self,
        in_features: int,
        out_features: int,
        *,
        strides: int,
        kernel_dilation: int,
        rngs: nnx.Rngs,
    ) -> nnx.Module:
        """Make one layer after the stem."""
        return ConvBlock(
            in_features,
            out_features,
            (3, 3),
            strides=strides,
            kernel_dilation=kernel_dilation,
            rngs=rngs,
        )

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        x = self.stem(images)
        layers = {"stem": x}
        for place, layer in enumerate(self.layers, start=1):
            x = layers[f"layer_{place}"] = layer(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers


class CifarDSDCN(CifarCNN):
    """``CifarCNN`` of separable dilated blocks, of equal depth and width: 55,466 parameters.

    Every layer after the stem is a separable block. Three of the six are dilated, by 2, 2 and 4.
    6,829,312 multiply-adds; receptive field of the convolutions 67.

    Args:
        classes: Number of logits.
        kernel_dilation: Dilation of each layer after the stem.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: ours, for comparison with dense convolutions.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarDSDCN(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    def __init__(
        self,
        *,
        classes: int = 10,
        kernel_dilation: Sequence[int] = (1, 1, 2, 1, 2, 4),
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(classes=classes, kernel_dilation=kernel_dilation, rngs=rngs)

    def layer(
        self,
        in_features: int,
        out_features: int,
        *,
        strides: int,
        kernel_dilation: int,
        rngs: nnx.Rngs,
    ) -> nnx.Module:
        """Make one layer after the stem."""
        return dilax.nn.SeparableBlock(
            in_features,
            out_features,
            (3, 3),
            strides,
            kernel_dilation=kernel_dilation,
            momentum=MOMENTUM,
            rngs=rngs,
        )


class CifarDSDCNWide(CifarDSDCN):
    """``CifarDSDCN`` widened to the cost of ``CifarCNN``: 418,886 parameters.

    47,896,672 multiply-adds; receptive field of the convolutions 67.

    Args:
        classes: Number of logits.
        kernel_dilation: Dilation of each layer after the stem.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: ours, for comparison with dense convolutions at equal cost.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarDSDCNWide(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    WIDTHS = (92, 184, 184, 368, 368, 368)

"""A plain convolutional network for 32x32 colour images, and its separable dilated twins."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

import dilax
from dilax.models._classifier import MOMENTUM, Classifier, NormalisedConv, schedule


class ConvBlock(NormalisedConv):
    """Dense convolution, batch normalisation, ReLU."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H / strides, W / strides, out_features)``."""
        return jax.nn.relu(super().__call__(x))


class CifarCNN(Classifier):
    """A plain network of dense convolutions: 436,458 parameters.

    Stem 3x3 to 32, then six layers 3x3 to as many features as ``WIDTHS`` says, with batch
    normalisation and ReLU; mean over the image; linear. 48,071,936 multiply-adds; receptive field
    of the convolutions 31.

    Args:
      classes: number of logits.
      kernel_dilation: of each layer after the stem.
      rngs: source of keys; parameters are drawn from the stream ``params``.

    Source: ours: the plain side of a comparison.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarCNN(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    WIDTHS: Sequence[int] = (32, 64, 64, 128, 128, 128)
    """Out-features of each layer after the stem, which has as many as the first."""
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
        self.head = nnx.Linear(features, classes, rngs=rngs)

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
        """The output of every layer by name, in order; the last is ``logits``."""
        x = self.stem(images)
        layers = {"stem": x}
        for place, layer in enumerate(self.layers, start=1):
            x = layers[f"layer_{place}"] = layer(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers


class CifarDSDCN(CifarCNN):
    """The separable dilated twin of ``CifarCNN``, as deep and as wide: 55,466 parameters.

    Every layer after the stem is a separable block, dilated where it is not strided. 6,829,312
    multiply-adds; receptive field of the convolutions 67.

    Args:
      classes: number of logits.
      kernel_dilation: of each layer after the stem.
      rngs: source of keys; parameters are drawn from the stream ``params``.

    Source: ours: the separable side of a comparison.

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
    """``CifarDSDCN``, so wide that it costs what ``CifarCNN`` costs: 418,886 parameters.

    47,896,672 multiply-adds; receptive field of the convolutions 67.

    Args:
      classes: number of logits.
      kernel_dilation: of each layer after the stem.
      rngs: source of keys; parameters are drawn from the stream ``params``.

    Source: ours: the separable side of a comparison at equal cost.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarDSDCNWide(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    WIDTHS = (92, 184, 184, 368, 368, 368)

"""Classifiers of 32x32 colour images: a tutorial's network, and plain and separable twins."""

from __future__ import annotations

from collections.abc import Sequence

import jax

import dilax
from dilax.models._classifier import Classifier, check_size
from dilax.models._normalised import MOMENTUM, NormalisedConv
from dilax.nn import Conv, SeparableBlock
from dilax.nn._flax import nnx

PLAIN = ((32, 1, 1), (64, 2, 1), (64, 1, 1), (128, 2, 1), (128, 1, 1), (128, 1, 1))
"""Out-features, stride and dilation of each layer after the stem."""
DILATED = ((32, 1, 1), (64, 2, 1), (64, 1, 2), (128, 2, 1), (128, 1, 2), (128, 1, 4))
"""The same depth, widths and strides, dilated where nothing is strided."""
WIDE = ((92, 1, 1), (184, 2, 1), (184, 1, 2), (368, 2, 1), (368, 1, 2), (368, 1, 4))
"""As `DILATED`, so wide that it costs what the plain network costs."""


class KerasDilated(Classifier):
    """The tutorials' dilated network: 126,730 parameters.

    Conv 32, 3x3; pool; Conv 64, 3x3; pool; Conv 128, 3x3 of dilation 2; linear 64; linear 10. ReLU
    after each but the last; nothing padded; pools are 2x2 maxima. 4,220,928 multiply-adds;
    receptive field of the convolutions 26.

    Source: the Keras guide's network for CIFAR-10, its last convolution dilated as tutorials on
    dilation have it.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: KerasDilated(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        self.first = Conv(3, 32, (3, 3), padding="VALID", rngs=rngs)
        self.second = self.layer(32, 64, kernel_dilation=1, rngs=rngs)
        self.dilated = self.layer(64, 128, kernel_dilation=2, rngs=rngs)
        self.hidden = nnx.Linear(2 * 2 * 128, 64, rngs=rngs)
        self.head = nnx.Linear(64, classes, rngs=rngs)

    def layer(
        self, in_features: int, out_features: int, *, kernel_dilation: int, rngs: nnx.Rngs
    ) -> nnx.Module:
        """The second and the third convolution; a ReLU follows."""
        return Conv(
            in_features,
            out_features,
            (3, 3),
            padding="VALID",
            kernel_dilation=kernel_dilation,
            rngs=rngs,
        )

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """The output of every layer by name, in order; the last is ``logits``.

        Raises:
            ValueError: if the images are not of 30 to 33 pixels a side.
        """
        check_size(images, 30, 33)
        first = dilax.max_pool(jax.nn.relu(self.first(images)), (2, 2), strides=2)
        second = dilax.max_pool(jax.nn.relu(self.second(first)), (2, 2), strides=2)
        dilated = jax.nn.relu(self.dilated(second))
        hidden = jax.nn.relu(self.hidden(dilated.reshape(dilated.shape[0], -1)))
        return {
            "first": first,
            "second": second,
            "dilated": dilated,
            "hidden": hidden,
            "logits": self.head(hidden),
        }


class KerasSeparable(KerasDilated):
    """`KerasDilated` with its second and third convolution separable: 45,866 parameters.

    Both are normalised over the batch, as in the networks that made separable convolution known.
    1,240,864 multiply-adds; receptive field of the convolutions 26.

    Source: ours, of the same shape. The first convolution stays dense: of three colours, nine taps
    each, a separable one would see almost nothing. Normalisation as in Howard et al., "MobileNets"
    (2017), https://arxiv.org/abs/1704.04861

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: KerasSeparable(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    def layer(
        self, in_features: int, out_features: int, *, kernel_dilation: int, rngs: nnx.Rngs
    ) -> nnx.Module:
        """The second and the third convolution, which bring their ReLU."""
        return SeparableBlock(
            in_features,
            out_features,
            (3, 3),
            padding="VALID",
            kernel_dilation=kernel_dilation,
            momentum=MOMENTUM,
            rngs=rngs,
        )


class ConvBlock(NormalisedConv):
    """Dense convolution, batch normalisation, ReLU."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H / strides, W / strides, out_features)``."""
        return jax.nn.relu(super().__call__(x))


class CifarCNN(Classifier):
    """A plain network of dense convolutions: 436,458 parameters.

    Stem 3x3 to 32, then the layers of `PLAIN`, 3x3 each, with batch normalisation and ReLU; mean
    over the image; linear. 48,071,936 multiply-adds; receptive field of the convolutions 31.

    Source: ours: the plain side of a comparison.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarCNN(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    LAYERS: Sequence[tuple[int, int, int]] = PLAIN

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        features = self.LAYERS[0][0]
        self.stem = ConvBlock(3, features, (3, 3), rngs=rngs)
        layers = []
        for out_features, strides, dilation in self.LAYERS:
            layers.append(self.layer(features, out_features, strides, dilation, rngs))
            features = out_features
        self.layers = nnx.data(layers)
        self.head = nnx.Linear(features, classes, rngs=rngs)

    def layer(
        self, in_features: int, out_features: int, strides: int, dilation: int, rngs: nnx.Rngs
    ) -> nnx.Module:
        """One layer after the stem."""
        del dilation  # one, everywhere
        return ConvBlock(in_features, out_features, (3, 3), strides=strides, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """The output of every layer by name, in order; the last is ``logits``."""
        x = self.stem(images)
        layers = {"stem": x}
        for place, layer in enumerate(self.layers, start=1):
            x = layers[f"layer_{place}"] = layer(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers


class CifarDSDCN(CifarCNN):
    """The separable dilated twin of `CifarCNN`, as deep and as wide: 55,466 parameters.

    Every layer after the stem a separable block, dilated as `DILATED` says. 6,829,312
    multiply-adds; receptive field of the convolutions 67.

    Source: ours: the separable side of a comparison.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarDSDCN(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    LAYERS = DILATED

    def layer(
        self, in_features: int, out_features: int, strides: int, dilation: int, rngs: nnx.Rngs
    ) -> nnx.Module:
        """One layer after the stem."""
        return SeparableBlock(
            in_features,
            out_features,
            (3, 3),
            strides,
            kernel_dilation=dilation,
            momentum=MOMENTUM,
            rngs=rngs,
        )


class CifarDSDCNWide(CifarDSDCN):
    """`CifarDSDCN` so wide that it costs as many multiply-adds as `CifarCNN`: 418,886 parameters.

    47,896,672 multiply-adds; receptive field of the convolutions 67.

    Source: ours: the separable side of a comparison at equal cost.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarDSDCNWide(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    LAYERS = WIDE

"""Networks of a book and of tutorials on dilated convolution, and a separable version of one."""

from __future__ import annotations

import jax
from flax import nnx

import dilax
from dilax.models._classifier import MOMENTUM, Classifier, Linear, check_size


class MnistTextbook(Classifier):
    """A textbook's network of "depthwise separable dilated convolution": 16,852 parameters.

    Conv 1 to 12, 7x7; ReLU; Conv 12 to 12, 3x3 in 6 groups, dilation 2; Conv 12 to 24, 1x1; ReLU;
    Conv 24 to 6, 7x7; linear from 6 x 12 x 12 to 10; no padding. The book calls the 3x3 convolution
    depthwise, but it is grouped, with two channels per group. 1,472,592 multiply-adds.

    Source: Wang Xiaohua's book on developing large models from zero, section on depthwise separable
    dilated convolution; the version with a reported accuracy of 98.74 % after 10 epochs.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 28, 28, 1))
    >>> nnx.eval_shape(lambda: MnistTextbook(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        self.first = dilax.nn.Conv(1, 12, (7, 7), padding="VALID", rngs=rngs)
        self.dilated = dilax.nn.Conv(
            12, 12, (3, 3), padding="VALID", kernel_dilation=2, feature_group_count=6, rngs=rngs
        )
        self.pointwise = dilax.nn.Conv(12, 24, (1, 1), padding="VALID", rngs=rngs)
        self.last = dilax.nn.Conv(24, 6, (7, 7), padding="VALID", rngs=rngs)
        self.head = Linear(6 * 12 * 12, classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``.

        Raises:
            ValueError: The images are not of 28 pixels a side.
        """
        check_size(images, 28, 28)
        first = jax.nn.relu(self.first(images))
        separable = jax.nn.relu(self.pointwise(self.dilated(first)))
        last = self.last(separable)
        logits = self.head(last.reshape(last.shape[0], -1))
        return {"first": first, "separable": separable, "last": last, "logits": logits}


class MnistTutorial(Classifier):
    """A tutorial's network, of one separable layer and a linear classifier: 250,963 parameters.

    Separable convolution 3x3 of dilation 2, 1 to 32, padded SAME; ReLU; linear from 28 x 28 x 32 to
    10. 283,024 multiply-adds.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 28, 28, 1))
    >>> model = lambda: MnistTutorial(rngs=nnx.Rngs(0)).activations(images)
    >>> nnx.eval_shape(model)["separable"].shape
    (8, 28, 28, 32)
    """

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        self.separable = dilax.nn.SeparableConv(1, 32, (3, 3), kernel_dilation=2, rngs=rngs)
        self.head = Linear(28 * 28 * 32, classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``.

        Raises:
            ValueError: The images are not of 28 pixels a side.
        """
        check_size(images, 28, 28)
        separable = jax.nn.relu(self.separable(images))
        logits = self.head(separable.reshape(separable.shape[0], -1))
        return {"separable": separable, "logits": logits}


class KerasDilated(Classifier):
    """The Keras guide's network with its last convolution dilated: 126,730 parameters.

    Conv 32, 3x3; pool; Conv 64, 3x3; pool; Conv 128, 3x3 of dilation 2; linear 64; linear 10. ReLU
    after each but the last; no padding; the pools are 2x2 maximum pools. 4,220,928 multiply-adds;
    receptive field of the convolutions 26.

    Source: the Keras guide's network for CIFAR-10, with its last convolution dilated, as in
    tutorials on dilation.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: KerasDilated(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        self.first = dilax.nn.Conv(3, 32, (3, 3), padding="VALID", rngs=rngs)
        self.second = self.layer(32, 64, kernel_dilation=1, rngs=rngs)
        self.dilated = self.layer(64, 128, kernel_dilation=2, rngs=rngs)
        self.hidden = Linear(2 * 2 * 128, 64, rngs=rngs)
        self.head = Linear(64, classes, rngs=rngs)

    def layer(
        self, in_features: int, out_features: int, *, kernel_dilation: int, rngs: nnx.Rngs
    ) -> nnx.Module:
        """Make the second or the third convolution, which a ReLU follows."""
        return dilax.nn.Conv(
            in_features,
            out_features,
            (3, 3),
            padding="VALID",
            kernel_dilation=kernel_dilation,
            rngs=rngs,
        )

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``.

        Raises:
            ValueError: The images are not of 30 to 33 pixels a side.
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
    """``KerasDilated`` with its second and third convolution separable: 45,866 parameters.

    Both separable convolutions have batch normalisation. The first convolution stays dense, because
    the depthwise part of a separable one would have only three channels. 1,240,864 multiply-adds;
    receptive field of the convolutions 26.

    Source: ours, with the layers of ``KerasDilated``; normalisation as in Howard et al.,
    "MobileNets" (2017), https://arxiv.org/abs/1704.04861

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: KerasSeparable(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    def layer(
        self, in_features: int, out_features: int, *, kernel_dilation: int, rngs: nnx.Rngs
    ) -> nnx.Module:
        """Make the second or the third convolution, with batch normalisation and ReLU."""
        return dilax.nn.SeparableBlock(
            in_features,
            out_features,
            (3, 3),
            padding="VALID",
            kernel_dilation=kernel_dilation,
            momentum=MOMENTUM,
            rngs=rngs,
        )

"""Dense convolutions whose dilation doubles, so that a few of them see the whole image."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

import dilax
from dilax.models._classifier import Classifier, Linear, NormalisedConv, schedule

KERNEL_DILATION = (1, 1, 2, 4, 8, 16, 1)
"""Dilation of each 3x3 convolution of the context module, as published."""


def identity_kernel(key: jax.Array, shape: Sequence[int], dtype: DTypeLike) -> jax.Array:
    """Initialise a kernel to the identity: ``w[k, a, b] = 1`` if ``k = 0, a = b``, else 0.

    Its shape is ``(*window, C, C)``, and ``k = 0`` is the middle of the window. ``key`` is unused.

    Raises:
        ValueError: The middle is not an entry, or in- and out-features differ.

    >>> identity_kernel(jax.random.key(0), (3, 1, 1), jnp.float32)[:, 0, 0]
    Array([0., 1., 0.], dtype=float32)
    >>> identity_kernel(jax.random.key(0), (3, 3, 8, 8), jnp.float32).shape
    (3, 3, 8, 8)
    """
    del key
    *window, in_features, out_features = shape
    if in_features != out_features or not all(size % 2 for size in window):
        raise ValueError(
            f"shape of an identity kernel must be (*window, C, C) with odd windows, got "
            f"{tuple(shape)}."
        )
    middle = tuple(size // 2 for size in window)
    return jnp.zeros(shape, dtype).at[middle].set(jnp.eye(in_features, dtype=dtype))


class ContextModule(nnx.Module):
    """Seven 3x3 convolutions, dilated by up to 16, and one of size one, initially the identity.

    ReLU after each but the last; the image keeps its size and its features. Each output sees 67x67
    inputs.

    Args:
        features: Number of features of input and output.
        kernel_dilation: Dilation of each 3x3 convolution.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: Yu and Koltun, "Multi-scale context aggregation by dilated convolutions" (2016), the
    basic form of its table 1, and its identity initialisation.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> x = jnp.ones((4, 32, 32, 8))
    >>> nnx.eval_shape(lambda: ContextModule(8, rngs=nnx.Rngs(0))(x)).shape
    (4, 32, 32, 8)
    """

    def __init__(
        self,
        features: int,
        *,
        kernel_dilation: Sequence[int] = KERNEL_DILATION,
        rngs: nnx.Rngs,
    ) -> None:
        convs = [
            dilax.nn.Conv(
                features,
                features,
                (3, 3),
                kernel_dilation=dilation,
                kernel_init=identity_kernel,
                rngs=rngs,
            )
            for dilation in schedule(kernel_dilation, len(KERNEL_DILATION))
        ]
        self.convs = nnx.data(convs)
        self.pointwise = dilax.nn.Conv(
            features, features, (1, 1), kernel_init=identity_kernel, rngs=rngs
        )

    def activations(self, x: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``context``."""
        layers = {}
        for place, conv in enumerate(self.convs, start=1):
            x = layers[f"dilated_{place}"] = jax.nn.relu(conv(x))
        return layers | {"context": self.pointwise(x)}

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, features)`` to the same shape."""
        return self.activations(x)["context"]


class CifarContext(Classifier):
    """Yu and Koltun's context module over a small front end: 43,234 parameters.

    Front end of two 3x3 convolutions to 24 features, with batch normalisation and ReLU; context
    module; mean over the image; linear. The front end keeps the full resolution, because the
    dilations of 8 and 16 would mostly see padding in a smaller image. 43,720,944 multiply-adds;
    receptive field of the convolutions 71, and of the module alone 67.

    Args:
        classes: Number of logits.
        kernel_dilation: Dilation of each 3x3 convolution of the module.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: Yu and Koltun, "Multi-scale context aggregation by dilated convolutions" (2016), for the
    module; the rest is ours.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: CifarContext(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    FEATURES: int = 24
    """Width of front end and module."""

    def __init__(
        self,
        *,
        classes: int = 10,
        kernel_dilation: Sequence[int] = KERNEL_DILATION,
        rngs: nnx.Rngs,
    ) -> None:
        self.first = NormalisedConv(3, self.FEATURES, (3, 3), rngs=rngs)
        self.second = NormalisedConv(self.FEATURES, self.FEATURES, (3, 3), rngs=rngs)
        self.context = ContextModule(self.FEATURES, kernel_dilation=kernel_dilation, rngs=rngs)
        self.head = Linear(self.FEATURES, classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        first = jax.nn.relu(self.first(images))
        second = jax.nn.relu(self.second(first))
        layers = {"first": first, "second": second, **self.context.activations(second)}
        return layers | {"logits": self.head(layers["context"].mean(axis=(1, 2)))}

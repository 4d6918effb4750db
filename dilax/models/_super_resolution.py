"""Networks that enlarge images: residual separable dilated blocks, and their dense twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

import dilax
from dilax._checks import integer
from dilax.models._classifier import schedule

SCALES = (1, 2, 3, 4, 8)
GREY = 0.5
"""What a pixel is compared with: the zeros that pad an image are grey, not black."""


class SuperResolver(nnx.Module):
    """Maps images ``(N, H, W, C)`` in [0, 1] to larger ones, ``(N, scale H, scale W, C)``."""

    scale: int
    """The factor by which height and width grow."""

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``image``."""
        raise NotImplementedError

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images ``(N, H, W, C)`` to larger ones, whose values may leave [0, 1] a little.

        Raises:
            ValueError: Images have other axes, such as one image without a batch axis.
        """
        if images.ndim != 4:
            fix = "; one image is a batch of one: images[None]" if images.ndim == 3 else ""
            raise ValueError(f"images must have shape (N, H, W, C), got {images.shape}{fix}.")
        return self.activations(images)["image"]


class ResidualBlock(nnx.Module):
    """``x + second(relu(first(x)))`` with 3x3 convolutions, separable or dense.

    There is no batch normalisation: it makes an output depend on the contrast of the others in its
    batch, and networks that restore images are better, and smaller, without.

    Source: B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution",
    2017 (EDSR), section 3.1.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> block = ResidualBlock(16, kernel_dilation=2, separable=True, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((8, 28, 28, 16))).shape
    (8, 28, 28, 16)
    """

    def __init__(
        self, features: int, *, kernel_dilation: int, separable: bool, rngs: nnx.Rngs
    ) -> None:
        kind = dilax.nn.SeparableConv if separable else dilax.nn.Conv

        def convolution(dilation: int) -> Any:
            return kind(features, features, (3, 3), kernel_dilation=dilation, rngs=rngs)

        self.first, self.second = convolution(kernel_dilation), convolution(1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, features)`` to the same shape."""
        return x + self.second(jax.nn.relu(self.first(x)))


class SuperResolverDSDC(SuperResolver):
    """A residual network of separable dilated blocks that enlarges images: 20,492 parameters.

    A dense 3x3 stem, residual blocks whose first convolution is dilated, and a dense 3x3 head to
    ``scale ** 2`` values for each channel of a pixel, which become neighbouring pixels. What it
    finds is added to the bicubic enlargement: the head begins at zero, and so does training at
    bicubic. No layer normalises.

    Args:
        scale: The factor by which height and width grow, 1, 2, 3, 4 or 8.
        in_features: Channels of the images.
        out_features: Channels of the result; the first ones of the images are enlarged for it.
        features: Features of every block.
        kernel_dilation: Dilation of the first convolution of each block.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution",
    2017; sub-pixel convolution: W. Shi et al., "Real-Time Single Image and Video Super-Resolution
    Using an Efficient Sub-Pixel Convolutional Neural Network", 2016.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 24, 30, 3))
    >>> nnx.eval_shape(lambda: SuperResolverDSDC(scale=4, rngs=nnx.Rngs(0))(images)).shape
    (8, 96, 120, 3)
    """

    SEPARABLE: bool = True

    def __init__(
        self,
        *,
        scale: int = 2,
        in_features: int = 3,
        out_features: int = 3,
        features: int = 32,
        kernel_dilation: Sequence[int] = (1, 2, 1, 3, 1, 2),
        rngs: nnx.Rngs,
    ) -> None:
        if integer(scale, "scale") not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(map(str, SCALES))}, got {scale}.")
        integer(in_features, "in_features", minimum=integer(out_features, "out_features"))
        self.scale, self.out_features = scale, out_features
        dilations = schedule(kernel_dilation, len(kernel_dilation))
        self.stem = dilax.nn.Conv(in_features, features, (3, 3), rngs=rngs)
        blocks = [
            ResidualBlock(features, kernel_dilation=each, separable=self.SEPARABLE, rngs=rngs)
            for each in dilations
        ]
        self.blocks = nnx.data(blocks)
        zeros = jax.nn.initializers.zeros
        outputs = scale**2 * out_features
        self.head = dilax.nn.Conv(features, outputs, (3, 3), kernel_init=zeros, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``image``."""
        x = self.stem(images - GREY)
        layers = {"stem": x}
        for place, block in enumerate(self.blocks, start=1):
            x = layers[f"block_{place}"] = block(x)
        layers["head"] = self.head(x)
        plain = enlarge(images[..., : self.out_features], self.scale)
        layers["image"] = plain + pixel_shuffle(layers["head"], self.scale)
        return layers


class SuperResolverDense(SuperResolverDSDC):
    """The dense twin of ``SuperResolverDSDC``, of equal widths: 115,340 parameters.

    Args:
        scale: The factor by which height and width grow, 1, 2, 3, 4 or 8.
        in_features: Channels of the images.
        out_features: Channels of the result; the first ones of the images are enlarged for it.
        features: Features of every block.
        kernel_dilation: Dilation of the first convolution of each block.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: as ``SuperResolverDSDC``.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 24, 30, 3))
    >>> nnx.eval_shape(lambda: SuperResolverDense(scale=4, rngs=nnx.Rngs(0))(images)).shape
    (8, 96, 120, 3)
    """

    SEPARABLE = False


def enlarge(images: jax.Array, scale: int) -> jax.Array:
    """Enlarge images bicubically, ``(N, H, W, C)`` to ``(N, scale H, scale W, C)``.

    >>> import jax.numpy as jnp
    >>> enlarge(jnp.ones((1, 4, 4, 3)), 2).shape
    (1, 8, 8, 3)
    """
    if scale == 1:
        return images
    count, height, width, channels = images.shape
    return jax.image.resize(images, (count, scale * height, scale * width, channels), "cubic")


def pixel_shuffle(x: jax.Array, scale: int) -> jax.Array:
    """Rearrange ``(N, H, W, scale ** 2 * C)`` to ``(N, scale H, scale W, C)``.

    ``out[n, scale y + i, scale x + j, c] = x[n, y, x, (scale i + j) C + c]``.

    >>> import jax.numpy as jnp
    >>> pixel_shuffle(jnp.arange(4.0).reshape(1, 1, 1, 4), 2)[0, ..., 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    count, height, width, features = x.shape
    channels = features // scale**2
    parts = x.reshape(count, height, width, scale, scale, channels)
    apart = parts.transpose(0, 1, 3, 2, 4, 5)
    return apart.reshape(count, scale * height, scale * width, channels)

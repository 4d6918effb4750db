"""Networks that classify each pixel: U-Net and DeepLab of separable dilated blocks, and twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import dilax
from dilax.models._classifier import MOMENTUM, NormalisedConv, schedule


class Segmenter(nnx.Module):
    """Maps normalised images ``(N, H, W, C)`` of any size to logits ``(N, H, W, classes)``."""

    STRIDE: int = 1
    """Pixels between neighbouring entries of the coarsest layer: images are padded with zeros, at
    the bottom and on the right, to a multiple of it."""

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``.

        Height and width of the images are multiples of ``STRIDE``.
        """
        raise NotImplementedError

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images ``(N, H, W, C)`` to logits ``(N, H, W, classes)``.

        Raises:
            ValueError: Images have other axes, such as one image without a batch axis.
        """
        if images.ndim != 4:
            fix = "; one image is a batch of one: images[None]" if images.ndim == 3 else ""
            raise ValueError(f"images must have shape (N, H, W, C), got {images.shape}{fix}.")
        _, height, width, _ = images.shape
        below, beside = -height % self.STRIDE, -width % self.STRIDE
        if not below and not beside:
            return self.activations(images)["logits"]
        padded = jnp.pad(images, ((0, 0), (0, below), (0, beside), (0, 0)))
        return self.activations(padded)["logits"][:, :height, :width]


class DenseBlock(nnx.Module):
    """``relu(norm(conv(x)))``, and the input added if ``residual``: a separable block's twin.

    >>> from flax import nnx
    >>> block = DenseBlock(16, 24, (3, 3), rngs=nnx.Rngs(0))
    >>> block(jnp.ones((8, 28, 28, 16))).shape
    (8, 28, 28, 24)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        *,
        strides: int | Sequence[int] = 1,
        kernel_dilation: int = 1,
        residual: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = NormalisedConv(
            in_features,
            out_features,
            kernel_size,
            strides=strides,
            kernel_dilation=kernel_dilation,
            rngs=rngs,
        )
        self.residual = residual

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H / strides, W / strides, out_features)``."""
        y = jax.nn.relu(self.conv(x))
        return x + y if self.residual else y


class DenseASPP(nnx.Module):
    """Atrous spatial pyramid pooling with dense branches: the twin of ``dilax.nn.ASPP``.

    >>> from flax import nnx
    >>> pyramid = DenseASPP(16, 24, kernel_dilation=(2, 4), rngs=nnx.Rngs(0))
    >>> pyramid(jnp.ones((8, 28, 28, 16))).shape
    (8, 28, 28, 24)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        kernel_dilation: Sequence[int],
        rngs: nnx.Rngs,
    ) -> None:
        self.pointwise = NormalisedConv(in_features, out_features, (1, 1), rngs=rngs)
        branches = [
            NormalisedConv(in_features, out_features, (3, 3), kernel_dilation=dilation, rngs=rngs)
            for dilation in kernel_dilation
        ]
        self.branches = nnx.data(branches)
        self.pooled = NormalisedConv(in_features, out_features, (1, 1), rngs=rngs)
        joined = (2 + len(branches)) * out_features
        self.projection = NormalisedConv(joined, out_features, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H, W, out_features)``."""
        parts = [jax.nn.relu(branch(x)) for branch in (self.pointwise, *self.branches)]
        pooled = jax.nn.relu(self.pooled(x.mean(axis=(1, 2), keepdims=True)))
        parts.append(jnp.broadcast_to(pooled, parts[0].shape))
        return jax.nn.relu(self.projection(jnp.concatenate(parts, axis=-1)))


class UNetDSDC(Segmenter):
    """A U-Net of separable blocks, dilated at the bottom: 41,252 parameters.

    Each level has two separable 3x3 blocks, and a 2x2 maximum pool leads to the next. At the bottom
    residual blocks are dilated by ``kernel_dilation``, in place of further levels. On the way up,
    features are resized bilinearly and joined to those of the level, which two blocks then mix; a
    1x1 convolution gives the logits.

    Args:
        classes: Number of classes, the background included.
        in_features: Channels of the images.
        widths: Features of each level, from the finest to the bottom.
        kernel_dilation: Dilation of each block at the bottom.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: O. Ronneberger et al., "U-Net", 2015; the dilated bottom is that of L. Zhou et al.,
    "D-LinkNet", 2018.

    >>> from flax import nnx
    >>> images = jnp.ones((8, 50, 70, 1))
    >>> nnx.eval_shape(lambda: UNetDSDC(rngs=nnx.Rngs(0))(images)).shape
    (8, 50, 70, 11)
    """

    SEPARABLE: bool = True

    def __init__(
        self,
        *,
        classes: int = 11,
        in_features: int = 1,
        widths: Sequence[int] = (16, 32, 48, 64),
        kernel_dilation: Sequence[int] = (1, 2, 4),
        rngs: nnx.Rngs,
    ) -> None:
        sizes = schedule(widths, len(widths), "widths")
        dilations = schedule(kernel_dilation, len(kernel_dilation))
        self.STRIDE = 2 ** (len(sizes) - 1)
        features, down = in_features, []
        for width in sizes[:-1]:
            down += [self._block(features, width, rngs=rngs), self._block(width, width, rngs=rngs)]
            features = width
        bottom = [self._block(features, sizes[-1], rngs=rngs)]
        bottom += [
            self._block(sizes[-1], sizes[-1], kernel_dilation=each, residual=True, rngs=rngs)
            for each in dilations
        ]
        features, up = sizes[-1], []
        for width in reversed(sizes[:-1]):
            joined = self._block(features + width, width, rngs=rngs)
            up += [joined, self._block(width, width, rngs=rngs)]
            features = width
        self.down, self.bottom, self.up = nnx.data(down), nnx.data(bottom), nnx.data(up)
        self.head = dilax.nn.Conv(features, classes, (1, 1), rngs=rngs)

    def _block(self, in_features: int, out_features: int, *, rngs: nnx.Rngs, **options: int) -> Any:
        return make_block(in_features, out_features, separable=self.SEPARABLE, rngs=rngs, **options)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        x, layers, skipped = images, {}, []
        for level, (first, second) in enumerate(_pairs(self.down), start=1):
            x = layers[f"down_{level}"] = second(first(x))
            skipped.append(x)
            x = dilax.max_pool(x, (2, 2), strides=2)
        for place, block in enumerate(self.bottom, start=1):
            x = layers[f"bottom_{place}"] = block(x)
        for level, (first, second) in enumerate(_pairs(self.up), start=1):
            fine = skipped.pop()
            x = layers[f"up_{level}"] = second(first(_joined(x, fine)))
        layers["logits"] = self.head(x)
        return layers


class UNetDense(UNetDSDC):
    """The dense twin of ``UNetDSDC``: equal widths, dense 3x3 convolutions: 301,131 parameters.

    Args:
        classes: Number of classes, the background included.
        in_features: Channels of the images.
        widths: Features of each level, from the finest to the bottom.
        kernel_dilation: Dilation of each block at the bottom.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: as ``UNetDSDC``.

    >>> from flax import nnx
    >>> images = jnp.ones((8, 50, 70, 1))
    >>> nnx.eval_shape(lambda: UNetDense(rngs=nnx.Rngs(0))(images)).shape
    (8, 50, 70, 11)
    """

    SEPARABLE = False


class DeepLabDSDC(Segmenter):
    """DeepLab of separable blocks, with output stride 8 by dilation: 106,404 parameters.

    Encoder: a dense 3x3 stem of stride 2, then separable 3x3 blocks, of which two more halve the
    image; the others add their input. The last blocks are dilated in place of further strides. The
    pyramid has a 1x1 branch, dilated branches and the mean over the image. The decoder doubles its
    size three times, joins it to the layers of stride 4 and 2 and to the image itself, and mixes
    each by a separable block, the last one of few features; a 1x1 convolution gives the logits.

    Args:
        classes: Number of classes, the background included.
        in_features: Channels of the images.
        widths: Features at strides 2, 4 and 8, and of the dilated blocks.
        kernel_dilation: Dilation of each block of the last stage. With a common factor, as of
            (2, 2, 2, 2), neighbouring outputs of the stage read different inputs (gridding).
        pyramid_dilation: Dilation of each dilated branch of the pyramid.
        decoder_features: Features of the pyramid and of the decoder at strides 4 and 2.
        fine_features: Features of the decoder at the size of the image.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: L.-C. Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation", 2018; hybrid dilation: P. Wang et al., "Understanding Convolution for Semantic
    Segmentation", 2018.

    >>> from flax import nnx
    >>> images = jnp.ones((8, 50, 70, 1))
    >>> nnx.eval_shape(lambda: DeepLabDSDC(rngs=nnx.Rngs(0))(images)).shape
    (8, 50, 70, 11)
    """

    SEPARABLE: bool = True
    STRIDE = 8

    def __init__(
        self,
        *,
        classes: int = 11,
        in_features: int = 1,
        widths: Sequence[int] = (16, 32, 64, 96),
        kernel_dilation: Sequence[int] = (1, 2, 3, 1),
        pyramid_dilation: Sequence[int] = (2, 3),
        decoder_features: int = 64,
        fine_features: int = 24,
        rngs: nnx.Rngs,
    ) -> None:
        half, quarter, eighth, wide = schedule(widths, 4, "widths")
        dilations = schedule(kernel_dilation, len(kernel_dilation))
        self.stem = DenseBlock(in_features, half, (3, 3), strides=2, rngs=rngs)
        halving = {"strides": 2}
        self.quarter = nnx.data(
            [
                self._block(half, quarter, rngs=rngs, **halving),
                self._block(quarter, quarter, residual=True, rngs=rngs),
            ]
        )
        self.eighth = nnx.data(
            [
                self._block(quarter, eighth, rngs=rngs, **halving),
                self._block(eighth, eighth, residual=True, rngs=rngs),
            ]
        )
        inputs = [eighth, *[wide] * (len(dilations) - 1)]
        dilated = [
            self._block(features, wide, kernel_dilation=each, residual=features == wide, rngs=rngs)
            for features, each in zip(inputs, dilations, strict=True)
        ]
        self.dilated = nnx.data(dilated)
        features = decoder_features
        if self.SEPARABLE:
            self.pyramid: nnx.Module = dilax.nn.ASPP(
                wide, features, (3, 3), kernel_dilation=pyramid_dilation, rngs=rngs
            )
        else:
            self.pyramid = DenseASPP(wide, features, kernel_dilation=pyramid_dilation, rngs=rngs)
        self.to_quarter = self._block(features + quarter, features, rngs=rngs)
        self.to_half = self._block(features + half, features, rngs=rngs)
        self.narrow = dilax.nn.Conv(features, fine_features, (1, 1), rngs=rngs)
        self.to_whole = self._block(fine_features + in_features, fine_features, rngs=rngs)
        self.head = dilax.nn.Conv(fine_features, classes, (1, 1), rngs=rngs)

    def _block(self, in_features: int, out_features: int, *, rngs: nnx.Rngs, **options: int) -> Any:
        return make_block(in_features, out_features, separable=self.SEPARABLE, rngs=rngs, **options)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        half = self.stem(images)
        layers = {"stem": half}
        stages = {"quarter": self.quarter, "eighth": self.eighth, "dilated": self.dilated}
        x = half
        for name, blocks in stages.items():
            for place, block in enumerate(blocks, start=1):
                x = layers[f"{name}_{place}"] = block(x)
        x = layers["pyramid"] = self.pyramid(x)
        x = layers["decoder_quarter"] = self.to_quarter(_joined(x, layers["quarter_2"]))
        x = layers["decoder_half"] = self.to_half(_joined(x, half))
        x = layers["decoder_whole"] = self.to_whole(_joined(self.narrow(x), images))
        layers["logits"] = self.head(x)
        return layers


class DeepLabDense(DeepLabDSDC):
    """The dense twin of ``DeepLabDSDC``: equal widths, dense convolutions: 623,395 parameters.

    Args:
        classes: Number of classes, the background included.
        in_features: Channels of the images.
        widths: Features at strides 2, 4 and 8, and of the dilated blocks.
        kernel_dilation: Dilation of each block of the last stage.
        pyramid_dilation: Dilation of each dilated branch of the pyramid.
        decoder_features: Features of the pyramid and of the decoder at strides 4 and 2.
        fine_features: Features of the decoder at the size of the image.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: as ``DeepLabDSDC``.

    >>> from flax import nnx
    >>> images = jnp.ones((8, 50, 70, 1))
    >>> nnx.eval_shape(lambda: DeepLabDense(rngs=nnx.Rngs(0))(images)).shape
    (8, 50, 70, 11)
    """

    SEPARABLE = False


def make_block(
    in_features: int,
    out_features: int,
    *,
    separable: bool,
    rngs: nnx.Rngs,
    **options: Any,
) -> nnx.Module:
    """Create a 3x3 block with batch normalisation and ReLU, separable or dense."""
    if separable:
        return dilax.nn.SeparableBlock(
            in_features, out_features, (3, 3), momentum=MOMENTUM, rngs=rngs, **options
        )
    return DenseBlock(in_features, out_features, (3, 3), rngs=rngs, **options)


def resize(x: jax.Array, like: jax.Array) -> jax.Array:
    """Resize ``(N, h, w, C)`` bilinearly to the height and width of ``like``.

    >>> resize(jnp.ones((1, 4, 4, 8)), jnp.ones((1, 8, 8, 3))).shape
    (1, 8, 8, 8)
    """
    shape = (x.shape[0], *like.shape[1:3], x.shape[-1])
    return jax.image.resize(x, shape, "bilinear")


def _joined(coarse: jax.Array, fine: jax.Array) -> jax.Array:
    return jnp.concatenate([resize(coarse, fine), fine], axis=-1)


def _pairs(blocks: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(blocks[::2], blocks[1::2], strict=True))

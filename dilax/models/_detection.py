"""Networks that find objects by their centres: separable dilated blocks, and a dense twin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import dilax
from dilax.models._classifier import schedule
from dilax.models._segmentation import DenseBlock, make_block, resize

PRIOR = 0.1
"""Probability of an object at each place before training, which keeps the first losses small."""


class Detector(nnx.Module):
    """Maps normalised images ``(N, H, W, C)`` of any size to what is at each place of a grid.

    The result has ``heat`` ``(N, h, w, classes)``, logits of an object of a class having its centre
    at the place; ``size`` ``(N, h, w, 2)``, its height and width; and ``offset`` ``(N, h, w, 2)``,
    from the place to its centre, down and to the right; both in units of ``GRID`` pixels.
    """

    GRID: int = 4
    """Pixels between neighbouring places."""
    STRIDE: int = 8
    """Pixels between neighbouring entries of the coarsest layer: images are padded with zeros, at
    the bottom and on the right, to a multiple of it."""

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """Map images ``(N, H, W, C)`` to heat, size and offset at each place.

        Raises:
            ValueError: Images have other axes, such as one image without a batch axis.
        """
        if images.ndim != 4:
            fix = "; one image is a batch of one: images[None]" if images.ndim == 3 else ""
            raise ValueError(f"images must have shape (N, H, W, C), got {images.shape}{fix}.")
        below, beside = -images.shape[1] % self.STRIDE, -images.shape[2] % self.STRIDE
        if below or beside:
            images = jnp.pad(images, ((0, 0), (0, below), (0, beside), (0, 0)))
        layers = self.activations(images)
        return {name: layers[name] for name in ("heat", "size", "offset")}

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; height and width are multiples of
        ``STRIDE``.
        """
        raise NotImplementedError


class CentersDSDC(Detector):
    """A detector of separable blocks, dilated at stride 8: 62,446 parameters.

    A dense 3x3 stem of stride 2, then separable 3x3 blocks, of which two more halve the image; the
    last stage is dilated by ``kernel_dilation`` in place of further strides. Its features are
    resized to stride 4 and joined to those there, and two separable blocks mix them. A 1x1
    convolution gives heat, size and offset.

    Args:
        classes: Number of classes.
        in_features: Channels of the images.
        widths: Features at strides 2, 4 and 8, and of the dilated blocks.
        kernel_dilation: Dilation of each block of the last stage.
        head_features: Features of the blocks at stride 4 that the heads read.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: X. Zhou et al., "Objects as Points", 2019; the dilated stage is that of F. Yu et al.,
    "Dilated residual networks", 2017.

    >>> from flax import nnx
    >>> images = jnp.ones((8, 50, 70, 1))
    >>> found = nnx.eval_shape(lambda: CentersDSDC(rngs=nnx.Rngs(0))(images))
    >>> found["heat"].shape, found["size"].shape
    ((8, 14, 18, 10), (8, 14, 18, 2))
    """

    SEPARABLE: bool = True

    def __init__(
        self,
        *,
        classes: int = 10,
        in_features: int = 1,
        widths: Sequence[int] = (16, 32, 64, 96),
        kernel_dilation: Sequence[int] = (1, 2, 3, 1),
        head_features: int = 64,
        rngs: nnx.Rngs,
    ) -> None:
        half, quarter, eighth, wide = schedule(widths, 4, "widths")
        dilations = schedule(kernel_dilation, len(kernel_dilation))
        self.stem = DenseBlock(in_features, half, (3, 3), strides=2, rngs=rngs)
        self.quarter = nnx.data(self._stage(half, quarter, rngs))
        self.eighth = nnx.data(self._stage(quarter, eighth, rngs))
        inputs = [eighth, *[wide] * (len(dilations) - 1)]
        dilated = [
            self._block(features, wide, kernel_dilation=each, residual=features == wide, rngs=rngs)
            for features, each in zip(inputs, dilations, strict=True)
        ]
        self.dilated = nnx.data(dilated)
        self.joined = self._block(wide + quarter, head_features, rngs=rngs)
        self.mixed = self._block(head_features, head_features, residual=True, rngs=rngs)
        prior = jnp.full(classes, -math.log(1 / PRIOR - 1))
        self.heat = dilax.nn.Conv(
            head_features, classes, (1, 1), bias_init=lambda *_: prior, rngs=rngs
        )
        self.box = dilax.nn.Conv(head_features, 4, (1, 1), rngs=rngs)

    def _stage(self, in_features: int, out_features: int, rngs: nnx.Rngs) -> list[Any]:
        return [
            self._block(in_features, out_features, strides=2, rngs=rngs),
            self._block(out_features, out_features, residual=True, rngs=rngs),
        ]

    def _block(self, in_features: int, out_features: int, **options: Any) -> Any:
        return make_block(in_features, out_features, separable=self.SEPARABLE, **options)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order."""
        x = self.stem(images)
        layers = {"stem": x}
        stages = {"quarter": self.quarter, "eighth": self.eighth, "dilated": self.dilated}
        for name, blocks in stages.items():
            for place, block in enumerate(blocks, start=1):
                x = layers[f"{name}_{place}"] = block(x)
        fine = layers["quarter_2"]
        x = self.joined(jnp.concatenate([resize(x, fine), fine], axis=-1))
        x = layers["mixed"] = self.mixed(x)
        box = self.box(x)
        layers["heat"] = self.heat(x)
        layers["size"], layers["offset"] = box[..., :2], box[..., 2:]
        return layers


class CentersDense(CentersDSDC):
    """The dense twin of ``CentersDSDC``: equal widths, dense convolutions: 486,334 parameters.

    Args:
        classes: Number of classes.
        in_features: Channels of the images.
        widths: Features at strides 2, 4 and 8, and of the dilated blocks.
        kernel_dilation: Dilation of each block of the last stage.
        head_features: Features of the blocks at stride 4 that the heads read.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: as ``CentersDSDC``.

    >>> from flax import nnx
    >>> images = jnp.ones((8, 50, 70, 1))
    >>> nnx.eval_shape(lambda: CentersDense(rngs=nnx.Rngs(0))(images))["heat"].shape
    (8, 14, 18, 10)
    """

    SEPARABLE = False

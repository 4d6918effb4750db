"""Networks that classify clips: separable dilated blocks over time and space, and their twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

import dilax
from dilax._checks import check_instance
from dilax.models._classifier import MOMENTUM, Linear, schedule
from dilax.models._segmentation import DenseBlock


class VideoClassifier(nnx.Module):
    """Maps normalised clips ``(N, T, H, W, C)``, of ``T`` frames, to logits ``(N, classes)``."""

    def activations(self, clips: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        raise NotImplementedError

    def __call__(self, clips: jax.Array) -> jax.Array:
        """Map clips ``(N, T, H, W, C)`` to logits ``(N, classes)``.

        Raises:
            ValueError: Clips have other axes, such as one clip without a batch axis.
        """
        if clips.ndim != 5:
            fix = "; one clip is a batch of one: clips[None]" if clips.ndim == 4 else ""
            raise ValueError(f"clips must have shape (N, T, H, W, C), got {clips.shape}{fix}.")
        return self.activations(clips)["logits"]


class VideoBlock(nnx.Module):
    """``relu(norm(pointwise(depthwise(x))))`` over time and space, and ``x`` added if ``residual``.

    Args:
        in_features: Features of the input.
        out_features: Features of the output.
        kernel_size: Entries of the depthwise kernel along time, height and width.
        strides: Entries between neighbouring outputs along these axes.
        kernel_dilation: Entries between neighbouring taps along these axes.
        factorised: Whether a kernel over space and then one over time take the place of one over
            both: (2+1)-D.
        residual: Whether to add the input to the output.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> block = VideoBlock(16, 24, (3, 3, 3), factorised=True, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 6, 8, 8, 16))).shape
    (2, 6, 8, 8, 24)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: tuple[int, int, int],
        *,
        strides: tuple[int, int, int] = (1, 1, 1),
        kernel_dilation: int = 1,
        factorised: bool = False,
        residual: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.factorised, self.residual = factorised, residual
        if factorised:
            self.spatial = dilax.nn.DepthwiseConv(
                in_features,
                (1, *kernel_size[1:]),
                (1, *strides[1:]),
                kernel_dilation=kernel_dilation,
                use_bias=False,
                rngs=rngs,
            )
            kernel_size, strides = (kernel_size[0], 1, 1), (strides[0], 1, 1)
        self.block = dilax.nn.SeparableBlock(
            in_features,
            out_features,
            kernel_size,
            strides,
            kernel_dilation=kernel_dilation,
            momentum=MOMENTUM,
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, H, W, in_features)`` to ``(N, T, H, W, out_features)`` by the strides."""
        y = self.block(self.spatial(x) if self.factorised else x)
        return x + y if self.residual else y


class VideoDSDC(VideoClassifier):
    """Separable dilated blocks over time and space: 23,018 parameters.

    A dense 3x3x3 stem halves height and width, and so does the first separable 3x3x3 block; the
    second one sets the width. The others are dilated by ``kernel_dilation`` along time, height and
    width alike, and add their input. Every layer keeps all frames; the mean over time and space
    leads to the classes. 17,707,648 multiply-adds for 12 frames of 32x32 pixels; a clip may have
    any number of frames, and any size.

    Args:
        classes: Number of logits.
        in_features: Channels of the frames.
        widths: Features of the stem, of the first block, and of the others.
        kernel_dilation: Dilation of each residual block.
        factorised: Whether each depthwise 3x3x3 kernel is one of 1x3x3 and then one of 3x1x1.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: convolution over time: D. Tran et al., "Learning Spatiotemporal Features with 3D
    Convolutional Networks" (C3D), 2015, and J. Carreira and A. Zisserman, "Quo Vadis, Action
    Recognition?" (I3D), 2017; the (2+1)-D form: D. Tran et al., "A Closer Look at Spatiotemporal
    Convolutions for Action Recognition", 2018; depthwise kernels over time: D. Tran et al., "Video
    Classification with Channel-Separated Convolutional Networks", 2019.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> clips = jnp.ones((8, 12, 32, 32, 1))
    >>> nnx.eval_shape(lambda: VideoDSDC(rngs=nnx.Rngs(0))(clips)).shape
    (8, 10)
    """

    SEPARABLE: bool = True
    FRAMES: int = 3
    """Entries of each kernel along time."""
    FACTORS: bool = True
    """Whether ``factorised`` means anything."""

    def __init__(
        self,
        *,
        classes: int = 10,
        in_features: int = 1,
        widths: Sequence[int] = (16, 32, 64),
        kernel_dilation: Sequence[int] = (1, 2, 1),
        factorised: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        stem, first, wide = schedule(widths, 3, "widths")
        dilations = schedule(kernel_dilation, len(kernel_dilation))
        check_instance(factorised, bool, "factorised")
        if factorised and not self.FACTORS:
            raise ValueError(
                "factorised must be False for a network without depthwise kernels over time and "
                f"space, got {factorised}."
            )
        self.factorised = factorised
        kernel = (self.FRAMES, 3, 3)
        self.stem = DenseBlock(in_features, stem, kernel, strides=(1, 2, 2), rngs=rngs)
        blocks = [
            self._block(stem, first, strides=(1, 2, 2), rngs=rngs),
            self._block(first, wide, rngs=rngs),
        ]
        blocks += [
            self._block(wide, wide, kernel_dilation=each, residual=True, rngs=rngs)
            for each in dilations
        ]
        self.blocks = nnx.data(blocks)
        self.head = Linear(wide, classes, rngs=rngs)

    def _block(self, in_features: int, out_features: int, **options: Any) -> nnx.Module:
        kernel = (self.FRAMES, 3, 3)
        if not self.SEPARABLE:
            return DenseBlock(in_features, out_features, kernel, **options)
        return VideoBlock(in_features, out_features, kernel, factorised=self.factorised, **options)

    def activations(self, clips: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        x = self.stem(clips)
        layers = {"stem": x}
        for place, block in enumerate(self.blocks, start=1):
            x = layers[f"block_{place}"] = block(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2, 3)))
        return layers


class VideoDense(VideoDSDC):
    """The dense twin of ``VideoDSDC``: equal widths, dense 3x3x3 convolutions: 402,586 parameters.

    Args:
        classes: Number of logits.
        in_features: Channels of the frames.
        widths: Features of the stem, of the first block, and of the others.
        kernel_dilation: Dilation of each residual block.
        factorised: Must be False: dense kernels stay whole.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: as ``VideoDSDC``.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> clips = jnp.ones((8, 12, 32, 32, 1))
    >>> nnx.eval_shape(lambda: VideoDense(rngs=nnx.Rngs(0))(clips)).shape
    (8, 10)
    """

    SEPARABLE = False
    FACTORS = False


class VideoFrame(VideoDSDC):
    """``VideoDSDC`` of the frame in the middle of a clip alone: 18,410 parameters.

    Its kernels have one entry along time. What it finds needs no motion.

    Args:
        classes: Number of logits.
        in_features: Channels of the frames.
        widths: Features of the stem, of the first block, and of the others.
        kernel_dilation: Dilation of each residual block.
        factorised: Must be False: along time there is nothing to factorise.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: as ``VideoDSDC``.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> clips = jnp.ones((8, 12, 32, 32, 1))
    >>> nnx.eval_shape(lambda: VideoFrame(rngs=nnx.Rngs(0))(clips)).shape
    (8, 10)
    """

    FRAMES = 1
    FACTORS = False

    def activations(self, clips: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        middle = clips.shape[1] // 2
        return super().activations(clips[:, middle : middle + 1])

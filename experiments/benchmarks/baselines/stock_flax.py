"""``mnist_dsdc`` of stock Flax layers: ``nnx.Conv``, ``nnx.BatchNorm``, ``nnx.max_pool``."""

import jax
from flax import nnx
from jax import Array

from dilax.models import MnistDSDC
from dilax.nn import SeparableBlock


class Block(nnx.Module):
    """A separable block: depthwise and 1x1 convolution, batch normalisation, ReLU, residual."""

    def __init__(self, block: SeparableBlock, rngs: nnx.Rngs) -> None:
        height, width, _, features = block.depthwise_kernel[...].shape
        out_features = block.pointwise_kernel[...].shape[-1]
        self.depthwise = nnx.Conv(
            features,
            features,
            (height, width),
            block.strides,
            kernel_dilation=block.kernel_dilation,
            feature_group_count=features,
            use_bias=False,
            rngs=rngs,
        )
        self.pointwise = nnx.Conv(features, out_features, (1, 1), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(out_features, momentum=block.momentum, rngs=rngs)
        self.depthwise.kernel[...] = block.depthwise_kernel[...]
        self.pointwise.kernel[...] = block.pointwise_kernel[...][None, None]
        for name in ("scale", "bias", "mean", "var"):
            getattr(self.norm, name)[...] = getattr(block, name)[...]
        self.residual = block.residual

    def __call__(self, x: Array) -> Array:
        """Map ``(N, H, W, C)`` to ``(N, H, W, out_features)``."""
        y = jax.nn.relu(self.norm(self.pointwise(self.depthwise(x))))
        return y + x if self.residual else y


class StockMnistDSDC(nnx.Module):
    """``mnist_dsdc`` of stock Flax layers, with copies of the parameters of ``model``."""

    def __init__(self, model: MnistDSDC) -> None:
        rngs = nnx.Rngs(0)
        height, width, features, out_features = model.stem.kernel[...].shape
        self.stem = nnx.Conv(
            features,
            out_features,
            (height, width),
            model.stem.strides,
            padding=model.stem.padding,
            use_bias=False,
            rngs=rngs,
        )
        self.stem_norm = nnx.BatchNorm(out_features, momentum=model.stem_norm.momentum, rngs=rngs)
        self.blocks = nnx.data([Block(block, rngs) for block in model.blocks])
        self.head = nnx.Linear(model.head.in_features, model.head.out_features, rngs=rngs)
        for name in ("stem", "stem_norm", "head"):
            nnx.update(getattr(self, name), nnx.state(getattr(model, name)))
        self.pooled_block = model.POOLED_BLOCK

    def __call__(self, images: Array) -> Array:
        """Map images ``(N, H, W, C)`` to logits ``(N, classes)``."""
        pooled = nnx.max_pool(self.stem(images), (2, 2), strides=(2, 2))
        x = jax.nn.relu(self.stem_norm(pooled))
        for place, block in enumerate(self.blocks):
            if place == self.pooled_block:
                x = nnx.max_pool(x, (2, 2), strides=(2, 2))
            x = block(x)
        return self.head(x.mean(axis=(1, 2)))

"""A residual network of 50 separable blocks of 16 features, in dilax and in stock Flax."""

from collections.abc import Iterable

import jax
from flax import nnx

from baselines.stock_flax import Block
from dilax.nn import SeparableBlock


class FiftyBlocks(nnx.Module):
    """Residual separable blocks of dilation 1, 2, 3, 1, 2, 3, ...

    Args:
        depth: Number of blocks.
        rngs: Source of keys.
    """

    def __init__(self, depth: int = 50, *, rngs: nnx.Rngs) -> None:
        self.blocks: Iterable = nnx.data(
            [
                SeparableBlock(
                    16, 16, (3, 3), kernel_dilation=1 + place % 3, residual=True, rngs=rngs
                )
                for place in range(depth)
            ]
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, 16)`` to the same shape."""
        for block in self.blocks:
            x = block(x)
        return x


class StockFiftyBlocks(FiftyBlocks):
    """``FiftyBlocks`` of stock Flax layers, with copies of the parameters of ``model``."""

    def __init__(self, model: FiftyBlocks) -> None:
        self.blocks = nnx.data([Block(block, nnx.Rngs(0)) for block in model.blocks])

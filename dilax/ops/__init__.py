"""What people call: pure functions over arrays, batch axes first and features last."""

from dilax.ops._blocks import (
    Activation,
    BatchNormParams,
    DilatedBlockParams,
    SeparableBlockParams,
    batch_norm,
    dilated_block,
    separable_block,
)
from dilax.ops._conv import conv
from dilax.ops._drop_in import conv_general_dilated
from dilax.ops._pool import avg_pool, max_pool
from dilax.ops._separable import depthwise_conv, pointwise_conv, separable_conv

__all__ = [
    # convolution
    "conv",
    "depthwise_conv",
    "pointwise_conv",
    "separable_conv",
    # lax's own signature
    "conv_general_dilated",
    # pooling
    "avg_pool",
    "max_pool",
    # blocks
    "Activation",
    "BatchNormParams",
    "DilatedBlockParams",
    "SeparableBlockParams",
    "batch_norm",
    "dilated_block",
    "separable_block",
]

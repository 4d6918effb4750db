"""The public functions of arrays, with batch axes first and features last."""

from dilax._functions.blocks import (
    Activation,
    BatchNormParams,
    DilatedBlockParams,
    SeparableBlockParams,
    batch_norm,
    dilated_block,
    separable_block,
)
from dilax._functions.convolution import conv
from dilax._functions.drop_in import conv_general_dilated
from dilax._functions.pooling import avg_pool, max_pool
from dilax._functions.separable import depthwise_conv, pointwise_conv, separable_conv
from dilax._functions.using import using

__all__ = [
    # convolution
    "conv",
    "depthwise_conv",
    "pointwise_conv",
    "separable_conv",
    # drop-in for lax
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
    # the algorithm of all
    "using",
]

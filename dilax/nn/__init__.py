"""Flax NNX modules: parameters and names; the mathematics is in `dilax.ops`."""

from dilax.nn._blocks import SeparableBlock
from dilax.nn._conv import Conv, DepthwiseConv, SeparableConv

__all__ = [
    # convolution
    "Conv",
    "DepthwiseConv",
    "SeparableConv",
    # blocks
    "SeparableBlock",
]

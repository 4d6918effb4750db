"""Flax NNX modules: they hold parameters, and call the functions of dilax on them."""

from dilax.nn._blocks import ParallelDepthwiseConv, SeparableBlock
from dilax.nn._conv import Conv, DepthwiseConv, SeparableConv
from dilax.nn._filters import (
    InteractingDepthwiseConv,
    LearnedDepthwiseConv,
    RandomDepthwiseConv,
    SmoothedDepthwiseConv,
)
from dilax.nn._norm import BatchNorm
from dilax.nn._pyramids import ASPP, EESP

__all__ = [
    # convolution
    "Conv",
    "DepthwiseConv",
    "SeparableConv",
    # normalisation
    "BatchNorm",
    # blocks
    "SeparableBlock",
    # degridding replacements for a dilated depthwise convolution
    "InteractingDepthwiseConv",
    "LearnedDepthwiseConv",
    "ParallelDepthwiseConv",
    "RandomDepthwiseConv",
    "SmoothedDepthwiseConv",
    # several dilations at once
    "ASPP",
    "EESP",
]

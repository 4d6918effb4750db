"""What a network sees and costs: receptive field, gridding, and the price of every layer."""

from dilax.analysis.cost import multiply_adds, parameter_count
from dilax.analysis.gridding import Coverage, coverage, hybrid_dilation
from dilax.analysis.layers import Layer, StackField, stack_receptive_field

__all__ = [
    # a stack of layers, in integers
    "Layer",
    "StackField",
    "stack_receptive_field",
    # gridding
    "Coverage",
    "coverage",
    "hybrid_dilation",
    # cost
    "multiply_adds",
    "parameter_count",
]

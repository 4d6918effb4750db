"""What a network sees and costs: receptive field, gridding, and the price of every layer."""

from dilax.analysis import pictures
from dilax.analysis._cost import Cost, LayerCost, cost, multiply_adds, parameter_count
from dilax.analysis._effective import EffectiveField, effective_receptive_field
from dilax.analysis._gridding import Coverage, coverage, hybrid_dilation
from dilax.analysis._layers import Layer, StackField, stack_receptive_field
from dilax.analysis._receptive_field import ArrayField, ReceptiveField, receptive_field
from dilax.analysis._summary import AxisField

__all__ = [
    # the receptive field of any function
    "ArrayField",
    "AxisField",
    "ReceptiveField",
    "receptive_field",
    # a stack of layers, in integers
    "Layer",
    "StackField",
    "stack_receptive_field",
    # gridding
    "Coverage",
    "coverage",
    "hybrid_dilation",
    # how much each input weighs
    "EffectiveField",
    "effective_receptive_field",
    # cost
    "Cost",
    "LayerCost",
    "cost",
    "multiply_adds",
    "parameter_count",
    # pictures of all this
    "pictures",
]

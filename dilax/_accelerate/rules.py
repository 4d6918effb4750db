"""The table of rules, by the names of primitives."""

from __future__ import annotations

from dilax._accelerate.convolutions import convolution
from dilax._accelerate.pools import largest, largest_gradient, summed
from dilax._accelerate.rule import Rule

RULES: dict[str, Rule] = {
    "conv_general_dilated": convolution,
    "reduce_window_max": largest,
    "select_and_scatter_add": largest_gradient,
    # Looked at to be listed, and left.
    "reduce_window_sum": summed,
    "reduce_window_min": summed,
    "reduce_window": summed,
}

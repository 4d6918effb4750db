"""What a network does and costs, read off any JAX function."""

from dilax.analysis.cost import multiply_adds, parameter_count

__all__ = [
    # cost
    "multiply_adds",
    "parameter_count",
]

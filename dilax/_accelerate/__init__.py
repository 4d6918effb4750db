"""Any JAX program, unchanged, with its convolutions and pools computed faster.

A program is traced, rewritten equation by equation after a table of rules, and run.
"""

from dilax._accelerate.explain import Explanation, Finding, explain
from dilax._accelerate.transformation import accelerate

__all__ = [
    # the transformation
    "accelerate",
    # what it does
    "Explanation",
    "Finding",
    "explain",
]

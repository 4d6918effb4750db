"""Any JAX program, unchanged, with its convolutions and pools computed faster.

A program is traced, rewritten equation by equation after a table of rules, and run.
"""

from dilax.rewriting._accelerate import accelerate
from dilax.rewriting._explain import Explanation, Finding, explain

__all__ = [
    # the transformation
    "accelerate",
    # what it does
    "Explanation",
    "Finding",
    "explain",
]

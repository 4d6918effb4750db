"""``accelerate`` and ``explain``: replace the convolutions and pools of any JAX function.

The function is traced, its equations are rewritten by a table of rules, and the result is run.
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

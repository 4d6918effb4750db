"""What a traced program holds, for tests that ask whether something was replaced."""

from collections import Counter

import jax

from dilax.rewriting._internals import equations
from dilax.rewriting._rewriter import REPLACED, inner_programs

CALLS = ("jit", "pjit")
"""Not counted: newer JAX keeps the call of an accelerated function, older puts its body there."""


def operations(fn, *args) -> Counter:
    """How often each primitive occurs, however deep; a replacement counts by its name, whole."""
    return count(jax.make_jaxpr(fn)(*args))


def count(program) -> Counter:
    total: Counter = Counter()
    for equation in equations(program):
        name = str(equation.params.get("name", ""))
        if name.startswith(REPLACED):
            total[name] += 1
            continue
        if equation.primitive.name not in CALLS:
            total[equation.primitive.name] += 1
        for inner in inner_programs(equation):
            total += count(inner)
    return total

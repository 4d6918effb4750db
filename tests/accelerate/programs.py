"""Programs to rewrite, and what a traced program holds: was something replaced?"""

from collections import Counter

import jax
import jax.numpy as jnp
from jax import lax

from dilax._accelerate.internals import equations
from dilax._accelerate.replacing import REPLACED
from dilax._jaxprs import inner_programs

CALLS = ("jit", "pjit")
"""Not counted: newer JAX keeps the call of an accelerated function, older puts its body there."""


def conv(x, kernel):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 2),
        ((1, 0), (2, 1)),
        rhs_dilation=(2, 1),
        feature_group_count=3,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def pooled(x, kernel):
    y = conv(x, kernel)
    return lax.reduce_window(
        y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 2, 1), ((0, 0), (1, 0), (0, 0), (0, 0))
    )


def loss_of(f):
    return lambda *operands: sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(f(*operands)))


def gradient(f):
    return jax.value_and_grad(loss_of(f), (0, 1))


def operations(function, *args) -> Counter:
    """How often each primitive occurs, however deep; a replacement counts by its name, whole."""
    return count(jax.make_jaxpr(function)(*args))


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

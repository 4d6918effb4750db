"""The transformation of programs, given no program."""

from typing import Any

import jax.numpy as jnp
import numpy as np

import dilax
from tests.malformed import values
from tests.malformed.answers import floats
from tests.malformed.calls import Call, answered


def doubled(x: Any) -> Any:
    return jnp.add(jnp.asarray(x), jnp.asarray(x))


x = floats(2, 3)

CALLS = {
    "accelerate": Call(
        lambda fn: dilax.accelerate(fn)(x),
        {"fn": doubled},
        {"fn": values.no_functions()},
        lambda fn: 2 * x,
    ),
    "explain": Call(
        lambda fn: len(dilax.explain(fn, x).findings),
        {"fn": doubled},
        {"fn": values.no_functions()},
        lambda fn: 0 * np.size(x),
    ),
}

test_malformed_arguments_are_answered = answered(CALLS)

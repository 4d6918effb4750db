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
        lambda function: dilax.accelerate(function)(x),
        {"function": doubled},
        {"function": values.no_functions()},
        lambda function: 2 * x,
    ),
    "explain": Call(
        lambda function: len(dilax.explain(function, x).findings),
        {"function": doubled},
        {"function": values.no_functions()},
        lambda function: 0 * np.size(x),
    ),
}

test_malformed_arguments_are_answered = answered(CALLS)

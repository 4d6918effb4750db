"""Random arrays for tests: the same ones in a test, whichever tests ran before it."""

import jax
import jax.numpy as jnp
import numpy as np

RANDOM = np.random.default_rng(0)
_START = RANDOM.bit_generator.state


def draw(*shape: int, low: float = -1.0, high: float = 1.0, dtype: type = np.float32) -> jax.Array:
    """An array of numbers between two bounds."""
    return jnp.asarray(RANDOM.uniform(low, high, shape), dtype)


def restart() -> None:
    """Let the next array be the first again."""
    RANDOM.bit_generator.state = _START

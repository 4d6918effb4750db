"""Operands of the programs, in double precision."""

import jax.numpy as jnp
import pytest

from tests import cases


@pytest.fixture
def operands(double):
    x, kernel = cases.draw((2, 6, 5, 3), (2, 3, 1, 6), seed=3)
    return jnp.asarray(x), jnp.asarray(kernel)

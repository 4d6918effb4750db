"""Networks for tests that need one, whatever it answers."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dilax.models import Description
from dilax.training import load_into
from tests.random_arrays import draw


def drawn_network(description: Description) -> nnx.Module:
    """The described network with arrays drawn by NumPy, which needs no compilation."""
    network = nnx.eval_shape(description.create)

    def drawn(variable: Any) -> jax.Array:
        return draw(*variable.shape, low=-0.1, high=0.1, dtype=variable.dtype)

    params, statistics = (
        jax.tree.map(drawn, nnx.to_pure_dict(nnx.state(network, kind)))
        for kind in (nnx.Param, nnx.BatchStat)
    )
    load_into(network, params, jax.tree.map(jnp.ones_like, statistics))
    return network

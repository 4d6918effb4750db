"""Volumes are convolved plane by plane, unless the kernel is deep."""

import jax
import jax.numpy as jnp
import pytest

from dilax import algorithms
from dilax.algorithms._per_group import MOST_PLANES
from dilax.geometry import ConvGeometry


@pytest.mark.parametrize("deep", [3, MOST_PLANES, MOST_PLANES + 1])
@pytest.mark.parametrize("name", ["conv", "input_gradient", "kernel_gradient"])
def test_a_volume_is_as_many_convolutions_of_planes_as_its_kernel_is_deep(name, deep) -> None:
    geometry = ConvGeometry((20, 6, 6), (deep, 3, 3), (1, 1, 1), ((1, 1),) * 3, (1, 1, 1))
    x, kernel = jnp.zeros((2, 20, 6, 6, 4)), jnp.zeros((deep, 3, 3, 4, 5))
    g = jnp.zeros((2, *geometry.output_size, 5))
    operands = {"conv": (x, kernel), "input_gradient": (g, kernel), "kernel_gradient": (x, g)}
    run = getattr(algorithms.per_group, name)
    jaxpr = jax.make_jaxpr(lambda *arrays: run(*arrays, geometry))(*operands[name])
    ranks = [
        equation.invars[0].aval.ndim - 2
        for equation in jaxpr.eqns
        if equation.primitive.name == "conv_general_dilated"
    ]
    assert ranks == ([2] * deep if deep <= MOST_PLANES else [3])

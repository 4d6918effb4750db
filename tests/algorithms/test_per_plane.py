"""Volumes are convolved plane by plane; by default, unless the kernel is deep."""

import jax
import jax.numpy as jnp
import pytest

from dilax import algorithms
from dilax._choice import Problem, choose
from dilax.geometry import ConvGeometry


@pytest.mark.parametrize("deep", [3, 16, 17])
@pytest.mark.parametrize("name", ["conv", "input_gradient", "kernel_gradient"])
def test_a_volume_is_as_many_convolutions_of_planes_as_its_kernel_is_deep(name, deep) -> None:
    geometry = ConvGeometry((20, 6, 6), (deep, 3, 3), (1, 1, 1), ((1, 1),) * 3, (1, 1, 1))
    x, kernel = jnp.zeros((2, 20, 6, 6, 4)), jnp.zeros((deep, 3, 3, 4, 5))
    g = jnp.zeros((2, *geometry.output_size, 5))
    operands = {"conv": (x, kernel), "input_gradient": (g, kernel), "kernel_gradient": (x, g)}
    chosen = choose("cpu", name, Problem(geometry, 100, 5, 1)).algorithm
    assert deep == 3 or chosen is (algorithms.per_plane if deep <= 16 else algorithms.per_group)
    run = getattr(algorithms.per_plane, name)
    jaxpr = jax.make_jaxpr(lambda *arrays: run(*arrays, geometry))(*operands[name])
    ranks = [
        equation.invars[0].aval.ndim - 2
        for equation in jaxpr.eqns
        if equation.primitive.name == "conv_general_dilated"
    ]
    assert ranks == [2] * deep

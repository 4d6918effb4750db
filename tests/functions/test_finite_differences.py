"""Derivatives of first and second order, forward and reverse, against differences in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import dilax
from dilax import degridding

pytestmark = pytest.mark.usefixtures("double", "compile_quickly")


def draw(*shapes):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=shape)) for shape in shapes]


def separable(x, depthwise, pointwise):
    return dilax.separable_conv(x, depthwise, pointwise, kernel_dilation=2, strides=2)


def normalised(x, scale, bias):
    params = dilax.BatchNormParams(scale, bias, jnp.zeros(3), jnp.ones(3))
    return dilax.batch_norm(x, params, use_running_average=False)[0]


CASES = {
    "conv": (
        lambda x, k: dilax.conv(x, k, strides=(2, 1), kernel_dilation=(1, 2), padding="SAME"),
        (1, 5, 4, 2),
        (3, 2, 2, 3),
    ),
    "causal": (
        lambda x, k: dilax.depthwise_conv(x, k, kernel_dilation=3, padding="CAUSAL"),
        (2, 9, 2),
        (3, 1, 2),
    ),
    "3-D": (dilax.depthwise_conv, (1, 2, 3, 2, 2), (2, 2, 1, 1, 2)),
    "pointwise": (dilax.pointwise_conv, (2, 3, 4), (4, 3)),
    "separable": (separable, (1, 5, 6, 2), (3, 3, 1, 2), (2, 3)),
    "average pool": (lambda x: dilax.avg_pool(x, (2, 2), strides=2), (1, 5, 4, 2)),
    "max pool": (lambda x: dilax.max_pool(x, (3, 3), strides=2, padding="SAME"), (1, 5, 4, 2)),
    "batch normalisation": (normalised, (2, 3, 3, 3), (3,), (3,)),
    "shared kernel": (degridding.shared_conv, (1, 5, 4, 2), (3, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_limits_of_differences(name):
    function, *shapes = CASES[name]
    check_grads(jax.jit(function), draw(*shapes), order=2, modes=("fwd", "rev"), eps=1e-4)


@pytest.mark.long  # cheaply, they are compared with those of lax: test_transformations.py
@pytest.mark.parametrize(
    "algorithm", ["im2col", "lax", "per_group", "shift_and_add"], ids=lambda name: f"by {name}"
)
def test_derivatives_of_every_algorithm_are_limits_of_differences(algorithm):
    def conv(x, kernel):
        options = {"kernel_dilation": 2, "algorithm": getattr(dilax.algorithms, algorithm)}
        return dilax.depthwise_conv(x, kernel, **options)

    operands = draw((1, 5, 6, 2), (3, 3, 1, 2))
    check_grads(jax.jit(conv), operands, order=2, modes=("fwd", "rev"), eps=1e-4)

"""Modules in place of a dilated depthwise convolution: what they start as, and what they hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dilax

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

RATE = {"kernel_dilation": 2}


def plain(layer, x):
    return dilax.depthwise_conv(x, layer.kernel[...], kernel_dilation=2)


@pytest.mark.parametrize("name", ["SmoothedDepthwiseConv", "InteractingDepthwiseConv"])
def test_learned_cures_start_as_the_plain_convolution(key, name):
    layer = getattr(dilax.nn, name)(6, (3, 3), **RATE, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (2, 9, 8, 6))
    np.testing.assert_allclose(layer(x), plain(layer, x), rtol=1e-5, atol=1e-5)

    def loss(state):
        return jnp.sum(jnp.sin(nnx.merge(graphdef, state)(x)))

    graphdef, state = nnx.split(layer)
    gradient = nnx.to_pure_dict(jax.jit(jax.grad(loss))(state))
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradient))


def test_an_average_has_no_parameters(key):
    layer = dilax.nn.SmoothedDepthwiseConv(6, (3, 3), **RATE, learned=False, rngs=nnx.Rngs(0))
    assert len(jax.tree.leaves(nnx.state(layer))) == 1
    x = jax.random.normal(key, (2, 9, 8, 6))
    mean = dilax.avg_pool(x, (2, 2), padding="SAME")
    assert layer(x).shape == mean.shape == x.shape
    np.testing.assert_allclose(
        layer(x)[:, 3:5, 3:5], plain(layer, mean)[:, 3:5, 3:5], rtol=1e-5, atol=1e-5
    )


def test_random_rates_in_training_and_one_in_evaluation(key):
    layer = dilax.nn.RandomDepthwiseConv(6, (3, 3), **RATE, rates=(1, 2, 3), rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (2, 9, 8, 6))
    drawn = {float(layer(x).sum()) for _ in range(20)}
    assert len(drawn) == 3
    layer.eval()
    np.testing.assert_array_equal(layer(x), plain(layer, x))


def test_learned_positions_train(key):
    layer = dilax.nn.LearnedDepthwiseConv(6, (7, 7), taps=9, gaussian=True, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (2, 9, 8, 6))
    graphdef, state = nnx.split(layer)
    gradient = jax.grad(lambda state: jnp.sum(jnp.sin(nnx.merge(graphdef, state)(x))))(state)
    moved = nnx.to_pure_dict(gradient)
    assert all(float(jnp.abs(moved[n]).max()) > 0 for n in ("weights", "positions", "sigma"))


BRANCHES = {"kernel_sizes": [(5, 5), (3, 3), (3, 3)], "kernel_dilation": (1, 2, 3)}


def test_parallel_branches_merge_into_one_convolution(key):
    layer = dilax.nn.ParallelDepthwiseConv(6, **BRANCHES, momentum=0.5, rngs=nnx.Rngs(0))
    for step in range(5):
        layer(3 + 2 * jax.random.normal(jax.random.fold_in(key, step), (8, 9, 8, 6)))
    layer.eval()
    x = 3 + 2 * jax.random.normal(key, (2, 9, 8, 6))
    merged = layer.merged()
    assert merged.kernel[...].shape == (7, 7, 1, 6)
    np.testing.assert_allclose(merged(x), layer(x), rtol=1e-5, atol=1e-5)


def test_statistics_of_branches_move_in_training_only(key):
    layer = dilax.nn.ParallelDepthwiseConv(6, **BRANCHES, rngs=nnx.Rngs(0))
    x = 3 + jax.random.normal(key, (8, 9, 8, 6))
    layer(x)
    moved = [norm.mean[...] for norm in layer.norms]
    assert all(float(jnp.abs(mean).max()) > 0 for mean in moved)
    layer.eval()
    layer(x)
    for norm, mean in zip(layer.norms, moved, strict=True):
        np.testing.assert_array_equal(norm.mean[...], mean)

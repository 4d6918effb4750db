"""The block module against stock Flax layers, in training and in evaluation."""

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import dilax

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def stock_block(block, x, *, train):
    """The same block of stock layers holding ``block``'s parameters; its output and statistics."""
    features, out_features = block.pointwise_kernel[...].shape
    depthwise = nnx.Conv(
        features, features, (3, 3), kernel_dilation=2, feature_group_count=features,
        use_bias=False, rngs=nnx.Rngs(1),
    )  # fmt: skip
    depthwise.kernel[...] = block.depthwise_kernel[...]
    norm = nnx.BatchNorm(
        out_features, momentum=0.9, use_running_average=not train, rngs=nnx.Rngs(1)
    )
    for name in ("scale", "bias", "mean", "var"):
        getattr(norm, name)[...] = getattr(block, name)[...]
    y = jax.nn.relu(norm(depthwise(x) @ block.pointwise_kernel[...]))
    return y, norm.mean[...], norm.var[...]


@pytest.fixture
def block(key):
    block = dilax.nn.SeparableBlock(4, 6, (3, 3), kernel_dilation=2, momentum=0.9, rngs=nnx.Rngs(0))
    keys = jax.random.split(key, 4)
    for one, name in zip(keys, ("scale", "bias", "mean", "var"), strict=True):
        getattr(block, name)[...] = jax.random.uniform(one, (6,), minval=0.5, maxval=2.0)
    return block


@pytest.mark.parametrize("train", [True, False])
def test_block_is_the_stock_layers_in_a_row(key, block, train):
    x = jax.random.normal(key, (3, 9, 8, 4))
    expected = stock_block(block, x, train=train)
    block.train() if train else block.eval()
    y = block(x)
    chex.assert_trees_all_close(
        (y, block.mean[...], block.var[...]), expected, rtol=1e-4, atol=1e-4
    )


def test_evaluation_leaves_the_statistics(key, block):
    before = nnx.to_pure_dict(nnx.state(block, nnx.BatchStat))
    block.eval()
    block(jax.random.normal(key, (3, 9, 8, 4)))
    chex.assert_trees_all_equal(nnx.to_pure_dict(nnx.state(block, nnx.BatchStat)), before)


def test_residual_adds_the_input(key):
    settings = {"kernel_dilation": 2, "use_running_average": True}
    plain = dilax.nn.SeparableBlock(4, 4, (3, 3), **settings, rngs=nnx.Rngs(0))
    residual = dilax.nn.SeparableBlock(4, 4, (3, 3), residual=True, **settings, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (3, 9, 8, 4))
    chex.assert_trees_all_close(residual(x), plain(x) + x)


def test_residual_of_another_shape_is_an_error(key):
    block = dilax.nn.SeparableBlock(4, 6, (3, 3), residual=True, rngs=nnx.Rngs(0))
    with pytest.raises(
        ValueError, match=r"residual=True needs .* \(2, 8, 8, 4\), got \(2, 8, 8, 6\)"
    ):
        block(jnp.ones((2, 8, 8, 4)))


def test_block_runs_as_a_pure_function_under_jit(key, block):
    graphdef, state = nnx.split(block)

    @jax.jit
    def step(state, x):
        module = nnx.merge(graphdef, state)
        y = module(x)
        return y, nnx.state(module)

    x = jax.random.normal(key, (3, 9, 8, 4))
    y, moved = step(state, x)
    chex.assert_trees_all_close(y, block(x), rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(
        nnx.to_pure_dict(moved), nnx.to_pure_dict(nnx.state(block)), rtol=1e-5, atol=1e-5
    )

"""Blocks compared with stock Flax layers; initial values and parameters of degridding modules."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dilax

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def run(module, x):
    """The output of the module in one compiled call, and the module after the call."""
    graphdef, state = nnx.split(module)

    @jax.jit
    def call(state, x):
        module = nnx.merge(graphdef, state)
        return module(x), nnx.state(module)

    y, state = call(state, x)
    return y, nnx.merge(graphdef, state)


def statistics(module):
    return nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))


@pytest.fixture
def block(key):
    block = dilax.nn.SeparableBlock(
        4, 6, (3, 3), kernel_dilation=2, channel_multiplier=2, momentum=0.9, rngs=nnx.Rngs(0)
    )
    keys = jax.random.split(key, 4)
    for one, name in zip(keys, ("scale", "bias", "mean", "var"), strict=True):
        getattr(block, name)[...] = jax.random.uniform(one, (6,), minval=0.5, maxval=2.0)
    return block


@pytest.mark.parametrize("train", [True, False])
def test_block_is_the_stock_layers_in_a_row(key, block, train):
    x = jax.random.normal(key, (3, 9, 8, 4))
    depthwise = nnx.Conv(
        4, 8, (3, 3), kernel_dilation=2, feature_group_count=4, use_bias=False, rngs=nnx.Rngs(1)
    )
    depthwise.kernel[...] = block.depthwise_kernel[...]
    norm = nnx.BatchNorm(6, momentum=0.9, use_running_average=not train, rngs=nnx.Rngs(1))
    for name in ("scale", "bias", "mean", "var"):
        getattr(norm, name)[...] = getattr(block, name)[...]
    expected = jax.nn.relu(norm(depthwise(x) @ block.pointwise_kernel[...]))
    block.train() if train else block.eval()
    before = statistics(block)
    y, block = run(block, x)
    chex.assert_trees_all_close(y, expected, rtol=1e-4, atol=1e-4)
    moved = {"mean": norm.mean[...], "var": norm.var[...]} if train else before
    chex.assert_trees_all_close(statistics(block), moved, rtol=1e-4, atol=1e-4)


def test_residual_adds_the_input(key):
    settings = {"kernel_dilation": 2, "use_running_average": True}
    plain = dilax.nn.SeparableBlock(4, 4, (3, 3), **settings, rngs=nnx.Rngs(0))
    residual = dilax.nn.SeparableBlock(4, 4, (3, 3), residual=True, **settings, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (3, 9, 8, 4))
    chex.assert_trees_all_close(run(residual, x)[0], run(plain, x)[0] + x, rtol=1e-6, atol=1e-6)
    narrow = dilax.nn.SeparableBlock(4, 6, (3, 3), residual=True, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"residual=True needs .* \(2, 8, 8, 4\)"):
        nnx.eval_shape(narrow, jnp.ones((2, 8, 8, 4)))


def plain(layer, x):
    return dilax.depthwise_conv(x, layer.kernel[...], kernel_dilation=2)


@pytest.mark.parametrize(
    "module", [dilax.nn.SmoothedDepthwiseConv, dilax.nn.InteractingDepthwiseConv]
)
def test_learned_mixing_starts_as_the_plain_convolution_and_trains(key, module):
    layer = module(6, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (2, 9, 8, 6))
    graphdef, state = nnx.split(layer)

    def loss(state):
        y = nnx.merge(graphdef, state)(x)
        return jnp.sum(jnp.sin(y)), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(state)
    np.testing.assert_allclose(y, plain(layer, x), rtol=1e-5, atol=1e-5)
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(nnx.to_pure_dict(gradient)))


def test_an_average_has_no_parameters(key):
    layer = dilax.nn.SmoothedDepthwiseConv(
        6, (3, 3), kernel_dilation=2, learned=False, rngs=nnx.Rngs(0)
    )
    assert len(jax.tree.leaves(nnx.state(layer))) == 1
    x = jax.random.normal(key, (2, 9, 8, 6))
    mean = dilax.avg_pool(x, (2, 2), padding="SAME")
    np.testing.assert_allclose(
        run(layer, x)[0][:, 3:5, 3:5], plain(layer, mean)[:, 3:5, 3:5], rtol=1e-5, atol=1e-5
    )


def test_dilations_are_drawn_in_training_and_one_is_used_in_evaluation(key):
    layer = dilax.nn.RandomDepthwiseConv(
        6, (3, 3), kernel_dilation=2, kernel_dilation_choices=(1, 2, 3), rngs=nnx.Rngs(0)
    )
    x = jax.random.normal(key, (2, 9, 8, 6))
    graphdef, state = nnx.split(layer)

    @jax.jit
    def step(state):
        layer = nnx.merge(graphdef, state)
        return layer(x).sum(), nnx.state(layer)

    drawn = set()
    for _ in range(20):
        total, state = step(state)
        drawn.add(float(total))
    assert len(drawn) == 3
    layer.eval()
    np.testing.assert_allclose(run(layer, x)[0], plain(layer, x), rtol=1e-6, atol=1e-6)


def test_learned_positions_train(key):
    layer = dilax.nn.LearnedDepthwiseConv(6, (5, 7), taps=3, gaussian=True, rngs=nnx.Rngs(0))
    x = jax.random.normal(key, (2, 5, 4, 6))
    graphdef, state = nnx.split(layer)
    slope = jax.jit(jax.grad(lambda state: jnp.sum(jnp.sin(nnx.merge(graphdef, state)(x)))))
    gradient = nnx.to_pure_dict(slope(state))
    assert all(float(jnp.abs(gradient[n]).max()) > 0 for n in ("weights", "positions", "sigma"))


def test_parallel_branches_move_their_statistics_in_training_and_merge(key):
    layer = dilax.nn.ParallelDepthwiseConv(
        6, [(5, 5), (3, 3)], kernel_dilation=(1, 3), momentum=0.5, rngs=nnx.Rngs(0)
    )
    x = 3 + 2 * jax.random.normal(key, (4, 9, 8, 6))
    fresh = statistics(layer)
    _, layer = run(layer, x)
    for old, new in zip(jax.tree.leaves(fresh), jax.tree.leaves(statistics(layer)), strict=True):
        assert bool((old != new).all())
    layer.eval()
    y, after = run(layer, x[:2])
    chex.assert_trees_all_equal(statistics(after), statistics(layer))
    merged = layer.merged()
    assert merged.kernel[...].shape == (7, 7, 1, 6)
    np.testing.assert_allclose(run(merged, x[:2])[0], y, rtol=1e-5, atol=1e-5)

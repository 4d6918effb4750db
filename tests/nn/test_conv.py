"""Modules against stock Flax with the same parameters, and dilax inside other people's layers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import dilax

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

SETTINGS = [
    pytest.param({"kernel_dilation": 2}, id="dilated"),
    pytest.param({"strides": (2, 1), "padding": ((1, 2), (0, 3))}, id="strided"),
    pytest.param({"feature_group_count": 4, "kernel_dilation": (1, 3)}, id="depthwise"),
    pytest.param({"padding": "CIRCULAR", "use_bias": False}, id="circular"),
    pytest.param({"padding": "REFLECT", "kernel_dilation": 2}, id="reflect"),
    pytest.param({"padding": "VALID", "dtype": jnp.bfloat16}, id="bfloat16"),
]


def stock_like(layer, *args, **settings):
    """``flax.nnx.Conv`` holding ``layer``'s parameters."""
    stock = nnx.Conv(*args, **settings, rngs=nnx.Rngs(1))
    nnx.update(stock, nnx.state(layer))
    return stock


@pytest.mark.parametrize("settings", SETTINGS)
def test_conv_is_stock_conv_with_the_same_parameters(key, settings):
    x = jax.random.normal(key, (3, 9, 8, 4))
    layer = dilax.nn.Conv(4, 8, (3, 2), **settings, rngs=nnx.Rngs(0))
    stock = stock_like(layer, 4, 8, (3, 2), **settings)
    tolerance = 2e-2 if "dtype" in settings else 1e-5
    assert layer(x).dtype == stock(x).dtype
    np.testing.assert_allclose(
        layer(x).astype(jnp.float32), stock(x).astype(jnp.float32), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_conv_takes_any_number_of_batch_axes(key, batch):
    layer = dilax.nn.Conv(4, 4, (3, 3), feature_group_count=4, rngs=nnx.Rngs(0))
    stock = stock_like(layer, 4, 4, (3, 3), feature_group_count=4)
    x = jax.random.normal(key, (*batch, 6, 7, 4))
    chex.assert_trees_all_close(layer(x), stock(x), rtol=1e-5, atol=1e-5)


def test_conv_initialises_as_stock_conv():
    ours = nnx.state(dilax.nn.Conv(4, 8, (3, 3), rngs=nnx.Rngs(0)))
    theirs = nnx.state(nnx.Conv(4, 8, (3, 3), rngs=nnx.Rngs(0)))
    chex.assert_trees_all_equal(nnx.to_pure_dict(ours), nnx.to_pure_dict(theirs))


def test_depthwise_conv_is_a_grouped_stock_conv(key):
    layer = dilax.nn.DepthwiseConv(
        4, (3, 3), (2, 1), channel_multiplier=2, kernel_dilation=2, rngs=nnx.Rngs(0)
    )
    layer.bias[...] = jnp.arange(8.0)
    stock = stock_like(
        layer, 4, 8, (3, 3), strides=(2, 1), kernel_dilation=2, feature_group_count=4
    )
    x = jax.random.normal(key, (3, 9, 8, 4))
    chex.assert_trees_all_close(layer(x), stock(x), rtol=1e-5, atol=1e-5)


def test_separable_conv_is_depthwise_then_dense_of_size_one(key):
    layer = dilax.nn.SeparableConv(
        4, 6, (3,), kernel_dilation=3, padding="CAUSAL", rngs=nnx.Rngs(0)
    )
    x = jax.random.normal(key, (3, 20, 4))
    depthwise = nnx.Conv(
        4, 4, (3,), kernel_dilation=3, padding="CAUSAL", feature_group_count=4, use_bias=False,
        rngs=nnx.Rngs(1),
    )  # fmt: skip
    depthwise.kernel[...] = layer.depthwise_kernel[...]
    expected = depthwise(x) @ layer.pointwise_kernel[...] + layer.bias[...][None, None]
    chex.assert_trees_all_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("algorithm", [dilax.algorithms.lax, dilax.algorithms.shift_and_add])
def test_algorithm_given_by_value_changes_no_answer(key, algorithm):
    x = jax.random.normal(key, (2, 8, 8, 4))
    chosen = dilax.nn.Conv(4, 4, (3, 3), feature_group_count=4, rngs=nnx.Rngs(0))
    given = dilax.nn.Conv(
        4, 4, (3, 3), feature_group_count=4, algorithm=algorithm, rngs=nnx.Rngs(0)
    )
    chex.assert_trees_all_close(given(x), chosen(x), rtol=1e-5, atol=1e-5)


def test_hook_into_stock_nnx(key):
    x = jax.random.normal(key, (2, 8, 8, 4))
    settings = {"kernel_dilation": 2, "feature_group_count": 4, "rngs": nnx.Rngs(0)}
    hooked = nnx.Conv(4, 4, (3, 3), conv_general_dilated=dilax.conv_general_dilated, **settings)
    stock = stock_like(hooked, 4, 4, (3, 3), kernel_dilation=2, feature_group_count=4)
    chex.assert_trees_all_close(hooked(x), stock(x), rtol=1e-5, atol=1e-5)
    assert "dilax_conv" in str(jax.make_jaxpr(hooked)(x))


def test_hook_into_linen(key):
    x = jax.random.normal(key, (2, 8, 8, 4))
    settings = {"kernel_dilation": 2, "feature_group_count": 4}
    stock = linen.Conv(4, (3, 3), **settings)
    hooked = linen.Conv(4, (3, 3), conv_general_dilated=dilax.conv_general_dilated, **settings)
    variables = stock.init(key, x)
    chex.assert_trees_all_close(
        hooked.apply(variables, x), stock.apply(variables, x), rtol=1e-5, atol=1e-5
    )
    assert "dilax_conv" in str(jax.make_jaxpr(hooked.apply)(variables, x))

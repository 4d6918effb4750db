"""Blocks as pure functions: normalisation against its formula, statistics, axes over devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dilax

pytestmark = pytest.mark.usefixtures("compile_quickly")


def norm_params(features):
    values = np.random.default_rng(0).uniform(0.5, 2.0, (4, features))
    return dilax.BatchNormParams(*jnp.asarray(values, jnp.float32))


def normalised(x, mean, var, params, epsilon=1e-5):
    """The formula in float64 NumPy."""
    scale, bias = np.float64(params.scale), np.float64(params.bias)
    return (np.float64(x) - mean) / np.sqrt(var + epsilon) * scale + bias


@pytest.mark.parametrize("shape", [(5, 3), (2, 6, 5, 3)])
def test_batch_norm_by_running_statistics(key, shape):
    params = norm_params(3)
    x = jax.random.normal(key, shape)
    y, same = dilax.batch_norm(x, params, use_running_average=True)
    np.testing.assert_allclose(
        y,
        normalised(x, np.float64(params.mean), np.float64(params.var), params),
        rtol=1e-5,
        atol=1e-5,
    )
    chex.assert_trees_all_equal(same, params)


def test_batch_norm_by_batch_statistics(key):
    params = norm_params(3)
    x = 2 + 3 * jax.random.normal(key, (4, 6, 5, 3))
    y, moved = dilax.batch_norm(x, params, use_running_average=False, momentum=0.8)
    mean, var = np.float64(x).mean((0, 1, 2)), np.float64(x).var((0, 1, 2))
    np.testing.assert_allclose(y, normalised(x, mean, var, params), rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_equal(dilax.batch_norm(x, params, momentum=0.8), (y, moved))
    np.testing.assert_allclose(moved.mean, 0.8 * np.float64(params.mean) + 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(moved.var, 0.8 * np.float64(params.var) + 0.2 * var, rtol=1e-4)


def test_batch_norm_over_a_mapped_axis_sees_the_whole_batch(key):
    params = norm_params(3)
    x = jax.random.normal(key, (2, 4, 6, 3))
    split, moved = jax.pmap(
        lambda part: dilax.batch_norm(part, params, use_running_average=False, axis_name="d"),
        axis_name="d",
    )(x)
    whole, expected = dilax.batch_norm(x, params, use_running_average=False)
    chex.assert_trees_all_close(split, whole, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_close(jax.tree.map(lambda v: v[1], moved), expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_in_half_precision_takes_statistics_in_float32(key):
    params = norm_params(3)
    x = (100 + jax.random.normal(key, (64, 8, 8, 3))).astype(jnp.bfloat16)
    y, moved = dilax.batch_norm(x, params, use_running_average=False, momentum=0.0)
    assert y.dtype == jnp.bfloat16
    assert moved.mean.dtype == jnp.float32
    np.testing.assert_allclose(moved.mean, np.float64(x).mean((0, 1, 2)), rtol=1e-5)


def test_batch_norm_of_other_features_is_an_error(key):
    with pytest.raises(
        ValueError, match=r"params.scale is for features of shape \(3,\), x has shape"
    ):
        dilax.batch_norm(jnp.ones((2, 4)), norm_params(3))


@pytest.mark.parametrize(("residual", "train"), [(False, True), (True, False)])
def test_blocks_are_their_parts_in_a_row(key, residual, train):
    x = jax.random.normal(key, (2, 8, 7, 4))
    depthwise, pointwise = jax.random.normal(key, (3, 3, 1, 4)), jax.random.normal(key, (4, 4))
    norm = norm_params(4)
    settings = {"kernel_dilation": 2, "residual": residual, "use_running_average": not train}
    dense = dilax.dilated_block(
        x,
        dilax.DilatedBlockParams(depthwise, norm),
        feature_group_count=4,
        activation=jnp.tanh,
        **settings,
    )
    separable = dilax.separable_block(
        x, dilax.SeparableBlockParams(depthwise, pointwise, norm), activation=jnp.tanh, **settings
    )
    filtered = dilax.depthwise_conv(x, depthwise, kernel_dilation=2)
    for (y, params), before in ((dense, filtered), (separable, filtered @ pointwise)):
        expected, moved = dilax.batch_norm(before, norm, use_running_average=not train)
        expected = jnp.tanh(expected) + (x if residual else 0)
        chex.assert_trees_all_close(y, expected, rtol=1e-5, atol=1e-5)
        chex.assert_trees_all_close(params.norm, moved, rtol=1e-5, atol=1e-5)


def test_blocks_train_unless_told_otherwise(key):
    x, norm = jax.random.normal(key, (2, 5, 4)), norm_params(4)
    kernel, matrix = jnp.ones((3, 1, 4)), jnp.eye(4)
    dense = dilax.dilated_block, dilax.DilatedBlockParams(kernel, norm), {"feature_group_count": 4}
    separable = dilax.separable_block, dilax.SeparableBlockParams(kernel, matrix, norm), {}
    for block, params, options in (dense, separable):
        told = block(x, params, use_running_average=False, **options)
        chex.assert_trees_all_equal(block(x, params, **options), told)


def test_blocks_differentiate_through_batch_statistics(key):
    x = jax.random.normal(key, (3, 6, 5, 4))
    params = dilax.SeparableBlockParams(
        jax.random.normal(key, (3, 3, 1, 4)), jax.random.normal(key, (4, 6)), norm_params(6)
    )

    def loss(depthwise):
        changed = params._replace(depthwise_kernel=depthwise)
        y, _ = dilax.separable_block(x, changed, activation=jnp.tanh)
        return (y**2).sum()

    direction = jnp.ones_like(params.depthwise_kernel)
    step = 1e-2
    slope = jnp.vdot(jax.jit(jax.grad(loss))(params.depthwise_kernel), direction)
    far = [jax.jit(loss)(params.depthwise_kernel + sign * step * direction) for sign in (1, -1)]
    np.testing.assert_allclose(slope, (far[0] - far[1]) / (2 * step), rtol=2e-2)

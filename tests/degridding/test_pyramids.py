"""ESPNetv2's unit and ASPP, against stock Flax layers in a row, in training and evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dilax
from dilax import degridding

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def randomised(module, key):
    """Every parameter and statistic drawn anew, positive where it must be."""
    state = nnx.state(module, nnx.Any(nnx.Param, nnx.BatchStat))
    leaves, structure = jax.tree.flatten(state)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        jax.random.uniform(k, leaf.shape, minval=0.2, maxval=1.0)
        * jnp.where(jax.random.bernoulli(k, 0.5, leaf.shape) & (leaf.ndim > 1), -1.0, 1.0)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    nnx.update(module, jax.tree.unflatten(structure, drawn))
    return module


def stock_conv(x, kernel, *, groups=1, rate=1):
    *window, members, outputs = kernel.shape
    layer = nnx.Conv(
        members * groups, outputs, window, kernel_dilation=rate,
        feature_group_count=groups, use_bias=False, rngs=nnx.Rngs(0),
    )  # fmt: skip
    layer.kernel[...] = kernel[...]
    return layer(x)


def stock_norm(x, norm, train):
    layer = nnx.BatchNorm(
        x.shape[-1], use_running_average=not train, momentum=0.99, rngs=nnx.Rngs(0)
    )
    for name in ("scale", "bias", "mean", "var"):
        getattr(layer, name)[...] = getattr(norm, name)[...]
    return layer(x), layer.mean[...]


def prelu(x, slope):
    return jnp.where(x > 0, x, slope[...][None, None, None] * x)


def stock_eesp(unit, x, train):
    reduced, mean = stock_norm(stock_conv(x, unit.reduce_kernel, groups=2), unit.reduce_norm, train)
    reduced = prelu(reduced, unit.reduce_slope)
    first, second = (
        stock_conv(reduced, kernel, groups=4, rate=rate)
        for kernel, rate in zip(unit.branch_kernels, (1, 2), strict=True)
    )
    joined = jnp.concatenate([first, first + second], axis=-1)
    fused, _ = stock_norm(joined, unit.fused_norm, train)
    expanded = stock_conv(prelu(fused, unit.fused_slope), unit.expand_kernel, groups=2)
    expanded, _ = stock_norm(expanded, unit.expand_norm, train)
    return prelu(expanded + x, unit.slope), mean


@pytest.mark.parametrize("train", [True, False])
def test_eesp_is_its_layers_in_a_row(key, train):
    unit = randomised(dilax.nn.EESP(8, (3, 3), kernel_dilation=(1, 2), rngs=nnx.Rngs(0)), key)
    x = jax.random.normal(key, (4, 9, 8, 8))
    expected, mean = stock_eesp(unit, x, train)
    unit.train() if train else unit.eval()
    np.testing.assert_allclose(unit(x), expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(unit.reduce_norm.mean[...], mean, rtol=1e-4, atol=1e-5)


def stock_aspp(module, x, train):
    def block(x, kernel, norm):
        return jax.nn.relu(stock_norm(stock_conv(x, kernel), norm, train)[0])

    parts = [block(x, module.pointwise_kernel, module.pointwise_norm)]
    branches = zip(
        module.depthwise_kernels, module.branch_kernels, module.branch_norms, (2, 3), strict=True
    )
    for depthwise, pointwise, norm, rate in branches:
        filtered = stock_conv(x, depthwise, groups=x.shape[-1], rate=rate)
        mixed = filtered @ pointwise[...]
        parts.append(jax.nn.relu(stock_norm(mixed, norm, train)[0]))
    pooled = block(x.mean((1, 2), keepdims=True), module.pooled_kernel, module.pooled_norm)
    parts.append(jnp.broadcast_to(pooled, parts[0].shape))
    joined = jnp.concatenate(parts, axis=-1)
    return block(joined, module.projection_kernel, module.projection_norm)


@pytest.mark.parametrize("train", [True, False])
def test_aspp_is_its_layers_in_a_row(key, train):
    module = dilax.nn.ASPP(6, 5, (3, 3), kernel_dilation=(2, 3), rngs=nnx.Rngs(0))
    module = randomised(module, key)
    x = jax.random.normal(key, (4, 9, 8, 6))
    expected = stock_aspp(module, x, train)
    module.train() if train else module.eval()
    before = module.projection_norm.mean[...]
    np.testing.assert_allclose(module(x), expected, rtol=2e-3, atol=2e-3)
    assert bool((module.projection_norm.mean[...] != before).any()) == train


def test_rates_and_branches_must_be_as_many():
    unit = dilax.nn.EESP(8, (3,), kernel_dilation=(1, 2), rngs=nnx.Rngs(0))
    unit.kernel_dilation = (1, 2, 3)
    with pytest.raises(ValueError, match=r"2 branch_kernels, kernel_dilation 3 rates"):
        unit(jnp.ones((1, 5, 8)))
    module = dilax.nn.ASPP(4, 4, (3,), kernel_dilation=(1, 2), rngs=nnx.Rngs(0))
    module.kernel_dilation = (1,)
    with pytest.raises(ValueError, match=r"2 separable branches, kernel_dilation 1 rates"):
        module(jnp.ones((1, 5, 4)))


def test_features_that_cannot_be_shared_out():
    with pytest.raises(ValueError, match=r"multiple of .* 4\^2 = 16, got 24"):
        dilax.nn.EESP(24, (3, 3), kernel_dilation=(1, 2, 3, 4), rngs=nnx.Rngs(0))


def test_params_of_a_pyramid_are_pytrees(key):
    norm = dilax.BatchNormParams(jnp.ones(4), jnp.zeros(4), jnp.zeros(4), jnp.ones(4))
    block = dilax.DilatedBlockParams(jnp.ones((1, 4, 4)), norm)
    separable = dilax.SeparableBlockParams(jnp.ones((3, 1, 4)), jnp.ones((4, 4)), norm)
    params = degridding.ASPPParams(
        block, [separable], block, block._replace(kernel=jnp.ones((1, 12, 4)))
    )

    def loss(params):
        return degridding.aspp(jax.random.normal(key, (2, 7, 4)), params, kernel_dilation=[2])[
            0
        ].sum()

    gradient = jax.grad(loss)(params)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert float(jnp.abs(gradient.separable[0].depthwise_kernel).max()) > 0

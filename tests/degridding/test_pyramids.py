"""ESPNetv2's unit and ASPP against their layers in a row, in training and in evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import dilax
from dilax import degridding

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

EPSILON, MOMENTUM = 1e-3, 0.75


def randomised(module, key):
    """The module with every parameter and statistic drawn anew, positive where it must be."""
    state = nnx.state(module, nnx.Any(nnx.Param, nnx.BatchStat))
    leaves, structure = jax.tree.flatten(state)
    rng = np.random.default_rng(0)
    drawn = [
        rng.uniform(0.2, 1.0, leaf.shape)
        * (rng.choice([-1, 1], leaf.shape) if leaf.ndim > 1 else 1)
        for leaf in leaves
    ]
    drawn = [jnp.asarray(array, jnp.float32) for array in drawn]
    nnx.update(module, jax.tree.unflatten(structure, drawn))
    return module


def conv(x, kernel, *, groups=1, dilation=1):
    return lax.conv_general_dilated(
        x, kernel[...], (1, 1), "SAME", rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
    )  # fmt: skip


def normalised(x, norm, train):
    """The normalised array, and the running mean after it."""
    mean, var = norm.mean[...], norm.var[...]
    if train:
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    gain = norm.scale[...] / jnp.sqrt(var + EPSILON)
    moved = MOMENTUM * norm.mean[...] + (1 - MOMENTUM) * mean
    return (x - mean[None, None, None]) * gain[None, None, None] + norm.bias[...][
        None, None, None
    ], moved


def prelu(x, slope):
    return jnp.where(x > 0, x, slope[...][None, None, None] * x)


def eesp_by_layers(unit, x, train):
    reduced, mean = normalised(conv(x, unit.reduce_kernel, groups=2), unit.reduce_norm, train)
    reduced = prelu(reduced, unit.reduce_slope)
    first, second = (
        conv(reduced, kernel, groups=4, dilation=dilation)
        for kernel, dilation in zip(unit.branch_kernels, (1, 2), strict=True)
    )
    fused, _ = normalised(jnp.concatenate([first, first + second], -1), unit.fused_norm, train)
    expanded = conv(prelu(fused, unit.fused_slope), unit.expand_kernel, groups=2)
    expanded, _ = normalised(expanded, unit.expand_norm, train)
    return prelu(expanded + x, unit.slope), mean


def aspp_by_layers(module, x, train):
    def block(x, kernel, norm):
        y, mean = normalised(conv(x, kernel), norm, train)
        return jnp.tanh(y), mean

    parts = [block(x, module.pointwise_kernel, module.pointwise_norm)[0]]
    branches = zip(
        module.depthwise_kernels, module.branch_kernels, module.branch_norms, (2, 3), strict=True
    )
    for depthwise, pointwise, norm, dilation in branches:
        filtered = conv(x, depthwise, groups=x.shape[-1], dilation=dilation)
        parts.append(block(filtered, pointwise[...][None, None], norm)[0])
    pooled, _ = block(x.mean((1, 2), keepdims=True), module.pooled_kernel, module.pooled_norm)
    parts.append(jnp.broadcast_to(pooled, parts[0].shape))
    return block(jnp.concatenate(parts, -1), module.projection_kernel, module.projection_norm)


OPTIONS = {"epsilon": EPSILON, "momentum": MOMENTUM, "precision": "highest"}


def eesp():
    return dilax.nn.EESP(8, (3, 3), kernel_dilation=(1, 2), **OPTIONS, rngs=nnx.Rngs(0))


def aspp():
    return dilax.nn.ASPP(
        6, 5, (3, 3), kernel_dilation=(2, 3), activation=jnp.tanh, **OPTIONS, rngs=nnx.Rngs(0)
    )


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("make", "by_layers", "last_norm"),
    [(eesp, eesp_by_layers, "reduce_norm"), (aspp, aspp_by_layers, "projection_norm")],
)
def test_a_pyramid_is_its_layers_in_a_row(key, make, by_layers, last_norm, train):
    graphdef, state = nnx.split(randomised(make(), key))
    x = jax.random.normal(key, (3, 6, 5, 8 if make is eesp else 6))

    @jax.jit
    def both(state, x):
        module = nnx.merge(graphdef, state)
        expected, mean = by_layers(module, x, train)
        before = getattr(module, last_norm).mean[...]
        module.train() if train else module.eval()
        y = module(x)
        return y, getattr(module, last_norm).mean[...], expected, mean if train else before

    y, mean, expected, moved = both(state, x)
    np.testing.assert_allclose(y, expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(mean, moved, rtol=1e-4, atol=1e-5)


def test_every_branch_has_a_dilation():
    unit, module = eesp(), aspp()
    unit.kernel_dilation, module.kernel_dilation = (1, 2, 3), (1,)
    with pytest.raises(ValueError, match=r"each of the 2 branch_kernels of params, got 3"):
        unit(jnp.ones((1, 5, 5, 8)))
    with pytest.raises(ValueError, match=r"each of the 2 separable branches of params, got 1"):
        module(jnp.ones((1, 5, 5, 6)))


def test_features_that_cannot_be_shared_out():
    with pytest.raises(ValueError, match=r"in_features must be a multiple .* 4\^2 = 16, got 24"):
        dilax.nn.EESP(24, (3, 3), kernel_dilation=(1, 2, 3, 4), rngs=nnx.Rngs(0))


def test_params_of_a_pyramid_are_pytrees():
    norm = dilax.BatchNormParams(*(np.full(4, value, np.float32) for value in (1, 0, 0, 1)))
    block = dilax.DilatedBlockParams(jnp.ones((1, 4, 4)), norm)
    separable = dilax.SeparableBlockParams(jnp.ones((3, 1, 4)), jnp.ones((4, 4)), norm)
    params = degridding.ASPPParams(
        block, [separable], block, block._replace(kernel=jnp.ones((1, 12, 4)))
    )

    def loss(params):
        x = jnp.arange(56.0).reshape(2, 7, 4)
        return degridding.aspp(x, params, kernel_dilation=[2], use_running_average=True)[0].sum()

    gradient = jax.jit(jax.grad(loss))(params)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert float(jnp.abs(gradient.separable[0].depthwise_kernel).max()) > 0

"""Batch normalisation as a module: Flax's results, in all derivatives, and masks over devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dilax
from dilax._jaxprs import inner_programs, opened

pytestmark = pytest.mark.usefixtures("compile_quickly")

OPTIONS = {
    "plain": {},
    "epsilon": {"epsilon": 1e-2, "momentum": 0.7},
    "no scale": {"use_scale": False},
    "no bias": {"use_bias": False},
    "another axis": {"axis": 1},
    "half precision": {"dtype": jnp.bfloat16},
    "half precision parameters": {"param_dtype": jnp.bfloat16},
    "accurate variance": {"use_fast_variance": False},
}


def pair(features=3, **options):
    """Our module and Flax's, with equal parameters."""
    ours, stock = (
        module(features, **options, rngs=nnx.Rngs(0))
        for module in (dilax.nn.BatchNorm, nnx.BatchNorm)
    )
    rng = np.random.default_rng(0)
    for name in ("scale", "bias", "mean", "var"):
        if getattr(stock, name) is not None:
            values = jnp.asarray(rng.uniform(0.5, 2, features), getattr(stock, name)[...].dtype)
            for module in (ours, stock):
                getattr(module, name)[...] = values
    return ours, stock


def statistics(module):
    return module.mean[...], module.var[...]


def masks(x):
    """No mask, and one for padding at the end of each example."""
    lengths = np.arange(1, x.shape[0] + 1)
    return None, (np.arange(x.shape[1]) < lengths[:, None]).reshape(*x.shape[:2], 1, 1)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_outputs_and_statistics_are_those_of_flax(key, options, running):
    x = 2 + jax.random.normal(key, (3, 3, 4, 3))
    for mask in masks(x):
        ours, stock = pair(**options)
        y, expected = (module(x, running, mask=mask) for module in (ours, stock))
        assert y.dtype == expected.dtype
        chex.assert_trees_all_close(y, expected, rtol=1e-4, atol=1e-4)
        chex.assert_trees_all_close(statistics(ours), statistics(stock), rtol=1e-5, atol=1e-5)


def test_a_module_says_at_once_that_nothing_says_which_statistics(key):
    ours, _ = pair(use_running_average=None)
    with pytest.raises(ValueError, match="use_running_average"):
        ours(jnp.ones((2, 3)))


def reference(x, scale, bias, mask, epsilon=1e-5):
    """The formula, of mean and variance in two passes."""
    counted = jnp.broadcast_to(True if mask is None else mask, x.shape)
    options = {"axis": tuple(range(x.ndim - 1)), "where": counted, "keepdims": True}
    mean = jnp.mean(x, **options)
    var = jnp.mean((x - mean) ** 2, **options)
    with jax.numpy_rank_promotion("allow"):
        return (x - mean) / jnp.sqrt(var + epsilon) * scale + bias


def test_all_derivatives_are_those_of_the_formula_in_float64(key):
    """Forward and backward, first and second, of the input, scale and bias."""
    x = 3 + jax.random.normal(key, (3, 4, 2, 3))
    scale, bias, weights = jnp.arange(1.0, 4), jnp.ones(3), jax.random.normal(key, (3, 4, 2, 3))
    zeros, ones = jnp.zeros(3), jnp.ones(3)
    for mask in masks(x):

        def ours(x, scale, bias, mask=mask):
            params = dilax.BatchNormParams(scale, bias, zeros, ones)
            return jnp.sum(jnp.sin(dilax.batch_norm(x, params, mask=mask)[0]) * weights)

        def stated(x, scale, bias, mask=mask):
            return jnp.sum(jnp.sin(reference(x, scale, bias, mask)) * weights)

        def derivatives(function, *arguments):
            def slope(*arguments):
                return jax.jvp(function, arguments, arguments)[1]

            every = (0, 1, 2)
            return [jax.jit(jax.grad(one, every))(*arguments) for one in (function, slope)]

        with jax.enable_x64(True):
            wide = (np.asarray(leaf, np.float64) for leaf in (x, scale, bias))
            expected = derivatives(stated, *wide)
        chex.assert_trees_all_close(
            derivatives(ours, x, scale, bias),
            jax.tree.map(np.float32, expected),
            rtol=2e-3,
            atol=2e-3,
        )


def test_features_far_from_zero_are_normalised_as_exactly_as_their_bits_allow(key):
    """With a mean of 300 standard deviations, by running statistics, whose variance is exact."""
    x = 300 + jax.random.normal(key, (64, 3))
    ones = jnp.ones(3)
    y, _ = dilax.batch_norm(
        x, dilax.BatchNormParams(ones, 0 * ones, 300 * ones, ones), use_running_average=True
    )
    spacing = np.spacing(np.float32(300))
    np.testing.assert_allclose(y, (np.float64(x) - 300) / np.sqrt(1 + 1e-5), atol=2 * spacing)


def test_a_mask_under_an_axis_counts_the_entries_of_all_devices(key):
    """Devices with few and with many entries that count: statistics of means would be wrong."""
    x = jax.random.normal(key, (4, 6, 1, 3))
    mask = np.arange(6)[None, :, None, None] < np.array([1, 2, 5, 6])[:, None, None, None]
    ours, _ = pair()
    expected = ours(x, mask=mask), statistics(ours)
    ours, _ = pair(axis_name="d")
    graphdef, state = nnx.split(ours)

    def part(x, mask):
        module = nnx.merge(graphdef, state, copy=True)
        return module(x, mask=mask), statistics(module)

    halves = [np.reshape(leaf, (2, 2, *leaf.shape[1:])) for leaf in (x, mask)]
    y, moved = jax.pmap(part, axis_name="d")(*halves)
    chex.assert_trees_all_close(y.reshape(x.shape), expected[0], rtol=1e-4, atol=1e-4)
    for both in zip(*moved, strict=True):
        chex.assert_trees_all_close(both, expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mask", [np.ones((2, 5)), np.ones((2, 5, 3), bool), np.ones(5, bool)])
def test_a_mask_that_does_not_fit_is_an_error(mask):
    ours, _ = pair(features=4)
    with pytest.raises(ValueError, match="mask must be booleans that broadcast to the shape of x"):
        ours(jnp.ones((2, 5, 4)), mask=mask)


def sums_over_the_batch(module, x):
    """The number of sums of arrays as large as ``x`` in the gradient of input and parameters."""
    graphdef, params, statistics = nnx.split(module, nnx.Param, ...)

    def count(program):
        for equation in opened(program).eqns:
            if equation.primitive.name == "reduce_sum" and equation.invars[0].aval.size == x.size:
                yield equation
            for inner in inner_programs(equation):
                yield from count(inner)

    def loss(params, x, weights):
        return jnp.vdot(nnx.merge(graphdef, params, statistics, copy=True)(x), weights)

    return len([*count(jax.make_jaxpr(jax.grad(loss, (0, 1)))(params, x, x))])


def test_the_derivative_needs_fewer_sums_over_the_batch_than_that_of_flax(key):
    x = jax.random.normal(key, (8, 5, 5, 3))
    ours, stock = pair()
    assert sums_over_the_batch(ours, x) == 2 + 2 < sums_over_the_batch(stock, x)

"""Stock networks of other libraries: the same numbers, forward and backward, and all replaced."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import dilax
from tests.accelerate.programs import operations

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def flax_nnx(key, x):
    rngs = nnx.Rngs(key)
    depthwise = nnx.Conv(3, 6, (3, 3), feature_group_count=3, kernel_dilation=2, rngs=rngs)
    pointwise = nnx.Conv(6, 5, (1, 1), strides=2, rngs=rngs)
    norm = nnx.BatchNorm(5, use_running_average=True, rngs=rngs)
    model = nnx.Sequential(depthwise, pointwise, norm, nnx.relu)
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def apply(params, x):
        y = nnx.merge(graph, params, rest)(x)
        return nnx.max_pool(y, (3, 3), strides=(2, 2), padding="SAME")

    return apply, params


def flax_linen(key, x):
    class Network(linen.Module):
        @linen.compact
        def __call__(self, x):
            y = linen.Conv(6, (3, 3), feature_group_count=3, strides=2)(x)
            y = linen.relu(linen.Conv(5, (1, 1))(y))
            return linen.max_pool(y, (2, 2), strides=(1, 1))

    network = Network()
    return network.apply, network.init(key, x)


def haiku(key, x):
    import haiku as hk

    def network(x):
        y = hk.DepthwiseConv2D(2, (3, 3), stride=2)(x)
        y = jax.nn.relu(hk.Conv2D(5, (1, 1))(y))
        return hk.max_pool(y, (1, 2, 2, 1), (1, 1, 1, 1), "SAME")

    network = hk.without_apply_rng(hk.transform(network))
    return network.apply, network.init(key, x)


def equinox(key, x):
    import equinox as eqx

    first, second = jax.random.split(key)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(3, 6, 3, padding=2, dilation=2, groups=3, key=first),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Conv2d(6, 5, 1, key=second),
            eqx.nn.MaxPool2d(2, 2),
        ]
    )
    params, static = eqx.partition(model, eqx.is_array)

    def apply(params, x):
        return jax.vmap(eqx.combine(params, static))(x.transpose(0, 3, 1, 2))

    return apply, params


NETWORKS = [flax_nnx, flax_linen]
NETWORKS += [library for library in (haiku, equinox) if importlib.util.find_spec(library.__name__)]
LEFT = {"conv_general_dilated", "reduce_window_max", "select_and_scatter_add"}


@pytest.mark.parametrize("library", NETWORKS, ids=lambda library: library.__name__)
def test_the_same_numbers_and_all_replaced(library, key):
    x = jax.random.normal(key, (2, 9, 8, 3))
    apply, params = library(key, x)

    def loss(params, x):
        return jnp.sum(jnp.sin(apply(params, x)))

    def close(result, expected):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)

    gradient = jax.value_and_grad(loss, (0, 1))
    inside = jax.value_and_grad(dilax.accelerate(loss), (0, 1))
    forms = dilax.accelerate(gradient), inside, gradient
    *results, expected = jax.jit(lambda *given: [form(*given) for form in forms])(params, x)
    for fast, result in zip(forms, results, strict=False):
        jax.tree.map(close, result, expected)
        found = operations(fast, params, x)
        assert found["dilax_conv_general_dilated"] >= 2
        assert found["dilax_reduce_window_max"] >= 1
        assert not LEFT & found.keys()


def test_a_functional_step_with_statistics_and_dropout(key):
    """The state goes in and out, as in the training loops of Flax."""
    rngs = nnx.Rngs(key)
    conv = nnx.Conv(3, 6, (3, 3), feature_group_count=3, rngs=rngs)
    model = nnx.Sequential(conv, nnx.BatchNorm(6, rngs=rngs), nnx.Dropout(0.5, rngs=rngs))
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params, rest, x):
        merged = nnx.merge(graph, params, rest, copy=True)
        return jnp.sum(jnp.sin(merged(x))), nnx.state(merged, nnx.BatchStat)

    step = jax.value_and_grad(loss, has_aux=True)
    x = jax.random.normal(key, (2, 8, 8, 3))
    expected = jax.jit(step)(params, rest, x)
    for fast in (jax.jit(dilax.accelerate(step)), dilax.accelerate(step)):
        # The gradient of a bias before normalisation is zero, but for rounding.
        close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=5e-5)
        jax.tree.map(close, fast(params, rest, x), expected)


def test_a_module_that_changes_itself_is_called_as_it_is(key):
    """Batch statistics in training are kept in the module; so they are after acceleration."""
    x = jax.random.normal(key, (4, 3))
    norms = [nnx.BatchNorm(3, rngs=nnx.Rngs(0)) for _ in range(2)]
    with pytest.warns(UserWarning, match="BatchNorm is not accelerated.*different trace level"):
        np.testing.assert_array_equal(dilax.accelerate(norms[0])(x), norms[1](x))
    np.testing.assert_array_equal(norms[0].mean[...], norms[1].mean[...])
    assert jnp.any(norms[0].mean[...] != 0)
    called = dilax.accelerate(lambda norm, x: norm(x))
    with pytest.warns(UserWarning, match="it changes its arguments in place"):
        np.testing.assert_array_equal(called(norms[0], x), norms[1](x))
    np.testing.assert_array_equal(norms[0].mean[...], norms[1].mean[...])


def test_a_module_that_was_trained_on_gives_its_new_results(key):
    model = nnx.Conv(3, 3, (3, 3), feature_group_count=3, rngs=nnx.Rngs(0))
    fast, x = dilax.accelerate(model), jax.random.normal(key, (2, 5, 5, 3))
    np.testing.assert_allclose(fast(x), model(x), rtol=1e-5, atol=1e-5)
    model.kernel[...] *= 2
    np.testing.assert_allclose(fast(x), model(x), rtol=1e-5, atol=1e-5)

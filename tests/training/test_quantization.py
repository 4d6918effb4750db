"""Kernels rounded to integers: the values, and the gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax import training
from dilax.training import quantize_aware, round_kernels
from tests.training.network import assert_close_trees, network

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

PARAMS = {
    "dense": jax.random.normal(jax.random.key(0), (3, 3, 4, 8)),
    "depthwise": jax.random.normal(jax.random.key(1), (3, 3, 1, 8)),
    "bias": jax.random.normal(jax.random.key(2), (8,)),
}


def expected(kernel, bits):
    """Each out-feature for itself, by NumPy in float64."""
    most, found = 2 ** (bits - 1) - 1, np.array(kernel, np.float64)
    for feature in range(found.shape[-1]):
        scale = np.abs(found[..., feature]).max() / most
        found[..., feature] = np.round(found[..., feature] / scale) * scale
    return found


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_kernels_lie_on_a_grid_of_each_out_feature_and_other_arrays_stay(bits):
    rounded = round_kernels(PARAMS, bits=bits)
    for name in ("dense", "depthwise"):
        np.testing.assert_allclose(rounded[name], expected(PARAMS[name], bits), atol=1e-6)
        for feature in np.moveaxis(np.asarray(rounded[name]), -1, 0):
            assert len(np.unique(feature.round(4))) <= 2**bits - 1
    np.testing.assert_array_equal(rounded["bias"], PARAMS["bias"])


def test_rounding_again_changes_nothing_nor_does_a_factor_on_an_out_feature():
    rounded = round_kernels(PARAMS)
    assert_close_trees(round_kernels(rounded), rounded, rtol=1e-6)
    gain = jnp.exp(jax.random.normal(jax.random.key(3), (1, 1, 1, 8)))  # as of normalisation
    scaled = round_kernels({"dense": PARAMS["dense"] * gain})["dense"]
    np.testing.assert_allclose(scaled, rounded["dense"] * gain, rtol=1e-5, atol=1e-6)


def test_a_feature_of_zeros_stays():
    kernel = jnp.stack([jnp.zeros(4), jnp.arange(4.0)], axis=-1)
    np.testing.assert_array_equal(round_kernels({"kernel": kernel}, bits=3)["kernel"], kernel)


def test_a_mask_selects_what_is_rounded():
    rounded = round_kernels(PARAMS, bits=2, mask=training.mixes_features)
    np.testing.assert_array_equal(rounded["depthwise"], PARAMS["depthwise"])
    assert not np.array_equal(rounded["dense"], PARAMS["dense"])


def test_the_gradient_is_that_of_the_rounded_network_passed_straight_through():
    apply, params, batch_stats = network()
    images = jax.random.normal(jax.random.key(0), (6, 8, 8, 1))

    def loss(apply, params):
        return (apply(params, batch_stats, images, train=False)[0] ** 2).sum()

    found = jax.jit(jax.value_and_grad(lambda params: loss(quantize_aware(apply, bits=3), params)))
    value, gradient = found(params)
    wanted = jax.value_and_grad(lambda params: loss(apply, params))(round_kernels(params, bits=3))
    np.testing.assert_allclose(value, wanted[0], rtol=1e-5)
    assert_close_trees(gradient, wanted[1], rtol=1e-4, atol=1e-5)
    assert not np.allclose(value, loss(apply, params), rtol=1e-3)

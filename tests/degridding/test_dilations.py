"""Dilations that fall, that are drawn, and that are learned."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dilax
from dilax import degridding
from tests import cases
from tests.degridding import answers

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def test_degridding_dilations_come_down_to_one():
    for dilation in range(2, 40):
        dilations = (dilation, *degridding.degridding_dilation(dilation))
        assert dilations[-1] == 1
        assert all(low == high // 2 for high, low in itertools.pairwise(dilations))
    assert degridding.degridding_dilation(np.int64(1)) == ()
    for bad in (0, -1, 2.0):
        with pytest.raises((ValueError, TypeError), match="kernel_dilation must be"):
            degridding.degridding_dilation(bad)


def test_each_dilation_is_drawn(key):
    x, kernel = cases.draw((1, 9, 9, 2), (3, 3, 1, 2))
    choices = (1, 2, (3, 1))
    possible = [dilax.depthwise_conv(x, kernel, kernel_dilation=choice) for choice in choices]
    convolve = jax.jit(
        lambda k: degridding.random_depthwise_conv(k, x, kernel, kernel_dilation_choices=choices)
    )
    drawn = [
        next(place for place, y in enumerate(possible) if np.allclose(y, found, atol=1e-5))
        for found in map(convolve, jax.random.split(key, 60))
    ]
    assert all(drawn.count(place) >= 10 for place in range(3)), "each about a third of 60"


def test_choices_that_do_not_fit(key):
    arrays = key, jnp.ones((1, 9, 2)), jnp.ones((3, 1, 2))
    with pytest.raises(ValueError, match="kernel_dilation_choices must have at least one entry"):
        degridding.random_depthwise_conv(*arrays, kernel_dilation_choices=())
    with pytest.raises(ValueError, match=r"results of one shape, got .* use padding='SAME'"):
        degridding.random_depthwise_conv(
            *arrays, kernel_dilation_choices=np.array([1, 2]), padding="VALID"
        )


@pytest.mark.parametrize("size", [(5, 4), (3,)])
@pytest.mark.parametrize("gaussian", [False, True])
def test_learned_taps_are_interpolated_and_have_gradients(size, gaussian):
    """Gradients agree with central differences; positions beyond the edge are moved to it."""
    rng = np.random.default_rng(1)
    weights, target = (
        jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 2, 2), (*size, 2, 2))
    )
    positions = rng.uniform(-0.9, 0.9, size=(3, len(size), 2)).astype(np.float32)
    sigma = jnp.full(positions.shape, 0.5) if gaussian else None
    kernel = jax.jit(lambda p: degridding.learned_kernel(weights, p, size, sigma=sigma))
    for scale in (1, 9):
        expected = answers.interpolated(weights, scale * positions, size, sigma)
        np.testing.assert_allclose(kernel(scale * positions), expected, rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda p: jnp.sum(target * kernel(p)))(positions)
    for place in np.ndindex(*positions.shape):
        step = np.zeros_like(positions)
        step[place] = 1e-2
        slope = np.sum(target * (kernel(positions + step) - kernel(positions - step))) / 2e-2
        np.testing.assert_allclose(gradient[place], slope, rtol=2e-2, atol=2e-3)


def test_taps_at_whole_positions_are_a_dilated_kernel():
    (weights,) = cases.draw((9, 1, 4))
    grid = np.array(list(np.ndindex(3, 3)), np.float32) - 1
    positions = np.broadcast_to(3 * grid[:, :, None], (9, 2, 4))
    kernel = degridding.learned_kernel(weights, positions, np.array([7, 7]))
    expected = answers.merged([weights.reshape(3, 3, 1, 4)], [3])
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)


def test_positions_of_another_shape_are_an_error():
    with pytest.raises(ValueError, match=r"positions must have .*\(taps, 2, out\).*\(9, 1, 4\)"):
        degridding.learned_kernel(jnp.ones((9, 1, 4)), jnp.ones((9, 1, 4)), (5, 5))
    with pytest.raises(ValueError, match=r"sigma must have .* got \(9, 2, 3\)"):
        degridding.learned_kernel(
            jnp.ones((9, 1, 4)), jnp.ones((9, 2, 4)), (5, 5), sigma=jnp.ones((9, 2, 3))
        )

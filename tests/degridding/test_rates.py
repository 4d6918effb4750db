"""Rates that fall, that are drawn, and that are learned."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dilax
from dilax import degridding
from tests import cases


def test_degridding_rates_come_down_to_one():
    for rate in range(2, 40):
        rates = (rate, *degridding.degridding_dilation(rate))
        assert rates[-1] == 1
        assert all(low == high // 2 for high, low in itertools.pairwise(rates))
    assert degridding.degridding_dilation(1) == ()
    for bad in (0, -1, 2.0):
        with pytest.raises((ValueError, TypeError), match="kernel_dilation must be"):
            degridding.degridding_dilation(bad)


def test_random_rates_are_each_drawn(key):
    x, kernel = cases.draw((1, 9, 9, 2), (3, 3, 1, 2))
    possible = {
        rate: dilax.depthwise_conv(x, kernel, kernel_dilation=rate) for rate in (1, 2, (3, 1))
    }
    convolve = jax.jit(
        lambda k: degridding.random_depthwise_conv(k, x, kernel, rates=tuple(possible))
    )
    drawn = [
        next(rate for rate, y in possible.items() if np.allclose(y, found, atol=1e-5))
        for found in map(convolve, jax.random.split(key, 60))
    ]
    assert all(drawn.count(rate) >= 10 for rate in possible), "each about a third of 60"
    with pytest.raises(ValueError, match="at least one kernel_dilation"):
        degridding.random_depthwise_conv(key, x, kernel, rates=())


def interpolated(weights, positions, size):
    """Bilinear taps written out, in NumPy, for two axes; positions inside of the kernel."""
    kernel = np.zeros((*size, *weights.shape[1:]))
    for tap in range(weights.shape[0]):
        for out in range(weights.shape[2]):
            at = [size[a] // 2 + positions[tap, a, out] for a in range(2)]
            low = [int(np.floor(p)) for p in at]
            for corner in np.ndindex(2, 2):
                entry = [a + b for a, b in zip(low, corner, strict=True)]
                share = np.prod([1 - abs(p - e) for p, e in zip(at, entry, strict=True)])
                if share > 0:
                    kernel[*entry, :, out] += share * weights[tap, :, out]
    return kernel


@pytest.mark.parametrize("size", [(5, 7), (4, 6)])
def test_learned_taps_are_interpolated(size):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(6, 3, 4))
    edges = [(-(s // 2), s - 1 - s // 2) for s in size]
    positions = np.stack([rng.uniform(*edge, size=(6, 4)) for edge in edges], axis=1)
    kernel = degridding.learned_kernel(jnp.asarray(weights), jnp.asarray(positions), size)
    np.testing.assert_allclose(kernel, interpolated(weights, positions, size), atol=1e-5)


def test_taps_at_whole_positions_are_a_dilated_kernel():
    (weights,) = cases.draw((9, 1, 4))
    grid = np.array(list(np.ndindex(3, 3)), np.float32) - 1
    positions = jnp.broadcast_to(3 * grid[:, :, None], (9, 2, 4))
    kernel = degridding.learned_kernel(weights, positions, (7, 7))
    expected = degridding.merge_kernels([weights.reshape(3, 3, 1, 4)], kernel_dilation=[3])
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)


def test_taps_beyond_the_kernel_stand_at_its_edge():
    weights = jnp.ones((2, 1, 1))
    positions = jnp.asarray([-9.0, 9.0]).reshape(2, 1, 1)
    kernel = degridding.learned_kernel(weights, positions, (5,))
    np.testing.assert_array_equal(kernel[:, 0, 0], [1, 0, 0, 0, 1])


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_positions_have_gradients(sigma):
    """Against central differences, away from whole positions."""
    rng = np.random.default_rng(1)
    weights = jnp.asarray(rng.normal(size=(3, 1, 2)), jnp.float32)
    positions = jnp.asarray(rng.uniform(-1.9, 1.9, size=(3, 1, 2)), jnp.float32)
    target = jnp.asarray(rng.normal(size=(5, 1, 2)), jnp.float32)
    widths = None if sigma is None else jnp.full(positions.shape, sigma)

    def loss(positions):
        return jnp.sum(target * degridding.learned_kernel(weights, positions, (5,), sigma=widths))

    gradient = jax.grad(loss)(positions)
    for place in np.ndindex(*positions.shape):
        step = jnp.zeros(positions.shape).at[place].set(1e-2)
        difference = (loss(positions + step) - loss(positions - step)) / 2e-2
        np.testing.assert_allclose(gradient[place], difference, rtol=2e-2, atol=2e-3)


def test_shares_of_a_gaussian_tap_sum_to_one():
    weights, positions = jnp.ones((1, 1, 1)), jnp.full((1, 2, 1), 0.4)
    kernel = degridding.learned_kernel(weights, positions, (7, 7), sigma=jnp.ones((1, 2, 1)))
    np.testing.assert_allclose(kernel.sum(), 1, rtol=1e-6)
    assert (kernel > 0).all()
    assert kernel.argmax() == 3 * 7 + 3


def test_positions_of_another_shape_are_an_error():
    with pytest.raises(ValueError, match=r"positions has shape \(9, 1, 4\).*\(taps, 2, out\)"):
        degridding.learned_kernel(jnp.ones((9, 1, 4)), jnp.ones((9, 1, 4)), (5, 5))
    with pytest.raises(ValueError, match=r"sigma has shape \(9, 2, 3\)"):
        degridding.learned_kernel(
            jnp.ones((9, 1, 4)), jnp.ones((9, 2, 4)), (5, 5), sigma=jnp.ones((9, 2, 3))
        )

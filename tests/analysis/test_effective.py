"""The effective field against the counts of paths, which it is for kernels of ones."""

import jax.numpy as jnp
import numpy as np
import pytest

import dilax
from dilax.analysis import Layer, coverage, effective_receptive_field


def ones(dilations, size=3):
    def network(x):
        for dilation in dilations:
            x = dilax.conv(x, jnp.ones((size, size, 1, 1)), kernel_dilation=dilation)
        return x

    return network


@pytest.mark.parametrize("dilations", [(1, 1, 1), (2, 2, 2), (1, 2, 5)])
def test_kernels_of_ones_weigh_by_their_paths(dilations):
    found = effective_receptive_field(ones(dilations), jnp.ones((2, 41, 43, 1)))
    counts = coverage([Layer((3, 3), kernel_dilation=dilation) for dilation in dilations]).array()
    expected = np.zeros((41, 43))
    rows, columns = (middle - len(counts) // 2 for middle in (20, 21))
    expected[rows : rows + len(counts), columns : columns + len(counts)] = counts
    np.testing.assert_allclose(found.weights, expected / expected.sum(), atol=1e-7)
    assert found.position == (20, 21)
    np.testing.assert_allclose(found.center, (20, 21))
    # The variances of the layers add: for taps -d, 0, d it is 2 d^2 / 3, along each axis.
    assert found.radius**2 == pytest.approx(2 * sum(2 * dilation**2 / 3 for dilation in dilations))


def test_share_of_the_weight():
    found = effective_receptive_field(ones((1,)), jnp.ones((1, 9, 9, 1)))
    assert found.radius_of_share(1 / 9) == pytest.approx(0)
    assert found.radius_of_share(0.5) == pytest.approx(1)
    assert found.radius_of_share(5 / 9) == pytest.approx(1)
    assert found.radius_of_share(1) == pytest.approx(2**0.5)
    with pytest.raises(ValueError, match="share must be above 0 and at most 1, got 0"):
        found.radius_of_share(0)


def test_mean_over_images_of_the_absolute_gradient():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7, 2)), jnp.float32)
    found = effective_receptive_field(lambda x: (x**3).cumsum(axis=1), x, position=(4,))
    expected = np.zeros(7)
    expected[:5] = (3 * np.asarray(x, np.float64)[:, :5] ** 2).mean(axis=(0, 2))
    np.testing.assert_allclose(found.weights, expected / expected.sum(), rtol=1e-5)


def test_logits_have_no_position():
    found = effective_receptive_field(lambda x: x[:, :2].mean(axis=(1, 2)), jnp.ones((1, 4, 5, 3)))
    assert found.position == ()
    np.testing.assert_allclose(found.weights, np.repeat([[0.1], [0.1], [0], [0]], 5, axis=1))


def test_errors():
    x = jnp.ones((1, 6, 5, 1))
    with pytest.raises(ValueError, match=r"axis of the outputs \(6, 5\), .* got \(6, 0\)"):
        effective_receptive_field(lambda x: x, x, position=(6, 0))
    with pytest.raises(ValueError, match=r"must depend on x at position \(3, 2\)"):
        effective_receptive_field(lambda x: 0 * x, x)
    with pytest.raises(TypeError, match="x must be of floating point"):
        effective_receptive_field(lambda x: x, x.astype(int))

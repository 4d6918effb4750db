"""Smoothing before, and interaction after, against loops over entries in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import dilax
from dilax import degridding
from tests import cases


def test_a_shared_kernel_filters_each_feature_alike():
    x, kernel = cases.draw((2, 7, 6, 3), (3, 2))
    y = degridding.shared_conv(
        x, kernel, padding=((1, 2), (0, 3)), strides=(2, 1), kernel_dilation=2
    )
    for feature in range(3):
        alone = dilax.conv(
            x[..., feature : feature + 1],
            kernel[..., None, None],
            padding=((1, 2), (0, 3)),
            strides=(2, 1),
            kernel_dilation=2,
        )
        np.testing.assert_allclose(y[..., feature : feature + 1], alone, rtol=1e-5, atol=1e-5)


def test_its_gradient_is_the_sum_over_features(key):
    x = jax.random.normal(key, (2, 7, 6, 3))
    kernel = jax.random.normal(key, (3, 3))

    def loss(kernel, x):
        return jnp.sum(jnp.sin(degridding.shared_conv(x, kernel)))

    parts = [jax.grad(loss)(kernel, x[..., f : f + 1]) for f in range(3)]
    np.testing.assert_allclose(jax.grad(loss)(kernel, x), sum(parts), rtol=1e-4, atol=1e-4)


def test_smoothing_by_the_identity_is_none(key):
    x = jax.random.normal(key, (2, 9, 8, 3))
    kernel = jax.random.normal(key, (3, 3, 1, 3))
    identity = jnp.zeros((3, 5)).at[1, 2].set(1.0)
    y = degridding.smoothed_depthwise_conv(x, kernel, smoothing=identity, kernel_dilation=(2, 3))
    np.testing.assert_array_equal(y, dilax.depthwise_conv(x, kernel, kernel_dilation=(2, 3)))


@pytest.mark.parametrize("rate", [2, 3, 4])
def test_the_average_makes_dilated_kernels_touch_everything(rate):
    kernel = jnp.ones((3, 1, 1))

    def seen(convolve):
        image = jax.grad(lambda x: convolve(x, kernel, kernel_dilation=rate)[0, 20, 0])
        touched = np.flatnonzero(image(jnp.ones((1, 41, 1)))[0, :, 0])
        return touched[-1] - touched[0] + 1, len(touched)

    field, touched = seen(dilax.depthwise_conv)
    assert (field, touched) == (2 * rate + 1, 3)
    field, touched = seen(degridding.smoothed_depthwise_conv)
    assert field == touched == 3 * rate


def mixed_by_hand(x, mixing, rates):
    """The definition, an entry at a time; entries beyond the end are zeros."""
    y = np.zeros_like(x)
    phases = list(np.ndindex(*rates))
    for place in np.ndindex(*x.shape[1:-1]):
        block = [at // rate for at, rate in zip(place, rates, strict=True)]
        row = phases.index(tuple(at % rate for at, rate in zip(place, rates, strict=True)))
        for column, phase in enumerate(phases):
            source = tuple(b * rate + q for b, rate, q in zip(block, rates, phase, strict=True))
            if all(at < size for at, size in zip(source, x.shape[1:-1], strict=True)):
                y[:, *place] += mixing[row, column] * x[:, *source]
    return y


@pytest.mark.parametrize(
    ("window", "rates"),
    [((6,), (2,)), ((7,), (3,)), ((4, 6), (2, 3)), ((5, 7), (2, 2)), ((3, 4, 5), (2, 1, 2))],
)
def test_interaction_mixes_phases_at_each_block(window, rates):
    phases = int(np.prod(rates))
    x, mixing = cases.draw((2, *window, 3), (phases, phases))
    y = degridding.group_interaction(x, mixing, kernel_dilation=rates)
    np.testing.assert_allclose(y, mixed_by_hand(x, mixing, rates), rtol=1e-5, atol=1e-5)
    same = degridding.group_interaction(x, jnp.eye(phases), kernel_dilation=rates)
    np.testing.assert_array_equal(same, jnp.asarray(x))


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_interaction_takes_any_batch(batch):
    x = jnp.ones((*batch, 5, 4, 2))
    assert degridding.group_interaction(x, jnp.eye(4), kernel_dilation=(2, 2)).shape == x.shape


def test_a_dilated_convolution_keeps_its_phases_apart():
    """Space to batch, a convolution without holes, batch to space: what the mixing rests on."""
    x, kernel = cases.draw((1, 8, 6, 2), (3, 3, 1, 2))
    dilated = dilax.depthwise_conv(x, kernel, kernel_dilation=2)
    for row, column in itertools.product(range(2), repeat=2):
        phase = dilax.depthwise_conv(x[:, row::2, column::2], kernel)
        np.testing.assert_allclose(dilated[:, row::2, column::2], phase, rtol=1e-5, atol=1e-5)
    assert lax.square(dilated).sum() > 0


def test_bad_arguments_of_the_interaction():
    with pytest.raises(ValueError, match=r"mixing has shape \(2, 2\); required: \(4, 4\)"):
        degridding.group_interaction(jnp.ones((1, 4, 4, 1)), jnp.eye(2), kernel_dilation=(2, 2))
    with pytest.raises(ValueError, match=r"x has shape \(4, 1\); required: .* 2 window axes"):
        degridding.group_interaction(jnp.ones((4, 1)), jnp.eye(4), kernel_dilation=(2, 2))

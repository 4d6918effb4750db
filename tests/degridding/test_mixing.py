"""Smoothing before a dilated convolution and interaction after it, against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dilax
from dilax import degridding
from tests import cases
from tests.degridding import answers

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def floats(*shapes):
    return [np.asarray(array, np.float32) for array in cases.draw(*shapes)]


def test_a_shared_kernel_filters_each_feature_alike():
    """In value and, as the sum over features, in the kernel's gradient."""
    x, kernel, slope = floats((2, 7, 6, 3), (3, 2), (2, 3, 7, 3))
    options = {"padding": ((1, 2), (0, 3)), "strides": (2, 1), "kernel_dilation": 2}
    options["precision"], options["algorithm"] = "highest", dilax.algorithms.lax

    @jax.jit
    def shared(kernel, x, slope):
        return jax.vjp(lambda k: degridding.shared_conv(x, k, **options), kernel)[1](slope)[0]

    y = jax.jit(lambda k, x: degridding.shared_conv(x, k, **options))(kernel, x)
    parts = []
    for feature in range(3):
        one = x[..., feature : feature + 1]
        alone = dilax.conv(one, kernel[..., None, None], **options)
        np.testing.assert_allclose(y[..., feature : feature + 1], alone, rtol=1e-5, atol=1e-5)
        parts.append(shared(kernel, one, slope[..., feature : feature + 1]))
    np.testing.assert_allclose(shared(kernel, x, slope), sum(parts), rtol=1e-4, atol=1e-4)


def test_smoothing_by_the_identity_is_none():
    x, kernel = floats((2, 9, 8, 3), (3, 3, 1, 3))
    identity = np.zeros((3, 5), np.float32)
    identity[1, 2] = 1
    options = {"kernel_dilation": (2, 3), "strides": (1, 2)}
    y = degridding.smoothed_depthwise_conv(x, kernel, smoothing=identity, **options)
    np.testing.assert_array_equal(y, dilax.depthwise_conv(x, kernel, **options))


@pytest.mark.parametrize("dilation", [2, 3])
def test_the_average_makes_dilated_kernels_touch_everything(dilation):
    kernel = jnp.ones((3, 1, 1))

    def seen(convolve):
        image = jax.grad(lambda x: convolve(x, kernel, kernel_dilation=dilation)[0, 12, 0])
        touched = np.flatnonzero(jax.jit(image)(jnp.ones((1, 25, 1)))[0, :, 0])
        return touched[-1] - touched[0] + 1, len(touched)

    assert seen(dilax.depthwise_conv) == (2 * dilation + 1, 3)
    assert seen(degridding.smoothed_depthwise_conv) == (3 * dilation, 3 * dilation)


@pytest.mark.parametrize(
    ("batch", "window", "dilation"),
    [
        ((2,), (7,), (3,)),
        ((), (4, 6), (2, 3)),
        ((0,), (5, 7), (2, 2)),
        ((1, 2), (3, 4, 2), (2, 1, 2)),
    ],
)
def test_interaction_mixes_phases_at_each_block(batch, window, dilation):
    phases = int(np.prod(dilation))
    x, mixing = floats((*batch, *window, 3), (phases, phases))
    mix = jax.jit(lambda x, m: degridding.group_interaction(x, m, kernel_dilation=dilation))
    np.testing.assert_allclose(
        mix(x, mixing), answers.mixed(x, mixing, dilation), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(mix(x, np.eye(phases, dtype=np.float32)), x)


def test_bad_arguments_of_the_interaction():
    x = jnp.ones((1, 4, 4, 1))
    with pytest.raises(ValueError, match=r"mixing must have shape \(4, 4\), .* got \(2, 2\)"):
        degridding.group_interaction(x, jnp.eye(2), kernel_dilation=(2, 2))
    with pytest.raises(ValueError, match=r"x must have .* 2 window axes, .* got \(4, 1\)"):
        degridding.group_interaction(x[0, 0], jnp.eye(4), kernel_dilation=(2, 2))
    with pytest.raises(TypeError, match=r"x must be of a type that holds .* got int32"):
        degridding.group_interaction(x.astype(int), jnp.eye(4), kernel_dilation=(2, 2))

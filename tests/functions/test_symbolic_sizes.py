"""Programs that accelerate lax, and the drop-in, exported once for images of any size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

import dilax

pytestmark = pytest.mark.usefixtures("compile_quickly")
LAYOUT = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def by_lax(convolution, x, kernel):
    return convolution(
        x, kernel, (1, 1), "SAME", rhs_dilation=(2, 1), feature_group_count=4, **LAYOUT
    )


def pooled(x, kernel):
    y = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 3, 1), (1, 1, 2, 1), "SAME")
    return y * kernel.sum()


FUNCTIONS = {
    "drop-in": functools.partial(by_lax, dilax.conv_general_dilated),
    "accelerated": dilax.accelerate(functools.partial(by_lax, lax.conv_general_dilated)),
    "accelerated pool": dilax.accelerate(pooled),
}


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_size_of_window_and_batch(name, gradient):
    function = FUNCTIONS[name]
    if gradient:
        function = jax.grad(lambda x, kernel, f=function: jnp.sum(jnp.sin(f(x, kernel))), (0, 1))
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 1, 4)), jnp.float32)
    batch, height, width = export.symbolic_shape("batch, height, width")
    images = jax.ShapeDtypeStruct((batch, height, width, 4), jnp.float32)
    exported = export.export(jax.jit(function))(images, kernel)
    for shape in ((2, 9, 8, 4), (1, 6, 11, 4)):
        x = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)
        found, wanted = exported.call(x, kernel), function(x, kernel)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, wanted
        )


@pytest.mark.parametrize("size, stride", [(2, 3), (3, 5), (2, 2), (3, 2)])
def test_same_padding_of_any_size_and_stride(size, stride):
    """The padding depends on what remains of the size after the last stride."""
    kernel = jnp.ones((size, 1, 1, 4))

    def strided(x):
        return dilax.conv(x, kernel, strides=(stride, 1), feature_group_count=4)

    (height,) = export.symbolic_shape("height")
    exported = export.export(jax.jit(strided))(jax.ShapeDtypeStruct((1, height, 2, 4), jnp.float32))
    for length in range(1, 2 * stride + 3):
        x = jnp.asarray(np.random.default_rng(1).normal(size=(1, length, 2, 4)), jnp.float32)
        np.testing.assert_allclose(exported.call(x), strided(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", [((0, 2), (1, 0)), ((2, 1), (0, 0))])
def test_pools_with_other_padding_at_each_end(padding):
    def pool(x):
        return dilax.max_pool(x, (3, 2), strides=(2, 1), padding=padding)

    height, width = export.symbolic_shape(
        "height, width", constraints=["height >= 3", "width >= 2"]
    )
    exported = export.export(jax.jit(pool))(
        jax.ShapeDtypeStruct((1, height, width, 4), jnp.float32)
    )
    for sizes in ((6, 5), (7, 2), (8, 3)):
        x = jnp.asarray(np.random.default_rng(1).normal(size=(1, *sizes, 4)), jnp.float32)
        np.testing.assert_array_equal(exported.call(x), pool(x))

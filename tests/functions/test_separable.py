"""Depthwise, pointwise and separable convolution, compared with the operations they consist of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dilax
from tests import cases

pytestmark = pytest.mark.usefixtures("compile_quickly")
WINDOW = {"strides": (2, 1), "padding": ((1, 2), (0, 3)), "kernel_dilation": (1, 2)}


def arrays(*shapes: tuple[int, ...], dtype=jnp.float32) -> list[jax.Array]:
    return [jnp.asarray(array, dtype) for array in cases.sixteenths(*cases.draw(*shapes))]


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_depthwise_filters_each_feature_alone(multiplier: int) -> None:
    """Output feature c m + j is the one-channel convolution of input feature c."""
    x, kernel = arrays((2, 7, 6, 3), (3, 2, 1, 3 * multiplier))
    y = dilax.depthwise_conv(x, kernel, **WINDOW)
    for feature in range(3 * multiplier):
        source = feature // multiplier
        alone = dilax.conv(
            x[..., source : source + 1], kernel[..., feature : feature + 1], **WINDOW
        )
        np.testing.assert_array_equal(y[..., feature : feature + 1], alone)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CAUSAL", "CIRCULAR", "REFLECT", 1])
def test_depthwise_is_a_convolution_in_as_many_groups_as_features(padding) -> None:
    x, kernel, bias = arrays((2, 7, 6, 3), (3, 2, 1, 6), (6,))
    options = {"padding": padding, "kernel_dilation": 2, "bias": bias}
    expected = dilax.conv(x, kernel, feature_group_count=3, **options)
    np.testing.assert_array_equal(dilax.depthwise_conv(x, kernel, **options), expected)


@pytest.mark.parametrize("shape", [(), (4,), (4, 5), (2, 3, 5, 4), (2, 2, 3, 4)])
@pytest.mark.parametrize("ones", [0, 2])
def test_pointwise_is_a_matrix_product_at_every_place(shape, ones: int) -> None:
    x, kernel, bias = arrays((*shape, 3), (3, 5), (5,))
    y = dilax.pointwise_conv(x, kernel.reshape(*(1,) * ones, 3, 5), bias=bias)
    assert y.shape == (*shape, 5)
    expected = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64) + np.asarray(bias)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_pointwise_half_precision_is_rounded_once(dtype) -> None:
    x, kernel = cases.sixteenths(*cases.draw((7, 200), (200, 5)))
    y = dilax.pointwise_conv(jnp.asarray(x, dtype), jnp.asarray(kernel, dtype))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, (x @ kernel).astype(dtype))
    wide = dilax.pointwise_conv(
        jnp.asarray(x, dtype), jnp.asarray(kernel, dtype), preferred_element_type=jnp.float32
    )
    np.testing.assert_array_equal(wide, x @ kernel)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_separable_is_depthwise_then_pointwise(multiplier: int) -> None:
    x, depthwise, pointwise, bias = arrays(
        (2, 7, 6, 3), (3, 2, 1, 3 * multiplier), (3 * multiplier, 5), (5,)
    )
    y = dilax.separable_conv(x, depthwise, pointwise, bias=bias, **WINDOW)
    filtered = dilax.depthwise_conv(x, depthwise, **WINDOW)
    np.testing.assert_array_equal(y, dilax.pointwise_conv(filtered, pointwise, bias=bias))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_separable_is_a_dense_convolution_of_low_rank(rank: int) -> None:
    """Its dense kernel is the outer product, K[k, c, o] = sum_j D[k, c m + j] P[c m + j, o]."""
    window = (5, 4, 3)[:rank]
    x, depthwise, pointwise = arrays((2, *window, 3), (*(2,) * rank, 1, 6), (6, 4))
    by_feature = depthwise.reshape(*(2,) * rank, 3, 2)
    dense = jnp.einsum("...cj,cjo->...co", by_feature, pointwise.reshape(3, 2, 4))
    y = dilax.separable_conv(x, depthwise, pointwise, kernel_dilation=2)
    expected = dilax.conv(x, dense, kernel_dilation=2)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_separable_gradients_are_those_of_its_dense_form() -> None:
    x, depthwise, pointwise = arrays((2, 5, 6, 3), (3, 2, 1, 3), (3, 4))

    def separable(x, depthwise, pointwise):
        return jnp.sum(jnp.sin(dilax.separable_conv(x, depthwise, pointwise, **WINDOW)))

    def dense(x, depthwise, pointwise):
        kernel = jnp.einsum("hwc,co->hwco", depthwise[:, :, 0], pointwise)
        return jnp.sum(jnp.sin(dilax.conv(x, kernel, **WINDOW)))

    results = [
        jax.jit(jax.grad(loss, (0, 1, 2)))(x, depthwise, pointwise) for loss in (separable, dense)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *results)


def test_separable_takes_a_pointwise_kernel_with_window_axes() -> None:
    x, depthwise, pointwise = arrays((2, 5, 6, 3), (3, 3, 1, 3), (3, 4))
    y = dilax.separable_conv(x, depthwise, pointwise)
    np.testing.assert_array_equal(dilax.separable_conv(x, depthwise, pointwise[None, None]), y)


@pytest.mark.parametrize(
    ("x_shape", "kernel_shape", "parts"),
    [
        ((5, 6, 3), (3, 3, 3, 3), ["kernel", "(*window, 1,", "(3, 3, 3, 3)", "dilax.conv"]),
        ((5, 6, 3), (1, 3), ["kernel", "(*window, 1,", "(1, 3)"]),
        ((5, 6, 3), (3, 3, 1, 4), ["4", "multiple", "(5, 6, 3)"]),
        ((5, 6, 3), (3, 3, 1, 2), ["2", "multiple", "(5, 6, 3)"]),
        ((5, 3), (3, 3, 1, 3), ["x", "(5, 3)"]),
    ],
)
def test_depthwise_says_what_is_wrong(x_shape, kernel_shape, parts) -> None:
    with pytest.raises(ValueError) as raised:
        dilax.depthwise_conv(jnp.ones(x_shape), jnp.ones(kernel_shape))
    assert all(part in str(raised.value) for part in parts), str(raised.value)


@pytest.mark.parametrize(
    ("x_shape", "kernel_shape", "parts"),
    [
        ((5, 3), (3,), ["kernel", "(C, O)", "(3,)"]),
        ((5, 3), (2, 3, 4), ["kernel", "(1, ..., 1, C, O)", "(2, 3, 4)", "dilax.conv"]),
        ((5, 3), (4, 3), ["4", "(5, 3)", "kernel"]),
        ((), (4, 3), ["x", "()"]),
    ],
)
def test_pointwise_says_what_is_wrong(x_shape, kernel_shape, parts) -> None:
    with pytest.raises(ValueError) as raised:
        dilax.pointwise_conv(jnp.ones(x_shape), jnp.ones(kernel_shape))
    assert all(part in str(raised.value) for part in parts), str(raised.value)


@pytest.mark.parametrize(
    ("depthwise_shape", "pointwise_shape", "part"),
    [((3, 2, 3), (3, 4), "(3, 2, 3)"), ((3, 1, 6), (3, 4), "3 in-features")],
)
def test_separable_says_what_is_wrong(depthwise_shape, pointwise_shape, part: str) -> None:
    with pytest.raises(ValueError, match="kernel") as raised:
        dilax.separable_conv(jnp.ones((5, 3)), jnp.ones(depthwise_shape), jnp.ones(pointwise_shape))
    assert part in str(raised.value)

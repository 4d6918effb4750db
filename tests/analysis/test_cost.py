"""Multiply-adds against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import dilax
from dilax.analysis import multiply_adds, parameter_count

X = jax.ShapeDtypeStruct((2, 8, 9, 4), jnp.float32)


def struct(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize("conv", [dilax.conv_general_dilated, lax.conv_general_dilated])
@pytest.mark.parametrize(
    ("kernel", "groups", "by_hand"),
    [
        ((3, 2, 4, 5), 1, 2 * 8 * 9 * 5 * (3 * 2 * 4)),
        ((3, 2, 1, 4), 4, 2 * 8 * 9 * 4 * (3 * 2)),
        ((3, 2, 2, 6), 2, 2 * 8 * 9 * 6 * (3 * 2 * 2)),
        ((1, 1, 4, 7), 1, 2 * 8 * 9 * 7 * 4),
    ],
)
def test_convolution(conv, kernel, groups, by_hand):
    def call(x, w):
        return conv(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )  # fmt: skip

    assert multiply_adds(call, X, struct(*kernel)) == by_hand


def test_every_pass_multiplies_alike():
    kernel = struct(3, 3, 1, 4)

    def loss(x, w):
        return dilax.depthwise_conv(x, w).sum()

    forward = multiply_adds(loss, X, kernel)
    assert forward == 2 * 8 * 9 * 4 * 9
    assert multiply_adds(jax.value_and_grad(lambda x, w: (dilax.depthwise_conv(x, w) ** 2).sum(),
                                            (0, 1)), X, kernel) == 3 * forward  # fmt: skip


def test_matrix_product_scan_cond_and_jit():
    a, b = struct(3, 4), struct(4, 5)
    assert multiply_adds(jnp.dot, a, b) == 3 * 4 * 5
    assert multiply_adds(jax.jit(jnp.dot), a, b) == 3 * 4 * 5

    def scanned(a):
        return lax.scan(lambda c, _: (c @ jnp.ones((4, 4)), None), a, length=7)[0]

    assert multiply_adds(scanned, a) == 7 * 3 * 4 * 4

    def either(a, b):
        return lax.cond(True, lambda: a @ b, lambda: jnp.zeros((3, 5)))

    assert multiply_adds(either, a, b) == 3 * 4 * 5


def test_loop_of_unknown_length_is_an_error():
    def loop(a):
        return lax.while_loop(lambda c: c.sum() < 9, lambda c: c @ jnp.ones((4, 4)), a)

    with pytest.raises(ValueError, match=r"while_loop .* required: lax\.scan"):
        multiply_adds(loop, struct(3, 4))


def test_parameter_count():
    assert parameter_count({"a": jnp.ones((2, 3)), "b": [jnp.ones(()), jnp.ones(4)]}) == 11

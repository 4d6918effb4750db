"""Costs against counts by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import dilax
from dilax.analysis import cost, multiply_adds, parameter_count

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


def test_a_pool_multiplies_nothing():
    def pool(x):
        return dilax.avg_pool(x, (3, 3), padding="SAME")

    for function in (pool, jax.grad(lambda x: (pool(x) ** 2).sum())):
        assert cost(function, jnp.ones((1, 8, 8, 4))).multiply_adds == 0


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

    with pytest.raises(ValueError, match=r"while_loop, .* got one at test_costs\.py:\d+"):
        multiply_adds(loop, struct(3, 4))


def test_parameter_count():
    assert parameter_count({"a": jnp.ones((2, 3)), "b": [jnp.ones(()), jnp.ones(4)]}) == 11


@pytest.mark.parametrize("conv", [dilax.conv_general_dilated, lax.conv_general_dilated])
def test_a_layer_by_hand(conv):
    """Rows: 8 inputs, 3 taps two apart, 2 padded before and 1 after, every second output.

    Outputs begin at -2, 0, 2, 4: a tap falls on padding in the first and, at 8, in the last.
    Columns: 9 inputs, 2 taps, no padding, 8 outputs.
    """

    def call(x, w):
        with jax.named_scope("stem"):
            return conv(
                x, w, (2, 1), ((2, 1), (0, 0)), rhs_dilation=(2, 1), feature_group_count=2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip

    found = cost(call, X, struct(3, 2, 2, 6))
    (layer,) = found.layers
    assert layer.shape == (2, 4, 8, 6)
    assert layer.name == "stem"
    assert layer.kernel_entries == 3 * 2 * 2 * 6
    assert layer.multiply_adds == 2 * 4 * 8 * 6 * (3 * 2 * 2)
    rows = [[0, 2], [0, 2, 4], [2, 4, 6], [4, 6]]
    assert layer.multiply_adds_without_padding == 2 * 6 * 2 * sum(map(len, rows)) * (8 * 2)
    entries = 2 * 8 * 9 * 4 + 3 * 2 * 2 * 6 + 2 * 4 * 8 * 6
    assert layer.bytes_moved == 4 * entries
    assert layer.intensity == layer.multiply_adds / layer.bytes_moved
    assert found.multiply_adds == layer.multiply_adds


def test_holes_of_a_transposed_convolution_are_no_work():
    x, kernel = struct(1, 5, 3), struct(4, 3, 2)

    def call(x, w):
        return lax.conv_transpose(x, w, (2,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))

    found = cost(call, x, kernel)
    assert found.multiply_adds == 5 * 4 * 3 * 2, "each input meets each tap once"
    assert found.multiply_adds_without_padding == 5 * 4 * 3 * 2


def test_totals_and_table():
    kernel, matrix = struct(3, 3, 4, 4), struct(4, 5)

    def network(x, kernel, matrix):
        x = lax.scan(lambda x, _: (dilax.conv(x, kernel), None), x, length=7)[0]
        return x @ matrix

    found = cost(network, X, kernel, matrix)
    assert [layer.runs for layer in found.layers] == [7, 1]
    entries = 2 * 8 * 9
    assert found.multiply_adds == 7 * entries * 4 * 36 + entries * 4 * 5
    real = (3 * 8 - 2) * (3 * 9 - 2)
    assert found.multiply_adds_without_padding == 7 * 2 * 4 * 4 * real + entries * 4 * 5
    assert found.kernel_entries == 9 * 16 + 20
    assert found.bytes_moved == 4 * (
        7 * (2 * entries * 4 + 9 * 16) + entries * 4 + 20 + entries * 5
    )
    head, *lines, total = str(found).splitlines()
    assert head.split()[:6] == ["layer", "output", "shape", "runs", "kernel", "entries"]
    assert len(lines) == 2
    assert lines[0].startswith("dilax_conv at test_costs.py:")
    assert f"{found.multiply_adds:,}" in total
    assert multiply_adds(network, X, kernel, matrix) == found.multiply_adds


def test_taps_that_meet_padding_alone_are_counted_as_the_formula_counts_them():
    x, kernel = struct(1, 6, 6, 2), struct(3, 3, 2, 2)
    found = cost(lambda x, kernel: dilax.conv(x, kernel, kernel_dilation=8), x, kernel)
    assert found.kernel_entries == 36
    assert found.multiply_adds == 36 * 36 and found.multiply_adds_without_padding == 36 * 4

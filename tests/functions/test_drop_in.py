"""`dilax.conv_general_dilated` is lax's: its signature, results, types, refusals, and hooks."""

import functools
import inspect

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import dilax
from tests import cases

pytestmark = pytest.mark.usefixtures("compile_quickly")
NHWC = ("NHWC", "HWIO", "NHWC")


def arrays(*shapes: tuple[int, ...], dtype=jnp.float32) -> list[jax.Array]:
    return [jnp.asarray(array, dtype) for array in cases.draw(*shapes)]


def assert_same_as_lax(x, kernel, *arguments, **options) -> None:
    result = dilax.conv_general_dilated(x, kernel, *arguments, **options)
    expected = lax.conv_general_dilated(x, kernel, *arguments, **options)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_signature_is_that_of_lax() -> None:
    """Names, order and defaults; behind them at most keywords of dilax's own."""
    theirs = list(inspect.signature(lax.conv_general_dilated).parameters.values())
    ours = list(inspect.signature(dilax.conv_general_dilated).parameters.values())
    for mine, yours in zip(ours, theirs, strict=False):
        assert (mine.name, mine.kind, mine.default) == (yours.name, yours.kind, yours.default)
    assert all(extra.kind is extra.KEYWORD_ONLY for extra in ours[len(theirs) :])


def test_kernel_too_wide_gives_no_output_as_in_lax() -> None:
    """`dilax.conv` refuses this one; the drop-in does what lax does."""
    x, kernel = arrays((1, 2, 2, 1), (2, 2, 1, 1))
    options = {"rhs_dilation": (2, 2), "dimension_numbers": NHWC}
    assert dilax.conv_general_dilated(x, kernel, (1, 1), "VALID", **options).shape == (1, 0, 0, 1)
    assert_same_as_lax(x, kernel, (1, 1), "VALID", **options)


ORDERS = {
    "default": (None, (2, 3, 7, 6), (6, 1, 3, 2)),
    "channels_last": (NHWC, (2, 7, 6, 3), (3, 2, 1, 6)),
    "mixed": (("HWNC", "OHIW", "CWNH"), (7, 6, 2, 3), (6, 3, 1, 2)),
    "numbers": (
        lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)),
        (2, 7, 6, 3),
        (3, 2, 1, 6),
    ),
}
PADDINGS = ["SAME", "VALID", "same_lower", [(1, 2), (0, -1)]]


@pytest.mark.parametrize(("order", "padding"), cases.crossed(PADDINGS, list(ORDERS)))
def test_any_order_of_dimensions(order, padding) -> None:
    dimension_numbers, x_shape, kernel_shape = ORDERS[order]
    x, kernel = arrays(x_shape, kernel_shape)
    options = {"dimension_numbers": dimension_numbers, "feature_group_count": 3}
    assert_same_as_lax(x, kernel, (1, 2), padding, None, (2, 1), **options)


TYPES = ["float32", "bfloat16", "float16", "int32", "int8", "uint8", "complex64"]


@pytest.mark.parametrize(("dtype", "groups"), cases.crossed([1, 4], TYPES))
def test_every_type(dtype, groups: int) -> None:
    x, kernel = cases.sixteenths(*cases.draw((2, 6, 5, 4), (3, 2, 4 // groups, 4)))
    grain = 16 if jnp.issubdtype(dtype, jnp.integer) else 1
    x, kernel = (jnp.asarray(abs(array) * grain % 8).astype(dtype) for array in (x, kernel))
    options = {"dimension_numbers": NHWC, "feature_group_count": groups}
    result = dilax.conv_general_dilated(x, kernel, (1, 1), "SAME", **options)
    exact = lax.conv_general_dilated(
        x.astype(jnp.complex64), kernel.astype(jnp.complex64), (1, 1), "SAME", **options
    )
    assert result.dtype == dtype
    exact = exact if dtype == jnp.complex64 else exact.real
    np.testing.assert_allclose(result, np.asarray(exact).astype(dtype), rtol=1e-2)


def test_integers_can_be_summed_in_a_wider_type() -> None:
    x = jnp.full((1, 6, 6, 4), 100, jnp.int8)
    kernel = jnp.full((3, 3, 1, 4), 100, jnp.int8)
    options = {"dimension_numbers": NHWC, "feature_group_count": 4}
    wide = {"preferred_element_type": jnp.int32}
    y = dilax.conv_general_dilated(x, kernel, (1, 1), "VALID", **options, **wide)
    assert y.dtype == jnp.int32
    np.testing.assert_array_equal(y, np.full((1, 4, 4, 4), 9 * 100 * 100))


FOR_LAX = {
    "spread": {"lhs_dilation": (2, 1), "feature_group_count": 2},
    "groups of the batch": {"batch_group_count": 2},
    "nothing to hand on": {"feature_group_count": 2},
}


@pytest.mark.parametrize("name", FOR_LAX)
def test_what_only_lax_computes_is_handed_on(name: str) -> None:
    x, kernel = arrays((2, 5, 4, 2 if "batch" in name else 4), (3, 2, 2, 4))
    assert_same_as_lax(x, kernel, (1, 1), ((1, 2), (0, 1)), dimension_numbers=NHWC, **FOR_LAX[name])


@pytest.mark.parametrize("name", FOR_LAX)
def test_the_algorithm_is_checked_on_every_path(name: str) -> None:
    x, kernel = arrays((2, 5, 4, 2 if "batch" in name else 4), (3, 2, 2, 4))
    options = {"dimension_numbers": NHWC, **FOR_LAX[name]}
    with pytest.raises(TypeError, match=r"algorithm must be .*algorithms\.lax.*got 'nonsense'"):
        dilax.conv_general_dilated(
            x, kernel, (1, 1), ((1, 2), (0, 1)), **options, algorithm="nonsense"
        )


@pytest.mark.parametrize("window", [(), (3, 2, 3, 2)], ids=["0d", "4d"])
def test_ranks_beyond_dilax_go_to_lax(window: tuple[int, ...]) -> None:
    x, kernel = arrays((2, 3, *window), (3, 1, *(2,) * len(window)))
    strides = (1,) * len(window)
    assert_same_as_lax(x, kernel, strides, "VALID", feature_group_count=3)


@pytest.mark.parametrize("shape", [(0, 6, 5, 3), (2, 0, 5, 3)], ids=["batch", "rows"])
def test_empty_inputs(shape: tuple[int, ...]) -> None:
    x, kernel = arrays(shape, (3, 2, 1, 3))
    options = {"dimension_numbers": NHWC, "feature_group_count": 3}
    assert_same_as_lax(x, kernel, (1, 1), ((2, 2), (0, 1)), **options)


def test_out_sharding_is_honoured() -> None:
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    mesh = jax.make_mesh((2,), ("devices",), axis_types=(jax.sharding.AxisType.Explicit,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("devices"))
    with jax.set_mesh(mesh):
        x, kernel = (jax.device_put(a, sharding) for a in arrays((2, 6, 5, 4), (2, 3, 1, 4)))
        kernel = jax.device_put(kernel, sharding.update(spec=jax.sharding.PartitionSpec()))
        y = jax.jit(
            lambda x, kernel: dilax.conv_general_dilated(
                x,
                kernel,
                (1, 1),
                "SAME",
                dimension_numbers=NHWC,
                feature_group_count=4,
                out_sharding=sharding,
            )
        )(x, kernel)
    assert y.sharding.spec[0] == "devices"


REFUSALS = {
    "mixed_types": ((1, 4, 3), (2, 3, 3), {}, jnp.bfloat16),
    "rank_mismatch": ((1, 3, 4, 4), (3, 3, 2), {}, jnp.float32),
    "wrong_in_features": ((1, 4, 3), (2, 3, 2), {}, jnp.float32),
    "groups_do_not_divide": ((1, 4, 3), (4, 1, 2), {"feature_group_count": 3}, jnp.float32),
    "both_groups": ((2, 4, 3), (4, 2, 2), {"feature_group_count": 2, "batch_group_count": 2},
                    jnp.float32),
    "zero_dilation": ((1, 3, 4), (3, 3, 2), {"rhs_dilation": (0,)}, jnp.float32),
    "unknown_padding": ((1, 3, 4), (3, 3, 2), {"padding": "CAUSAL"}, jnp.float32),
    "bad_dimension_numbers": ((1, 3, 4), (3, 3, 2), {"dimension_numbers": ("NXC", "OIW", "NCW")},
                              jnp.float32),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refuses_what_lax_refuses_in_its_words(name: str) -> None:
    x_shape, kernel_shape, options, dtype = REFUSALS[name]
    x, kernel = jnp.ones(x_shape, dtype), jnp.ones(kernel_shape)
    options = {"window_strides": (1,), "padding": "VALID", **options}
    raised = []
    for function in (lax.conv_general_dilated, dilax.conv_general_dilated):
        with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
            function(x, kernel, **options)
        raised.append(caught.value)
    theirs, ours = raised
    assert str(theirs) in str(ours)
    assert type(ours) is (ValueError if type(theirs) is RuntimeError else type(theirs))


# --- hooks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 4], ids=["dense", "depthwise"])
def test_hook_into_nnx(groups: int) -> None:
    make = functools.partial(
        nnx.Conv, 4, 8, (3, 2), strides=(2, 1), kernel_dilation=(1, 2), feature_group_count=groups
    )
    stock = make(rngs=nnx.Rngs(0))
    hooked = make(rngs=nnx.Rngs(0), conv_general_dilated=dilax.conv_general_dilated)
    x = jnp.cos(jnp.arange(2.0 * 7 * 6 * 4)).reshape(2, 7, 6, 4)
    np.testing.assert_allclose(hooked(x), stock(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 4], ids=["dense", "depthwise"])
def test_hook_into_linen(groups: int, key) -> None:
    make = functools.partial(
        flax.linen.Conv,
        8,
        (3, 2),
        strides=(2, 1),
        kernel_dilation=(1, 2),
        feature_group_count=groups,
    )
    x = jax.random.normal(key, (2, 7, 6, 4))
    variables = make().init(key, x)
    hooked = make(conv_general_dilated=dilax.conv_general_dilated)
    expected = make().apply(variables, x)
    np.testing.assert_allclose(hooked.apply(variables, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changed",
    [
        {"lhs_dilation": (np.array(2), np.array(1))},
        {"lhs_dilation": (1,)},
        {"lhs_dilation": 2},
        {"dimension_numbers": lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 3, 0, 1), (0, 3, 1, 2))},
        {"dimension_numbers": lax.ConvDimensionNumbers((0, 3, 1, 4), (3, 2, 0, 1), (0, 3, 1, 2))},
    ],
    ids=str,
)
def test_what_it_does_not_understand_is_judged_by_lax(changed):
    x, kernel = jnp.ones((2, 5, 6, 4)), jnp.ones((3, 2, 4, 8))
    numbers = ("NHWC", "HWIO", "NHWC")
    arguments = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": numbers}

    def outcome(convolve):
        try:
            return convolve(x, kernel, **arguments | changed).shape
        except Exception as error:
            return TypeError if isinstance(error, TypeError) else ValueError

    assert outcome(dilax.conv_general_dilated) == outcome(lax.conv_general_dilated)

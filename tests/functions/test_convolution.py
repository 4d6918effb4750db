"""`dilax.conv`: the textbooks' examples, paddings, batch axes, types, and what it refuses."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dilax
from tests import cases, reference

pytestmark = pytest.mark.usefixtures("compile_quickly")


def arrays(*shapes: tuple[int, ...], dtype=jnp.float32) -> list[jax.Array]:
    return [jnp.asarray(array, dtype) for array in cases.sixteenths(*cases.draw(*shapes))]


def abstract(*shapes: tuple[int, ...], **options) -> jax.ShapeDtypeStruct:
    operands = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.eval_shape(functools.partial(dilax.conv, **options), *operands)


# --- worked examples ------------------------------------------------------------------------------


def test_differences_of_a_ramp() -> None:
    """x = 1..9 and w = [1, 0, -1] at dilation 2: x[i] - x[i + 4] = -4, wherever it fits."""
    x = jnp.arange(1.0, 10.0)[:, None]
    kernel = jnp.array([1.0, 0.0, -1.0])[:, None, None]
    y = dilax.conv(x, kernel, kernel_dilation=2, padding="VALID")
    np.testing.assert_array_equal(y, np.full((9 - 4, 1), -4.0))


def test_same_padding_keeps_the_image() -> None:
    y = abstract((224, 224, 3), (3, 3, 3, 64), kernel_dilation=2, padding="SAME")
    assert y.shape == (224, 224, 64)


def test_dilated_kernel_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="effective kernel size is 3") as raised:
        dilax.conv(jnp.ones((2, 2, 1)), jnp.ones((2, 2, 1, 1)), kernel_dilation=2, padding="VALID")
    assert "SAME" in str(raised.value)


@pytest.mark.parametrize(
    ("window", "dilation"), [((9,), 1), ((9,), 2), ((5, 4), 2), ((4, 3, 5), 1)]
)
def test_causal_padding_never_looks_ahead(window: tuple[int, ...], dilation: int) -> None:
    """Along each axis, no output depends on a later input; on the present one it does."""
    (kernel,) = arrays((*(3,) * len(window), 1, 1))
    conv = functools.partial(dilax.conv, padding="CAUSAL", kernel_dilation=dilation)
    jacobian = jax.jit(jax.jacrev(conv))(jnp.ones((*window, 1)), kernel)
    sees = np.asarray(jacobian).reshape(window + window) != 0
    for output in np.ndindex(*window):
        seen = np.argwhere(sees[output])
        assert (seen <= output).all()
        assert (seen == output).all(axis=1).any()


# --- padding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SAME", "SAME_LOWER", "VALID"])
def test_named_padding_is_the_pads_of_lax(name: str) -> None:
    x, kernel = arrays((2, 9, 8, 3), (3, 4, 3, 2))
    options = {"strides": (2, 3), "kernel_dilation": (2, 1)}
    pads = jax.lax.padtype_to_pads(x.shape[1:-1], (5, 4), (2, 3), name)
    named = dilax.conv(x, kernel, padding=name, **options)
    np.testing.assert_array_equal(named, dilax.conv(x, kernel, padding=pads, **options))
    np.testing.assert_array_equal(named, dilax.conv(x, kernel, padding=name.lower(), **options))


@pytest.mark.parametrize(
    ("padding", "pairs"),
    [(2, ((2, 2), (2, 2))), ((0, 3), ((0, 0), (3, 3))), (((1, 0), 2), ((1, 0), (2, 2)))],
)
def test_short_forms_of_padding(padding, pairs) -> None:
    x, kernel = arrays((2, 5, 6, 3), (3, 2, 3, 2))
    expected = dilax.conv(x, kernel, padding=pairs)
    np.testing.assert_array_equal(dilax.conv(x, kernel, padding=padding), expected)


@pytest.mark.parametrize(
    ("name", "mode", "kernel_size", "dilation"),
    [
        ("CIRCULAR", "wrap", (3, 3), 1),
        ("CIRCULAR", "wrap", (4, 2), (2, 1)),
        ("REFLECT", "reflect", (3, 3), (2, 1)),
        ("REFLECT", "reflect", (4, 2), 1),
    ],
)
def test_circular_and_reflect_are_those_of_flax(name, mode, kernel_size, dilation, key) -> None:
    """Value and gradient, compared with Flax, and with an array that was padded first."""
    options = {"padding": name, "kernel_dilation": dilation}
    stock = nnx.Conv(3, 4, kernel_size, use_bias=False, rngs=nnx.Rngs(key), **options)
    graph, state = nnx.split(stock)
    x, kernel = jax.random.normal(key, (2, 7, 6, 3)), stock.kernel[...]
    spans = [
        d * (k - 1) + 1 for k, d in zip(kernel_size, np.broadcast_to(dilation, 2), strict=True)
    ]
    edges = [(0, 0), *[((s - 1) // 2, s // 2) for s in spans], (0, 0)]

    def padded_before(x):
        padded = jnp.pad(x, edges, mode=mode)
        return dilax.conv(padded, kernel, padding="VALID", kernel_dilation=dilation)

    @jax.jit
    def with_gradients(x):
        forms = (
            lambda x: dilax.conv(x, kernel, **options),
            lambda x: nnx.merge(graph, state)(x),
            padded_before,
        )
        pulls = [jax.vjp(form, x) for form in forms]
        return [(y, pull(jnp.sin(y))) for y, pull in pulls]

    ours, theirs, before = with_gradients(x)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, ours, theirs)
    jax.tree.map(close, ours, before)


# --- batch axes -----------------------------------------------------------------------------------


SUBJECTS = [(groups, window) for groups in (1, 4) for window in ((5,), (5, 4), (3, 4, 2))]
BATCHES = [(), (1,), (3,), (2, 3), (2, 1, 2), (0,), (2, 0)]


@pytest.mark.parametrize(("batch", "subject"), cases.crossed(SUBJECTS, BATCHES))
def test_any_number_of_batch_axes(batch, subject) -> None:
    groups, window = subject
    x, kernel = arrays((*batch, *window, 4), (*(2,) * len(window), 4 // groups, 4))
    conv = functools.partial(dilax.conv, feature_group_count=groups)
    y = conv(x, kernel)
    assert y.shape == x.shape
    for index in np.ndindex(*batch):
        np.testing.assert_allclose(y[index], conv(x[index], kernel), rtol=1e-6, atol=1e-6)


def test_an_axis_may_be_empty_where_padding_fills_it() -> None:
    y = dilax.conv(jnp.ones((2, 0, 3)), jnp.ones((2, 3, 4)), padding=((2, 1),))
    np.testing.assert_array_equal(y, np.zeros((2, 2, 4)))


# --- bias, types, precision -----------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_bias_is_added_to_every_output(batch) -> None:
    x, kernel, bias = arrays((*batch, 5, 6, 3), (3, 3, 3, 4), (4,))
    expected = np.asarray(dilax.conv(x, kernel)) + np.asarray(bias)
    np.testing.assert_array_equal(dilax.conv(x, kernel, bias=bias), expected)


def test_gradient_of_the_bias_counts_the_outputs() -> None:
    x, kernel, bias = arrays((2, 5, 6, 3), (3, 3, 3, 4), (4,))
    gradient = jax.grad(lambda bias: dilax.conv(x, kernel, bias=bias).sum())(bias)
    np.testing.assert_array_equal(gradient, np.full(4, 2 * 5 * 6))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_half_precision_gradients_are_rounded_once(dtype, groups) -> None:
    """Through the public call and JAX's own differentiation, whichever algorithm is chosen."""
    case = cases.Case(
        "half", (9, 7), (3, 2), (1, 2), ((2, 2), (1, 0)), (2, 1), 6, 12, groups, batch=3
    )
    expected = cases.solve(case, exact=True)
    x, kernel, g = (jnp.asarray(a, dtype) for a in (expected.x, expected.kernel, expected.g))
    conv = functools.partial(
        dilax.conv,
        strides=case.strides,
        padding=case.padding,
        kernel_dilation=case.kernel_dilation,
        feature_group_count=groups,
    )
    y, pull = jax.vjp(conv, x, kernel)
    wanted = (expected.output, expected.input_gradient, expected.kernel_gradient)
    for result, want in zip((y, *pull(g)), wanted, strict=True):
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, want.astype(dtype))


@pytest.mark.parametrize("groups", [1, 4], ids=["dense", "depthwise"])
def test_preferred_element_type_keeps_the_float32_sum(groups: int) -> None:
    x, kernel = arrays((2, 8, 7, 4), (3, 3, 4 // groups, 4), dtype=jnp.bfloat16)
    conv = functools.partial(
        dilax.conv, feature_group_count=groups, preferred_element_type=jnp.float32, padding="VALID"
    )
    y = conv(x, kernel)
    exact = reference.conv(
        np.asarray(x, np.float64),
        np.asarray(kernel, np.float64),
        strides=(1, 1),
        padding=((0, 0), (0, 0)),
        kernel_dilation=(1, 1),
        feature_group_count=groups,
    )
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, exact)
    gradients = jax.grad(lambda *operands: conv(*operands).sum(), (0, 1))(x, kernel)
    assert [gradient.dtype for gradient in gradients] == [jnp.bfloat16, jnp.bfloat16]


def test_types_are_promoted_as_numpy_promotes_them() -> None:
    x, kernel = arrays((5, 2), (3, 2, 2))
    y = dilax.conv(x.astype(jnp.bfloat16), kernel)
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, dilax.conv(x, kernel))  # sixteenths: the cast loses nothing


def test_numpy_arrays_and_lists_are_arrays() -> None:
    y = dilax.conv([[1.0], [2.0], [3.0]], np.ones((2, 1, 1), np.float32), padding="VALID")
    assert isinstance(y, jax.Array)
    np.testing.assert_array_equal(y, [[3.0], [5.0]])


@pytest.mark.parametrize(
    "precision", [None, "highest", jax.lax.Precision.HIGH, ("high", "highest")]
)
@pytest.mark.parametrize("groups", [1, 4], ids=["dense", "depthwise"])
def test_precision_is_taken_in_every_form(precision, groups: int) -> None:
    x, kernel = arrays((5, 6, 4), (2, 2, 4 // groups, 4))
    y = dilax.conv(x, kernel, precision=precision, feature_group_count=groups)
    np.testing.assert_array_equal(y, dilax.conv(x, kernel, feature_group_count=groups))


# --- integers -------------------------------------------------------------------------------------

INTEGERS = {
    "numpy": np.int64(2),
    "array": np.array(2),
    "array of two": np.array([2, 2]),
    "array on a device": jnp.array([2, 2], jnp.int32),
    "list": [np.int32(2), 2],
}


@pytest.mark.parametrize("form", INTEGERS)
@pytest.mark.parametrize("name", ["strides", "padding", "kernel_dilation"])
def test_integers_are_those_of_numpy_too(name: str, form: str) -> None:
    x, kernel = arrays((2, 7, 6, 3), (3, 2, 3, 2))
    expected = dilax.conv(x, kernel, **{name: 2})
    np.testing.assert_array_equal(dilax.conv(x, kernel, **{name: INTEGERS[form]}), expected)


def test_pads_are_an_array_too() -> None:
    x, kernel = arrays((2, 7, 6, 3), (3, 2, 3, 2))
    pads = ((1, 2), (0, -1))
    expected = dilax.conv(x, kernel, padding=pads)
    for form in (
        np.array(pads),
        [np.array(pads[0]), pads[1]],
        [list(map(np.int8, pads[0])), pads[1]],
    ):
        np.testing.assert_array_equal(dilax.conv(x, kernel, padding=form), expected)


@pytest.mark.parametrize("groups", [np.int64(2), np.array(2), jnp.array(2)], ids=type)
def test_the_number_of_groups_is_an_integer_of_numpy_too(groups) -> None:
    x, kernel = arrays((2, 7, 6, 4), (3, 2, 2, 4))
    expected = dilax.conv(x, kernel, feature_group_count=2)
    np.testing.assert_array_equal(dilax.conv(x, kernel, feature_group_count=groups), expected)


@pytest.mark.parametrize("value", [2, np.array([2, 2])], ids=["scalar", "array"])
@pytest.mark.parametrize("name", ["strides", "padding", "kernel_dilation", "feature_group_count"])
def test_integers_that_are_traced_are_refused_by_name(name: str, value) -> None:
    x, kernel = arrays((2, 7, 6, 4), (3, 2, 2, 4))
    with pytest.raises(TypeError, match=rf"^{name} must be .*, got .*Trace"):
        jax.jit(lambda value: dilax.conv(x, kernel, **{"feature_group_count": 2, name: value}))(
            value
        )


# --- refusals -------------------------------------------------------------------------------------

REFUSALS = {
    "x_without_features": ((5,), (3, 2, 2), {}, ["x", "(5,)", "(3, 2, 2)"]),
    "x_of_lower_rank": ((5, 2), (3, 3, 2, 2), {}, ["x", "(5, 2)", "(3, 3, 2, 2)"]),
    "kernel_without_window": ((5, 2), (2, 2), {}, ["kernel", "(2, 2)", "1 to 3 window axes"]),
    "kernel_of_four_axes": ((2,) * 5, (1,) * 4 + (2, 2), {}, ["kernel", "1 to 3 window axes"]),
    "wrong_in_features": ((5, 6), (3, 4, 2), {}, ["kernel", "4", "6", "feature_group_count"]),
    "depthwise_without_groups": ((5, 6), (3, 1, 6), {}, ["feature_group_count be 6"]),
    "too_many_groups": ((5, 6), (3, 2, 4), {"feature_group_count": 4}, ["6", "4", "2"]),
    "outputs_not_divisible": ((5, 6), (3, 2, 4), {"feature_group_count": 3}, ["4", "3", "divide"]),
    "groups_zero": ((5, 6), (3, 2, 4), {"feature_group_count": 0}, ["feature_group_count", "0"]),
    "kernel_too_wide": ((5, 2), (3, 2, 2), {"kernel_dilation": 3, "padding": 0},
                        ["effective kernel size is 7", "5", "dilation"]),
    "kernel_too_wide_on_one_axis": ((5, 4, 1), (2, 2, 1, 1), {"kernel_dilation": (1, 4),
                                    "padding": "VALID"}, ["effective kernel size", "5", "4"]),
    "kernel_wider_than_one_entry": ((1, 2), (3, 2, 2), {"padding": "VALID"},
                                    ["effective kernel size is 3", "1"]),
    "stride_zero": ((5, 2), (3, 2, 2), {"strides": 0}, ["strides", "at least 1", "0"]),
    "stride_negative": ((5, 2), (3, 2, 2), {"strides": (-2,)}, ["strides", "(-2,)"]),
    "too_many_strides": ((5, 2), (3, 2, 2), {"strides": (1, 2)}, ["strides", "2", "1 window"]),
    "dilation_zero": ((5, 2), (3, 2, 2), {"kernel_dilation": 0}, ["kernel_dilation", "at least 1"]),
    "too_few_dilations": ((5, 5, 2), (3, 3, 2, 2), {"kernel_dilation": (2,)}, ["kernel_dilation"]),
    "padding_misspelt": ((5, 2), (3, 2, 2), {"padding": "SAMME"}, ["padding", "'SAMME'", "'SAME'"]),
    "padding_nearly_reflect": ((5, 2), (3, 2, 2), {"padding": "reflects"}, ["'REFLECT'"]),
    "too_few_pads": ((5, 5, 2), (3, 3, 2, 2), {"padding": ((1, 1),)}, ["padding", "1", "2 window"]),
    "pad_of_three": ((5, 2), (3, 2, 2), {"padding": ((1, 2, 3),)}, ["padding", "(1, 2, 3)"]),
    "bias_of_wrong_shape": ((5, 2), (3, 2, 4), {"bias": np.ones(3)}, ["bias", "(4,)", "(3,)"]),
    "bias_of_rank_2": ((5, 2), (3, 2, 4), {"bias": np.ones((1, 4))}, ["bias", "(4,)", "(1, 4)"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_says_what_is_wrong(name: str) -> None:
    x_shape, kernel_shape, options, parts = REFUSALS[name]
    with pytest.raises(ValueError) as raised:
        dilax.conv(jnp.ones(x_shape), jnp.ones(kernel_shape), **options)
    missing = [part for part in parts if part not in str(raised.value)]
    assert not missing, f"{missing} not in: {raised.value}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": 1.5}, "strides.*integer.*1.5"),
        ({"kernel_dilation": (2.0,)}, "kernel_dilation.*integer.*2.0"),
        ({"padding": 0.5}, "padding.*integer.*0.5"),
        ({"padding": ((1, "2"),)}, "padding.*integer.*'2'"),
    ],
)
def test_says_what_is_no_integer(options, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        dilax.conv(jnp.ones((5, 2)), jnp.ones((3, 2, 2)), **options)


def test_arguments_beyond_the_arrays_are_named() -> None:
    with pytest.raises(TypeError, match=re.escape("positional")):
        dilax.conv(jnp.ones((5, 2)), jnp.ones((3, 2, 2)), 2)

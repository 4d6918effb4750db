"""Every form of a convolution against lax, in float64, over drawn configurations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import dilax
from dilax._accelerate.convolutions import ALL_PASSES
from tests.accelerate.programs import operations

pytestmark = pytest.mark.usefixtures("compile_quickly")
close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
REPLACED = "dilax_conv_general_dilated"


def permuted(rng, *sizes):
    """Sizes in a drawn order, and the places where each of them went."""
    order = [int(axis) for axis in rng.permutation(len(sizes))]
    return tuple(sizes[axis] for axis in order), tuple(order.index(k) for k in range(len(sizes)))


def drawn(seed: int, *, spread: bool = False, batch_groups: bool = False):
    """Operands, and lax's arguments: any rank and any order of dimensions."""
    rng = np.random.default_rng(seed)
    rank = 1 + seed % 3
    groups, per_group, multiplier = rng.integers(1, 4, 3)
    batch, size = int(rng.integers(1, 4)), rng.integers(5, 8, rank)
    window, dilation = rng.integers(1, 4, rank), rng.integers(1, 3, rank)
    in_features, outputs = groups * per_group, groups * multiplier
    kernel_inputs = in_features if batch_groups else per_group
    lhs_batch = groups * batch if batch_groups else batch
    x_shape, x_places = permuted(rng, lhs_batch, in_features, *size)
    kernel_shape, kernel_places = permuted(rng, outputs, kernel_inputs, *window)
    _, out_places = permuted(rng, batch, outputs, *size)
    arguments = {
        "window_strides": rng.integers(1, 3, rank).tolist() if not spread else [1] * rank,
        "padding": [tuple(pair) for pair in rng.integers(-1, 4, (rank, 2)).tolist()],
        "lhs_dilation": rng.integers(1, 4, rank).tolist() if spread else [1] * rank,
        "rhs_dilation": dilation.tolist(),
        "dimension_numbers": lax.ConvDimensionNumbers(x_places, kernel_places, out_places),
        "feature_group_count": 1 if batch_groups else int(groups),
        "batch_group_count": int(groups) if batch_groups else 1,
    }
    x, kernel = (jnp.asarray(rng.normal(size=shape)) for shape in (x_shape, kernel_shape))
    return x, kernel, arguments


def agree(f, *operands):
    """Value and both gradients, accelerated inside, outside, and twice."""

    def loss(*operands):
        return jnp.sum(jnp.sin(f(*operands)))

    gradients = jax.value_and_grad(loss, (0, 1))
    inside = jax.value_and_grad(dilax.accelerate(loss), (0, 1))
    forms = gradients, dilax.accelerate(gradients), inside
    expected, *results = jax.jit(lambda *operands: [form(*operands) for form in forms])(*operands)
    for result in results:
        jax.tree.map(close, result, expected)


def seeds(number: int) -> list:
    """The number of random configurations: ten times as many with ``--long``."""
    many = range(10 * number)
    return [pytest.param(k, marks=pytest.mark.long if k >= number else ()) for k in many]


@pytest.mark.parametrize("seed", seeds(6))
def test_forward_and_the_gradients_that_jax_derives(seed, double):
    x, kernel, arguments = drawn(seed)
    f = functools.partial(lax.conv_general_dilated, **arguments)
    agree(f, x, kernel)
    if jax.eval_shape(f, x, kernel).size:
        assert operations(dilax.accelerate(f), x, kernel) == {REPLACED: 1}


@pytest.mark.parametrize("seed", seeds(3))
def test_a_spread_input_written_by_hand(seed, double):
    x, kernel, arguments = drawn(seed, spread=True)
    agree(functools.partial(lax.conv_general_dilated, **arguments), x, kernel)


@pytest.mark.parametrize("seed", seeds(3))
def test_groups_of_the_batch_written_by_hand(seed, double):
    x, kernel, arguments = drawn(seed, batch_groups=True)
    agree(functools.partial(lax.conv_general_dilated, **arguments), x, kernel)


NETWORK = {
    "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
    "window_strides": (2, 1),
    "padding": ((1, 0), (2, 1)),
    "rhs_dilation": (1, 2),
}


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_both_gradients_are_told_by_their_form(layout, groups, double):
    """All three convolutions of a gradient become the pass that they are."""
    shapes = {"NHWC": (2, 7, 6, 6), "NCHW": (2, 6, 7, 6)}
    numbers = {"NHWC": NETWORK["dimension_numbers"], "NCHW": ("NCHW", "OIHW", "NCHW")}[layout]
    kernel_shape = (3, 3, 6 // groups, 9) if layout == "NHWC" else (9, 6 // groups, 3, 3)

    def loss(x, kernel):
        arguments = NETWORK | {"dimension_numbers": numbers, "feature_group_count": groups}
        return jnp.sum(jnp.sin(lax.conv_general_dilated(x, kernel, **arguments)))

    x, kernel = jnp.ones(shapes[layout]), jnp.ones(kernel_shape)
    findings = dilax.explain(jax.grad(loss, (0, 1)), x, kernel).findings
    passes = [tuple(name for name, _ in finding.passes) for finding in findings]
    assert sorted(passes) == sorted([ALL_PASSES, ("input_gradient",), ("kernel_gradient",)])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_kernel_gradient_of_a_transposed_convolution_is_one(groups, dilation, double):
    """Its window is the kernel, not an image, as in the gradient of the accelerated function."""
    rng = np.random.default_rng(groups)
    x, kernel = (
        jnp.asarray(rng.normal(size=(2, 5, 4, 6))),
        jnp.asarray(rng.normal(size=(3, 2, 6 // groups, 4))),
    )

    def transposed(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            ((2, 3), (1, 2)),
            lhs_dilation=(2, 3),
            rhs_dilation=(dilation, dilation),
            dimension_numbers=NETWORK["dimension_numbers"],
            feature_group_count=groups,
        )

    agree(transposed, x, kernel)
    slope = jax.grad(lambda k: jnp.sum(jnp.sin(transposed(x, k))))
    findings = dilax.explain(slope, kernel).findings
    assert [tuple(name for name, _ in finding.passes) for finding in findings] == [
        ("input_gradient",),
        ("kernel_gradient",),
    ]


def depthwise(x, kernel, **arguments):
    given = NETWORK | {"feature_group_count": x.shape[-1]} | arguments
    return lax.conv_general_dilated(x, kernel, **given)


SECOND = {
    "hessian": lambda f, x, w: jax.hessian(lambda w: jnp.sum(jnp.sin(f(x, w))))(w),
    "forward over reverse": lambda f, x, w: jax.jvp(
        jax.grad(lambda x, w: jnp.sum(jnp.sin(f(x, w))), (0, 1)), (x, w), (x, w)
    ),
    "per example": lambda f, x, w: jax.vmap(
        jax.grad(lambda w, x: jnp.sum(jnp.sin(f(x, w)))), (None, 0)
    )(w, x[:, None]),
    "over kernels": lambda f, x, w: jax.vmap(jax.grad(lambda w: jnp.sum(jnp.sin(f(x, w)))))(
        jnp.stack([w, 2 - w])
    ),
}


@pytest.mark.parametrize("name", SECOND)
def test_derivatives_of_derivatives_and_batches_of_them(name, double):
    rng = np.random.default_rng(1)
    x, kernel = (
        jnp.asarray(rng.normal(size=(2, 5, 6, 3))),
        jnp.asarray(rng.normal(size=(2, 3, 1, 3))),
    )
    transformed = functools.partial(SECOND[name], depthwise)
    inside = functools.partial(SECOND[name], dilax.accelerate(depthwise))
    forms = transformed, dilax.accelerate(transformed), inside
    expected, *results = jax.jit(lambda *operands: [form(*operands) for form in forms])(x, kernel)
    for result in results:
        jax.tree.map(close, result, expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("preferred", [None, "float32"])
def test_types_of_results_are_kept(dtype, preferred):
    x, kernel = jnp.ones((2, 7, 6, 4), dtype), jnp.ones((3, 3, 1, 4), dtype)
    f = functools.partial(depthwise, preferred_element_type=preferred)
    result, expected = dilax.accelerate(f)(x, kernel), f(x, kernel)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result.astype("float32"), expected.astype("float32"), rtol=1e-2)
    assert operations(dilax.accelerate(f), x, kernel)[REPLACED] == 1


def test_precision_is_handed_on():
    f = functools.partial(depthwise, precision=lax.Precision.HIGHEST)
    x, kernel = jnp.ones((2, 7, 6, 4)), jnp.ones((3, 3, 1, 4))
    replaced = str(jax.make_jaxpr(dilax.accelerate(f))(x, kernel))
    assert "HIGHEST" in replaced
    assert "conv_general_dilated[" not in replaced


LEFT = {
    "integers": (jnp.int32, (2, 4, 9), (4, 4, 3), {}, "dilax computes floats"),
    "complex": (jnp.complex64, (2, 4, 9), (4, 4, 3), {}, "dilax computes floats"),
    "no entries": (jnp.float32, (0, 4, 9), (4, 4, 3), {}, "without entries"),
    "no outputs": (jnp.float32, (2, 4, 2), (4, 4, 3), {"padding": "VALID"}, "without entries"),
    "four axes": (
        jnp.float32,
        (2, 4, 3, 3, 3, 3),
        (4, 4, 1, 1, 1, 1),
        {"window_strides": (1,) * 4},
        "three window axes",
    ),
    "no axes": (jnp.float32, (2, 4), (4, 4), {"window_strides": ()}, "three window axes"),
    "spread and strided": (
        jnp.float32,
        (2, 4, 9),
        (4, 4, 3),
        {"lhs_dilation": (2,), "window_strides": (2,), "padding": ((1, 1),)},
        "its input is spread",
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_is_left_for_a_reason(name):
    dtype, x_shape, kernel_shape, arguments, reason = LEFT[name]
    x, kernel = jnp.ones(x_shape, dtype), jnp.ones(kernel_shape, dtype)
    f = functools.partial(
        lax.conv_general_dilated, **({"window_strides": (1,), "padding": "SAME"} | arguments)
    )
    (finding,) = dilax.explain(f, x, kernel).findings
    assert reason in finding.reason
    assert not finding.replaced
    assert operations(dilax.accelerate(f), x, kernel) == operations(f, x, kernel)
    np.testing.assert_array_equal(dilax.accelerate(f)(x, kernel), f(x, kernel))

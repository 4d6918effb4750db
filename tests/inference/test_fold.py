"""Folding: the same outputs, with no constant scale or shift left in the program but one bias."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import dilax
from dilax.inference import fold
from tests.accelerate.programs import operations
from tests.random_arrays import draw

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

LAYOUTS = {"NHWC": ("NHWC", "HWIO", "NHWC"), "NCHW": ("NCHW", "OIHW", "NCHW")}


def close(found, expected, tolerance=1e-5):
    largest = float(jnp.abs(jnp.asarray(expected, jnp.float32)).max())
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * max(largest, 1))


def scalings(function, *args):
    """How many operations are left that normalisation consists of."""
    found = operations(function, *args)
    return sum(found[name] for name in ("mul", "div", "sub", "rsqrt", "sqrt", "add"))


def assert_folded(function, *args, left):
    """Equal outputs, with ``left`` operations of normalisation in the program."""
    close(jax.jit(fold(function))(*args), jax.jit(function)(*args))
    assert scalings(fold(function), *args) == left < scalings(function, *args)


def assert_left(function, *args):
    close(fold(function)(*args), function(*args))
    assert operations(fold(function), *args) == operations(function, *args)


# --- operations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_of_lax(layout, groups):
    channels = layout.index("C")
    shape = [2, 7, 6]
    shape.insert(channels, 4)
    kernel = jnp.transpose(
        draw(3, 2, 4 // groups, 6), [LAYOUTS["NHWC"][1].index(c) for c in LAYOUTS[layout][1]]
    )
    along = [6 if axis == channels else 1 for axis in range(4)]
    mean, factor, bias = (draw(*along) for _ in range(3))

    def layer(x):
        y = lax.conv_general_dilated(
            x,
            kernel,
            (2, 1),
            ((1, 2), (0, 1)),
            rhs_dilation=(1, 2),
            feature_group_count=groups,
            dimension_numbers=LAYOUTS[layout],
        )
        return (y - mean) * factor / 0.7 + bias

    assert_folded(layer, draw(*shape), left=1)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_our_convolutions(rank):
    kernel, factor, bias = draw(*[3] * rank, 1, 6), draw(6), draw(6)

    def layer(x):
        return dilax.depthwise_conv(x, kernel, kernel_dilation=2) * factor + bias[None]

    with jax.numpy_rank_promotion("allow"):
        assert_folded(layer, draw(2, *[5] * rank, 3), left=1)


def test_a_pointwise_convolution_and_a_product():
    kernel, square, factor = draw(4, 6), draw(6, 5), draw(1, 1, 1, 6)

    def layer(x):
        y = dilax.pointwise_conv(x, kernel) * factor - 1.0
        return jnp.dot(jax.nn.relu(y), square) * 3.0

    assert_folded(layer, draw(2, 5, 4, 4), left=1)


def test_a_constant_in_front():
    kernel, factor = draw(3, 4, 4), draw(1, 1, 4)

    def layer(x):
        return 2.0 - factor * -dilax.conv(x, kernel)

    assert_folded(layer, draw(2, 9, 4), left=1)


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_max_pooling_in_between(padding):
    kernel, mean, factor, bias = draw(3, 3, 4, 8), *(draw(1, 1, 1, 8) for _ in range(3))

    def layer(factor, x):
        y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUTS["NHWC"])
        y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)
        return (y - mean) * factor + bias

    x = draw(2, 9, 8, 4)
    assert_folded(functools.partial(layer, abs(factor)), x, left=1)
    negative = functools.partial(layer, factor)  # the smallest entry becomes the largest
    close(fold(negative)(x), negative(x))
    assert operations(fold(negative), x)["mul"] == 1
    close(fold(lambda x: -layer(abs(factor), x))(x), -layer(abs(factor), x))


def test_max_pooling_of_features_stays():
    kernel, factor = draw(1, 1, 4, 8), abs(draw(1, 1, 1, 8))

    def layer(x):
        y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUTS["NHWC"])
        return lax.reduce_window(y, -jnp.inf, lax.max, (1, 1, 1, 3), (1, 1, 1, 1), "SAME") * factor

    assert_left(layer, draw(2, 9, 8, 4))


def test_a_factor_of_zero_and_large_numbers():
    kernel = draw(3, 2, 3)
    factor = jnp.asarray([0.0, 1e30, -2.0]).reshape(1, 1, 3)
    assert_folded(lambda x: dilax.conv(x, kernel) * factor, draw(2, 9, 2), left=0)


def test_half_precision_is_rounded_once():
    kernel, factor = draw(3, 4, 4, dtype=jnp.bfloat16), draw(1, 1, 4, dtype=jnp.bfloat16)
    x = draw(2, 9, 4, dtype=jnp.bfloat16)
    function = lambda x: dilax.conv(x, kernel) * factor + factor  # noqa: E731
    found, expected = (f(x).astype(jnp.float32) for f in (fold(function), function))
    assert fold(function)(x).dtype == jnp.bfloat16
    close(found, expected, 0.03)


def test_what_is_read_twice_is_computed_once():
    kernel, factor = draw(3, 4, 4), draw(1, 1, 4)

    def layer(x):
        y = dilax.conv(x, kernel)
        return y * factor + jax.nn.relu(y)

    x = draw(2, 9, 4)
    close(fold(layer)(x), layer(x))
    assert operations(fold(layer), x)["dilax_conv"] == 1


def test_what_is_no_scaling_of_features_stays():
    kernel, mask = draw(3, 4, 4), draw(1, 9, 1)
    x = draw(2, 9, 4)
    assert_left(lambda x: dilax.conv(x, kernel) * mask, x)
    assert_left(lambda x: dilax.conv(x, kernel) * x, x)
    assert_left(lambda x: jnp.sin(x) * mask, x)
    assert_left(lambda x: lax.dot_general(x, kernel, (((2,), (1,)), ((0,), (0,)))), draw(3, 9, 4))
    close(fold(lambda x: jnp.inf * dilax.conv(x, kernel))(x), jnp.inf * dilax.conv(x, kernel))


def test_what_is_broadcast_to_another_shape_stays():
    kernel, column = draw(3, 4, 4), draw(8, 1)
    x, rows = draw(1, 9, 4), draw(2, 8)
    close(fold(lambda x: dilax.conv(x, kernel) + jnp.zeros((5, 1, 1)))(x).shape, (5, 9, 4))
    close(fold(lambda x: dilax.conv(x, kernel) * jnp.ones((5, 1, 1)))(x).shape, (5, 9, 4))
    for threshold in (lambda x: x @ column + jnp.arange(3.0)[None], lambda x: x @ column * 2.0):
        close(fold(threshold)(rows), threshold(rows))


def test_a_wider_type_stays():
    kernel = draw(3, 4, 4, dtype=jnp.bfloat16)
    x = draw(2, 9, 4, dtype=jnp.bfloat16)
    for function in (
        lambda x: dilax.conv(x, kernel).astype(jnp.float32) * 3.0,
        lambda x: dilax.conv(x, kernel, preferred_element_type=jnp.float32) * 3.0,
    ):
        found = fold(function)(x)
        assert found.dtype == jnp.float32
        close(found, function(x), 1e-3)


def test_kernels_of_float16_stay():
    """Their range is too small: a scaled kernel may vanish."""
    kernel = jnp.full((3, 4, 4), 1e-2, jnp.float16)
    factor = jnp.full((1, 1, 4), 1e-4, jnp.float16)
    x = jnp.full((2, 9, 4), 1e2, jnp.float16)
    function = lambda x: dilax.conv(x, kernel) * factor  # noqa: E731
    np.testing.assert_array_equal(fold(function)(x), function(x))


def test_a_matrix_in_front():
    matrix, factor = draw(5, 4), draw(5, 1)
    assert_folded(lambda x: (matrix @ x) * factor + 1.0, draw(4, 3), left=1)


def test_integers_stay():
    kernel = jnp.ones((3, 4, 4), jnp.int32)
    assert_left(lambda x: dilax.conv(x, kernel) * 3, jnp.ones((2, 9, 4), jnp.int32))


def test_weights_that_are_arguments_stay():
    def layer(x, kernel, factor):
        return dilax.conv(x, kernel) * factor

    assert_left(layer, draw(2, 9, 4), draw(3, 4, 4), draw(1, 1, 4))


def test_a_product_with_a_batch_or_without_kernel_stays():
    x = draw(2, 9, 4)
    assert_left(lambda x: jnp.einsum("nic,njc->nij", x, x) * 2.0, x)


def test_large_constants_are_not_evaluated():
    """They would be stored in the program, or fill the memory while it is traced."""
    kernel, x = draw(3, 4, 4), draw(2, 9, 4)

    def table(x):
        return dilax.conv(x, kernel) + (jnp.zeros(1) + jnp.arange(2.0**20)).sum()

    def filled(x):
        return dilax.conv(x, kernel) + (jnp.ones((2**11, 2**11)) * 0.5).mean()

    for layer in (table, filled):
        assert len(jax.jit(fold(layer)).lower(x).as_text()) < 2**14
        close(fold(layer)(x), layer(x))
    shape = jax.eval_shape(fold(lambda x: x / jnp.ones((2**17, 2**17)).sum()), x).shape
    assert shape == x.shape


# --- transformations, arguments and results -------------------------------------------------------


@pytest.fixture
def layer():
    kernel, factor, bias = draw(3, 4, 4), draw(1, 1, 4), draw(1, 1, 4)
    return lambda x: jax.nn.relu(dilax.conv(x, kernel, kernel_dilation=2) * factor + bias)


def test_transformations_of_a_folded_function(layer):
    x = draw(2, 9, 4)
    close(jax.vmap(fold(layer))(x[:, None]), jax.vmap(layer)(x[:, None]))
    close(fold(jax.vmap(layer))(x[:, None]), jax.vmap(layer)(x[:, None]))
    slopes = [jax.grad(lambda x, f=f: jnp.sin(f(x)).sum()) for f in (fold(layer), layer)]
    close(slopes[0](x), slopes[1](x), 1e-4)
    close(fold(slopes[1])(x), slopes[1](x), 1e-4)
    many = [lax.map(f, x[:, None]) for f in (fold(layer), layer)]
    close(*many)


def test_weights_that_are_traced_stay():
    kernel, x = draw(3, 4, 4), draw(2, 9, 4)

    def with_kernel(kernel, transform):
        return transform(lambda x: dilax.conv(x, kernel) * 2.0)(x)

    def plain(kernel):
        return with_kernel(kernel, lambda function: function)

    def folded(kernel):
        return with_kernel(kernel, fold)

    close(jax.jit(folded)(kernel), plain(kernel))
    two = jnp.stack([kernel, -kernel])
    close(jax.vmap(folded)(two), jax.vmap(plain)(two))
    slopes = [jax.grad(lambda k, f=f: jnp.sin(f(k)).sum())(kernel) for f in (folded, plain)]
    close(*slopes, 1e-4)


def test_inside_of_shard_map(layer):
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("i")
    x = draw(2, 9, 4)
    shared = jax.shard_map(fold(layer), mesh=mesh, in_specs=spec, out_specs=spec)
    close(shared(x), layer(x))


def test_a_placed_result_stays_where_it_is(layer):
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("i"))
    found = fold(jax.jit(layer, out_shardings=sharding))(draw(2, 9, 4))
    assert found.sharding == sharding


def test_named_scopes_stay(layer):
    def scoped(x):
        with jax.named_scope("first"):
            return layer(x)

    assert "first" in jax.jit(fold(scoped)).lower(draw(2, 9, 4)).as_text(debug_info=True)


def test_together_with_accelerate():
    kernel, factor = draw(3, 3, 1, 4), draw(1, 1, 1, 4)

    def layer(x):
        y = lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", feature_group_count=4, dimension_numbers=LAYOUTS["NHWC"]
        )
        return y * factor + 1.0

    x = draw(2, 9, 9, 4)
    for both in (dilax.accelerate(fold(layer)), fold(dilax.accelerate(layer))):
        close(both(x), layer(x))
        found = operations(both, x)
        assert found["conv_general_dilated"] == 0 and found["mul"] == 0


def test_pytrees_go_in_and_out(layer):
    def function(arrays, *, name, count=1):
        return {name: layer(arrays["x"]) * count, "shape": arrays["x"].shape, "none": None}

    x = draw(2, 9, 4)
    found = fold(function)({"x": x}, name="y", count=2.0)
    close(found["y"], 2 * layer(x))
    assert found["none"] is None and found["shape"] == (2, 9, 4)


def test_what_the_function_raises_is_raised(layer):
    with pytest.raises(ValueError, match="in-features"):
        fold(layer)(draw(2, 9, 5))
    with pytest.raises(TypeError, match="function must be a function, got 3"):
        fold(3)


def test_constants_are_read_anew():
    kernel = np.ones((3, 1, 1), np.float32)
    folded, x = fold(lambda x: dilax.conv(x, kernel) * 2.0), draw(1, 9, 1)
    before = folded(x)
    kernel *= 3
    close(folded(x), 3 * before)

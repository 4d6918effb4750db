"""Pools against lax's `reduce_window`, Flax's own, and what a maximum and a mean are."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

import dilax
from tests import cases

# Window, strides, padding for an input of (7, 6) entries.
WINDOWS = [
    ((2, 2), (2, 2), "VALID"),
    ((3, 2), (2, 1), "SAME"),
    ((2, 3), (1, 2), "VALID"),
    ((3, 3), (1, 1), ((2, 1), (0, 2))),
    ((1, 1), (2, 3), "VALID"),
    ((2, 2), (4, 5), "SAME"),
    ((7, 6), (1, 1), "VALID"),
    ((6, 5), (5, 4), "SAME"),
    ((5, 6), (6, 2), ((3, 4), (0, 0))),
]
pytestmark = pytest.mark.usefixtures("compile_quickly")


def compiled(pool, **fixed):
    """The pool as one program for each set of options."""
    _, *options = inspect.signature(pool).parameters
    return functools.partial(jax.jit(pool, static_argnames=options), **fixed)


POOLS = {
    "max": (compiled(dilax.max_pool), compiled(nnx.max_pool)),
    "avg": (compiled(dilax.avg_pool), compiled(nnx.avg_pool)),
    "avg_without_pad": (
        compiled(dilax.avg_pool, count_include_pad=False),
        compiled(nnx.avg_pool, count_include_pad=False),
    ),
}
every_pool = pytest.mark.parametrize("name", POOLS)


def images(*shape: int) -> jax.Array:
    """Quarters, so that equal entries are common and sums are exact."""
    (values,) = cases.draw(shape or (2, 7, 6, 3))
    return jnp.asarray(np.round(values * 4) / 4, jnp.float32)


def assert_close(result, expected) -> None:
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("window", "name"), cases.crossed(list(POOLS), WINDOWS))
def test_value_and_gradient_are_those_of_flax(name: str, window) -> None:
    """Equal entries too: quarters tie often, and the gradient then goes to the first."""
    x, (window, strides, padding) = images(), window

    @functools.partial(jax.jit, static_argnums=0)
    def with_gradient(pool, x):
        y, pull = jax.vjp(lambda x: pool(x, window, strides=strides, padding=padding), x)
        return y, *pull(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    ours, theirs = (with_gradient(pool, x) for pool in POOLS[name])
    for result, expected in zip(ours, theirs, strict=True):
        assert_close(result, expected)


@every_pool
def test_strides_left_out_are_ones(name: str) -> None:
    ours, theirs = POOLS[name]
    assert_close(ours(images(), (2, 3)), theirs(images(), (2, 3)))


RANKS = [(name, window) for name in POOLS for window in ((3,), (2, 3), (2, 1, 2))]


@pytest.mark.parametrize(("name", "window"), RANKS)
def test_ranks_and_batch_axes(name: str, window) -> None:
    pool, _ = POOLS[name]
    sizes, pooled = (4, 5, 3)[: len(window)], (2, 3, 2)[: len(window)]
    x = images(2, 3, *sizes, 2)
    y = pool(x, window, strides=2, padding="SAME")
    assert y.shape == (2, 3, *pooled, 2)
    assert_close(pool(x[0], window, strides=2, padding="SAME"), y[0])
    for index in np.ndindex(2, 3):
        assert_close(pool(x[index], window, strides=2, padding="SAME"), y[index])
    assert pool(x[:0], window, strides=2, padding="SAME").shape == (0, 3, *pooled, 2)


@every_pool
def test_an_integer_is_a_window_of_that_size_along_every_axis(name: str) -> None:
    """The first axis is then the batch, and the last the features."""
    pool, _ = POOLS[name]
    for rank, sizes in enumerate(((5,), (5, 4), (3, 4, 5)), 1):
        x = images(2, *sizes, 2)
        np.testing.assert_array_equal(pool(x, 2, strides=2), pool(x, (2,) * rank, strides=2))


FORMS = [np.int64(2), np.array(2), np.array([2, 2]), jnp.array([2, 2]), [np.int32(2), 2]]


@pytest.mark.parametrize("form", FORMS, ids=repr)
@pytest.mark.parametrize("pool", [dilax.max_pool, dilax.avg_pool])
def test_integers_are_those_of_numpy_too(pool, form) -> None:
    x, plain = images(), {"window_shape": 2, "strides": 2, "padding": 2, "kernel_dilation": 2}
    expected = pool(x, **plain)
    for name in plain:
        np.testing.assert_array_equal(pool(x, **{**plain, name: form}), expected)


@pytest.mark.parametrize("pool", [dilax.max_pool, dilax.avg_pool])
@pytest.mark.parametrize("name", ["window_shape", "strides", "padding", "kernel_dilation"])
def test_integers_that_are_traced_are_refused_by_name(pool, name: str) -> None:
    plain = {"window_shape": 2, "strides": 2, "padding": 2, "kernel_dilation": 2}
    for value in (2, np.array([2, 2])):
        with pytest.raises(TypeError, match=rf"^{name} must be"):
            jax.jit(lambda value: pool(images(), **{**plain, name: value}))(value)


@every_pool
@pytest.mark.parametrize("shape", [(1, 4, 4, 0), (0, 4, 4, 3)])
def test_nothing_to_pool(name: str, shape) -> None:
    pool, _ = POOLS[name]
    for window in ((2, 2), (3, 3), (5, 5)):
        assert pool(jnp.ones(shape), window, padding="SAME").shape == shape
    slope = jax.grad(lambda x: pool(x, (3, 3), padding="SAME").sum())(jnp.ones(shape))
    assert slope.shape == shape


@pytest.mark.parametrize(
    ("dilation", "padding"), [(2, ((1, 2), (0, 1))), ((1, 3), ((0, 0), (0, 0)))]
)
@pytest.mark.parametrize("reduction", ["max", "sum"])
def test_dilated_windows_are_those_of_lax(dilation, padding, reduction) -> None:
    x = images(2, 9, 8, 3)
    steps = (1, *np.broadcast_to(dilation, 2).tolist(), 1)
    expected = lax.reduce_window(
        x,
        -jnp.inf if reduction == "max" else 0.0,
        lax.max if reduction == "max" else lax.add,
        (1, 3, 2, 1),
        (1, 2, 1, 1),
        ((0, 0), *padding, (0, 0)),
        window_dilation=steps,
    )
    options = {"strides": (2, 1), "padding": padding, "kernel_dilation": dilation}
    pool, _ = POOLS["max" if reduction == "max" else "avg"]
    assert_close(pool(x, (3, 2), **options) * (6 if reduction == "sum" else 1), expected)


@pytest.mark.parametrize(("size", "stride"), [(31, 3), (40, 3), (40, 13), (50, 1)])
@every_pool
def test_long_windows(name: str, size: int, stride: int) -> None:
    """On both sides of the length from which a window is left to lax, and in blocks."""
    x = images(2, 50, 2)

    @jax.jit
    def both(x):
        def loss(pool, x):
            y = pool(x, (size,), strides=(stride,), padding="SAME")
            return jnp.sum(jnp.sin(y)), y

        return [jax.grad(functools.partial(loss, f), has_aux=True)(x) for f in POOLS[name]]

    jax.tree.map(assert_close, *both(x))


def test_mean_counts_padding_or_not() -> None:
    x = jnp.ones((3, 1))
    pool = functools.partial(dilax.avg_pool, x, (2,), padding=((1, 1),))
    np.testing.assert_array_equal(pool()[:, 0], [0.5, 1.0, 1.0, 0.5])
    np.testing.assert_array_equal(pool(count_include_pad=False)[:, 0], np.ones(4))


def test_gradient_of_equal_entries_goes_to_the_first() -> None:
    loss = jax.jit(lambda x: dilax.max_pool(x, (3, 2), strides=(3, 2)).sum())
    first = np.zeros((6, 4, 1))
    first[::3, ::2] = 1  # of each window
    np.testing.assert_array_equal(jax.grad(loss)(jnp.zeros((6, 4, 1))), first)


@every_pool
def test_nan_reaches_every_window_that_sees_it(name: str) -> None:
    pool, _ = POOLS[name]
    x = images(5, 5, 1).at[2, 3, 0].set(jnp.nan)
    y = pool(x, (2, 2))
    expected = np.zeros((4, 4, 1), bool)
    expected[1:3, 2:4] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


@pytest.mark.parametrize("value", [-np.inf, -1e30, np.inf])
def test_padding_is_never_the_largest(value: float) -> None:
    y = POOLS["max"][0](jnp.full((3, 3, 1), value), (2, 2), padding="SAME")
    np.testing.assert_array_equal(y, np.full((3, 3, 1), value, np.float32))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32, jnp.uint8])
def test_maximum_keeps_the_type(dtype) -> None:
    x = jnp.asarray(np.abs(images()) * 4, dtype)
    pool, _ = POOLS["max"]
    y = pool(x, (2, 3), padding="SAME")
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, pool(x.astype(jnp.float32), (2, 3), padding="SAME"))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_mean_of_half_precision_is_rounded_once(dtype) -> None:
    x = images(40, 2)
    y = dilax.avg_pool(x.astype(dtype), (32,))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, dilax.avg_pool(x, (32,)).astype(dtype))


@every_pool
def test_transformations(name: str, double) -> None:
    """Second order (through a function that curves), forward mode, vmap, jit, remat."""
    ours, theirs = (
        functools.partial(pool, window_shape=(3, 2), strides=(2, 1), padding="SAME")
        for pool in POOLS[name]
    )
    (x,) = map(jnp.asarray, cases.draw((2, 7, 6, 3)))  # no two equal: see the next test
    direction = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)

    def loss(pool, x):
        return jnp.sum(jnp.sin(pool(x**2)))

    def hessian_vector(pool, x):
        return jax.jvp(jax.grad(functools.partial(loss, pool)), (x,), (direction,))[1]

    def transformed(x):
        for pool in (ours, theirs):
            slope = jax.jvp(pool, (x,), (direction,))[1]
            yield hessian_vector(pool, x), slope
        yield jax.vmap(ours, -1, -1)(jnp.stack([x, -x], -1))
        yield jnp.stack([ours(x), ours(-x)], -1)
        for pool in (ours, jax.checkpoint(ours)):
            yield jax.grad(functools.partial(loss, pool))(x)

    mine, yours, mapped, stacked, plain, remat = jax.jit(lambda x: list(transformed(x)))(x)
    jax.tree.map(assert_close, mine, yours)
    assert_close(mapped, stacked)
    assert_close(remat, plain)


def test_forward_and_reverse_mode_agree_on_equal_entries() -> None:
    """In lax they do not: its forward mode does not take the first of equal entries."""
    x, pool = images(), jax.jit(functools.partial(dilax.max_pool, window_shape=(3, 2)))
    direction = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    y, slope = jax.jit(lambda x: jax.jvp(pool, (x,), (direction,)))(x)
    cotangent = jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    (pulled,) = jax.jit(lambda x: jax.vjp(pool, x)[1](cotangent))(x)
    assert_close(jnp.vdot(cotangent, slope), jnp.vdot(pulled, direction))


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from(["SAME", "pairs"]),
    st.data(),
)
def test_maximum_of_random_windows(sizes, window, strides, padding, data) -> None:
    """Against NumPy, window by window."""
    if padding == "pairs":
        lows = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
        padding = tuple((low, max(w - n, 0)) for low, w, n in zip(lows, window, sizes, strict=True))
    x = np.asarray(images(*sizes, 1))
    pads = dilax.geometry.resolve_padding(padding, sizes, window, strides, (1, 1))
    padded = np.pad(x[..., 0], pads, constant_values=-np.inf)
    views = np.lib.stride_tricks.sliding_window_view(padded, window)
    expected = views[:: strides[0], :: strides[1]].max(axis=(-1, -2))
    pool = functools.partial(dilax.max_pool, window_shape=window, strides=strides, padding=padding)
    np.testing.assert_array_equal(jax.jit(pool)(x)[..., 0], expected)


@every_pool
@pytest.mark.parametrize(
    ("shape", "window", "options", "parts"),
    [
        ((4, 3), (2, 2), {}, ["x", "(4, 3)", "2 window axes"]),
        ((4, 3), (), {}, ["window", "(4, 3)"]),
        ((4, 3), (0,), {}, ["window_shape", "at least 1"]),
        ((4, 3), (2,), {"strides": 0}, ["strides", "at least 1"]),
        ((4, 3), (2,), {"strides": (1, 2)}, ["strides", "(1, 2)"]),
        ((4, 3), (5,), {}, ["window_shape", "5", "4"]),
        ((4, 3), (2,), {"padding": "SOME"}, ["padding", "'SOME'", "'SAME'"]),
        ((4, 3), (2,), {"padding": ((1, 1), (1, 1))}, ["padding", "2"]),
    ],
)
def test_says_what_is_wrong(name: str, shape, window, options, parts) -> None:
    pool, _ = POOLS[name]
    with pytest.raises(ValueError) as raised:
        pool(jnp.ones(shape), window, **options)
    assert all(part in str(raised.value) for part in parts), str(raised.value)

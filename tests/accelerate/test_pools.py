"""The largest of each window and its gradient, against lax, ties included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

import dilax
from tests import cases
from tests.accelerate.programs import operations

pytestmark = pytest.mark.usefixtures("compile_quickly")
CASES = {
    "channels last": ((2, 7, 6, 3), (1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (1, 0), (0, 1), (0, 0))),
    "channels first": ((2, 3, 7, 6), (1, 1, 2, 3), (1, 1, 2, 3), ((0, 0), (0, 0), (0, 1), (1, 2))),
    "over features": ((2, 9, 6), (2, 3, 4), (1, 2, 3), ((0, 1), (2, 0), (1, 1))),
    "one axis": ((9,), (3,), (1,), ((1, 1),)),
    "in blocks": ((2, 30, 2), (1, 14, 1), (1, 6, 1), ((0, 0), (3, 5), (0, 0))),
    "whole images": ((2, 6, 7, 2), (1, 6, 7, 1), (1, 1, 1, 1), ((0, 0),) * 4),
    "overlapping, padded": ((1, 5, 5), (1, 3, 3), (1, 1, 1), ((0, 0), (1, 1), (1, 1))),
    "window of one": ((2, 5, 3), (1, 1, 1), (1, 2, 1), ((0, 0), (0, 0), (0, 0))),
}


def pool(case: str, x):
    _, window, strides, padding = CASES[case]
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return lax.reduce_window(x, lowest, lax.max, window, strides, padding)


def tied(case: str, dtype="float32"):
    """Few different values, so that most windows hold several largest ones."""
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(0, 3, CASES[case][0]), dtype)


def gradient(case, x):
    """Of a sum in which every window counts differently."""
    weights = jnp.arange(1.0, 1 + pool(case, x).size).reshape(pool(case, x).shape)
    return jax.grad(lambda x: jnp.sum(weights * pool(case, x)))(x)


@pytest.mark.parametrize(
    ("case", "dtype"), cases.crossed(["float32", "bfloat16", "int32"], list(CASES))
)
def test_values(case, dtype):
    x = tied(case, dtype)
    result = dilax.accelerate(functools.partial(pool, case))(x)
    np.testing.assert_array_equal(result, pool(case, x))
    assert result.dtype == dtype


@pytest.mark.parametrize("case", CASES)
def test_gradients_go_to_the_first_of_equals(case, double):
    x = tied(case, "float64")
    outside = dilax.accelerate(functools.partial(gradient, case))
    fast = dilax.accelerate(functools.partial(pool, case))

    def inside(x):
        weights = jnp.arange(1.0, 1 + fast(x).size).reshape(fast(x).shape)
        return jax.grad(lambda x: jnp.sum(weights * fast(x)))(x)

    @jax.jit
    def gradients(x):
        mapped = jax.vmap(outside)(x[None])[0]
        return gradient(case, x), outside(x), inside(x), mapped

    expected, *results = gradients(x)
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_no_search_is_left_in_what_is_compiled():
    slow = functools.partial(gradient, "channels last")
    x = tied("channels last")
    searches = [jax.jit(f).lower(x).as_text() for f in (slow, dilax.accelerate(slow))]
    assert ["stablehlo.select_and_scatter" in text for text in searches] == [True, False]
    assert "stablehlo.reduce_window" not in searches[1]


def test_other_platforms_keep_their_own():
    case = "channels last"
    fast = jax.jit(dilax.accelerate(functools.partial(gradient, case)))
    exported = export.export(fast, platforms=["cuda"])(tied(case))
    assert "select_and_scatter" in exported.mlir_module()


def test_second_derivatives(double):
    def loss(x):
        return jnp.sum(pool("channels first", jnp.sin(x)) ** 3)

    x = jnp.asarray(np.random.default_rng(0).normal(size=CASES["channels first"][0]))

    def slope(f, x):
        return jax.jvp(jax.grad(f), (x,), (x,))[1]

    @jax.jit
    def slopes(x):
        outside = dilax.accelerate(functools.partial(slope, loss))
        return slope(loss, x), outside(x), slope(dilax.accelerate(loss), x)

    expected, *results = slopes(x)
    for result in results:
        np.testing.assert_allclose(result, expected, rtol=1e-12)


LEFT = {
    "a long window": (
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (33,), (1,), "SAME"),
        "more than 32 entries",
    ),
    "a spread input": (
        lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (3,), (1,), "SAME", base_dilation=(2,)),
        "spread",
    ),
    "a mean": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "SAME"),
        "only pools of the largest",
    ),
    "no entries": (
        lambda x: lax.reduce_window(x[:0], -jnp.inf, lax.max, (3,), (1,), "SAME"),
        "without entries",
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_is_left_for_a_reason(name):
    f, reason = LEFT[name]
    x = jnp.arange(40.0)
    (finding,) = dilax.explain(f, x).findings
    assert reason in finding.reason
    assert operations(dilax.accelerate(f), x) == operations(f, x)
    np.testing.assert_array_equal(dilax.accelerate(f)(x), f(x))

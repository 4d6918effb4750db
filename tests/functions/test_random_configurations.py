"""Random convolutions, forward and both gradients, against lax.

Sixty of each kind by default, two thousand with --long. Each one compiles, and
there the time goes, so XLA is told to optimise little.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

import dilax
from tests import cases

ALGORITHMS = (
    None,
    dilax.algorithms.per_group,
    dilax.algorithms.lax,
    dilax.algorithms.im2col,
    dilax.algorithms.shift_and_add,
)
pytestmark = pytest.mark.usefixtures("compile_quickly")
LETTERS = {1: "W", 2: "HW", 3: "DHW"}


@dataclasses.dataclass(frozen=True)
class Problem:
    """Shapes in dilax's order, and the arguments beside them."""

    x_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    kernel_dilation: tuple[int, ...]
    groups: int

    @property
    def rank(self) -> int:
        return len(self.strides)


@st.composite
def problems(draw: Any, *, depthwise: bool = False) -> Problem:
    """A convolution whose dilated kernel fits: the high pad of an axis grows until it does."""
    rank = draw(st.integers(1, 3))

    def entries(low: int, high: int) -> tuple[int, ...]:
        return draw(st.tuples(*[st.integers(low, high)] * rank))

    sizes, kernel_size = entries(1, 8 - rank), entries(1, 4)
    strides, dilation = entries(1, 3), entries(1, 3)
    groups = draw(st.integers(1, 4))
    members = 1 if depthwise else draw(st.integers(1, 3))
    outputs = draw(st.integers(1, 3))
    padding = draw(st.sampled_from(["SAME", "SAME_LOWER", "VALID", "pairs"]))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    if padding == "VALID":
        sizes = tuple(max(pair) for pair in zip(sizes, spans, strict=True))
    if padding == "pairs":
        lows, highs = entries(-2, 4), entries(-2, 4)
        columns = zip(sizes, spans, lows, highs, strict=True)
        padding = tuple((low, max(high, span - low - size)) for size, span, low, high in columns)
    return Problem(
        (draw(st.integers(0, 2)), *sizes, groups * members),
        (*kernel_size, members, groups * outputs),
        strides,
        padding,
        dilation,
        groups,
    )


def by_lax(x: jax.Array, kernel: jax.Array, problem: Problem) -> jax.Array:
    letters = LETTERS[problem.rank]
    return lax.conv_general_dilated(
        x,
        kernel,
        problem.strides,
        problem.padding,
        rhs_dilation=problem.kernel_dilation,
        feature_group_count=problem.groups,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )


def assert_equal_with_gradients(ours: Any, theirs: Any, *shapes: tuple[int, ...]) -> None:
    """Value, both gradients and dtype, from one compilation."""

    def value_and_gradients(f: Any, *operands: jax.Array) -> Any:
        y, pull = jax.vjp(f, *operands)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    @jax.jit
    def both(*operands: jax.Array) -> Any:
        return value_and_gradients(ours, *operands), value_and_gradients(theirs, *operands)

    operands = [jnp.asarray(array, jnp.float32) for array in cases.draw(*shapes)]
    results = [jax.tree.leaves(side) for side in both(*operands)]
    for result, expected in zip(*results, strict=True):
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@given(problems(), st.sampled_from(ALGORITHMS))
def test_conv(problem: Problem, algorithm: Any) -> None:
    ours = functools.partial(
        dilax.conv,
        strides=problem.strides,
        padding=problem.padding,
        kernel_dilation=problem.kernel_dilation,
        feature_group_count=problem.groups,
        algorithm=algorithm,
    )
    theirs = functools.partial(by_lax, problem=problem)
    assert_equal_with_gradients(ours, theirs, problem.x_shape, problem.kernel_shape)


@given(problems(depthwise=True), st.sampled_from(ALGORITHMS))
def test_depthwise_conv(problem: Problem, algorithm: Any) -> None:
    ours = functools.partial(
        dilax.depthwise_conv,
        strides=problem.strides,
        padding=problem.padding,
        kernel_dilation=problem.kernel_dilation,
        algorithm=algorithm,
    )
    theirs = functools.partial(by_lax, problem=problem)
    assert_equal_with_gradients(ours, theirs, problem.x_shape, problem.kernel_shape)


@st.composite
def drop_in_calls(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Operand shapes in a random order of dimensions, and lax's keyword arguments."""
    problem = draw(problems())
    rank = problem.rank
    batch, *window, features = problem.x_shape
    *kernel_size, members, outputs = problem.kernel_shape
    arguments: dict[str, Any] = {
        "window_strides": problem.strides,
        "padding": problem.padding,
        "rhs_dilation": draw(st.sampled_from([problem.kernel_dilation, None])),
        "feature_group_count": problem.groups,
        "precision": draw(st.sampled_from([None, "highest", lax.Precision.HIGH, ("high", "high")])),
        "preferred_element_type": draw(st.sampled_from([None, jnp.float32])),
    }
    kind = draw(st.sampled_from(["plain", "plain", "lhs_dilation", "batch_groups"]))
    if kind == "lhs_dilation" and not isinstance(problem.padding, str):
        arguments["lhs_dilation"] = draw(st.tuples(*[st.integers(1, 3)] * rank))
    if kind == "batch_groups":
        arguments["feature_group_count"] = 1
        arguments["batch_group_count"] = problem.groups
        batch, features = batch * problem.groups, members
    letters = LETTERS[rank]
    shapes, specs = [], []
    for names, sizes in (
        (f"N{letters}C", (batch, *window, features)),
        (f"{letters}IO", (*kernel_size, members, outputs)),
    ):
        order = draw(st.permutations(range(rank + 2)))
        shapes.append(tuple(sizes[place] for place in order))
        specs.append("".join(names[place] for place in order))
    specs.append("".join(draw(st.permutations(f"N{letters}C"))))
    numbers = draw(
        st.sampled_from([tuple, lambda s: lax.conv_dimension_numbers(*shapes, tuple(s))])
    )
    arguments["dimension_numbers"] = numbers(specs)
    return (*shapes, arguments)


@given(drop_in_calls(), st.sampled_from(ALGORITHMS))
def test_conv_general_dilated(call: Any, algorithm: Any) -> None:
    x_shape, kernel_shape, arguments = call
    ours = functools.partial(dilax.conv_general_dilated, **arguments, algorithm=algorithm)
    theirs = functools.partial(lax.conv_general_dilated, **arguments)
    assert_equal_with_gradients(ours, theirs, x_shape, kernel_shape)

"""Random convolutions, forward and both gradients, against the reference in NumPy.

In float32, of which alone XLA has a fast routine on CPU: for some paddings that are negative below
and positive above it computes garbage, so lax is no reference here. Operands are in sixteenths, of
which float32 holds every sum. Each example compiles once, with few optimisations.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
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
    dilax.algorithms.im2col,
    dilax.algorithms.lax,
    dilax.algorithms.per_group,
    dilax.algorithms.per_plane,
    dilax.algorithms.shift_and_add,
)
pytestmark = pytest.mark.usefixtures("compile_quickly")
LETTERS = {1: "W", 2: "HW", 3: "DHW"}


@dataclasses.dataclass(frozen=True)
class Problem:
    """The shapes of a convolution, channels last, and its other arguments."""

    x_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    kernel_dilation: tuple[int, ...]
    groups: int

    @property
    def rank(self) -> int:
        return len(self.strides)

    def solve(self) -> cases.Answer:
        """Draw operands, and compute the results of the reference."""
        sizes = self.x_shape[1:-1], self.kernel_shape[:-2], self.strides
        pads = dilax.geometry.resolve_padding(self.padding, *sizes, self.kernel_dilation)
        features = self.x_shape[-1], self.kernel_shape[-1], self.groups
        case = cases.Case("", *sizes, pads, self.kernel_dilation, *features, self.x_shape[0])
        operands = cases.draw(case.x_shape, case.kernel_shape, case.g_shape)
        return cases.answer(case, *cases.sixteenths(*operands))


@st.composite
def problems(draw: Any) -> Problem:
    """Draw a convolution; the padding at the high end grows until the dilated kernel fits.

    Explicit padding pads both ends of an axis, or crops one and pads the other; in a third of the
    convolutions all axes are cropped below, in another third above.
    """
    rank = draw(st.integers(1, 3))

    def entries(low: int, high: int, number: int = rank) -> tuple[int, ...]:
        return draw(st.tuples(*[st.integers(low, high)] * number))

    sizes, kernel_size = entries(1, 8 - rank), entries(1, 5 - rank)
    strides, dilation = entries(1, 3), entries(1, 3)
    groups, per_group, outputs = entries(1, 3, 3)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    padding = draw(st.sampled_from(["SAME", "SAME_LOWER", "VALID", None, None, None]))
    if padding == "VALID":
        sizes = tuple(map(max, sizes, spans))
    if padding is None:
        signs = draw(st.sampled_from([(-1,), (1,), (-1, 0, 1)]))
        rows = zip(
            *(sizes, spans, entries(1, 3), entries(0, 4)),
            draw(st.tuples(*[st.sampled_from(signs)] * rank)),
            strict=True,
        )
        padding = tuple(itertools.starmap(axis_padding, rows))
    return Problem(
        (draw(st.integers(0, 2)), *sizes, groups * per_group),
        (*kernel_size, per_group, groups * outputs),
        strides,
        padding,
        dilation,
        groups,
    )


def axis_padding(size: int, span: int, edge: int, pad: int, sign: int) -> tuple[int, int]:
    """Pad both ends; or, by the sign, crop the low end or the high one, and pad the other."""
    edge = -edge if sign else edge
    pad = max(pad, span - size - edge)
    return (pad, edge) if sign > 0 else (edge, pad)


def assert_equals_the_reference(
    conv: Any,
    problem: Problem,
    algorithm: Any,
    orders: Sequence[Sequence[int]] | None = None,
) -> None:
    """Value and both gradients; with ``orders`` of the dimensions of input, kernel and result."""
    conv = functools.partial(conv, algorithm=algorithm)
    expected = problem.solve()
    orders = orders or [range(problem.rank + 2)] * 3
    operands = expected.x, expected.kernel, expected.g
    wanted = expected.output, expected.input_gradient, expected.kernel_gradient
    x, kernel, g = (
        jnp.asarray(np.transpose(*pair), jnp.float32) for pair in zip(operands, orders, strict=True)
    )
    wanted = [*map(np.transpose, wanted, (orders[2], *orders[:2]))]

    @jax.jit
    def passes(x: jax.Array, kernel: jax.Array, g: jax.Array) -> Any:
        y, pull = jax.vjp(conv, x, kernel)
        return y, *pull(g)

    for result, want in zip(passes(x, kernel, g), wanted, strict=True):
        assert result.dtype == jnp.float32
        np.testing.assert_array_equal(result, want)


@given(problems(), st.sampled_from(ALGORITHMS))
def test_conv(problem: Problem, algorithm: Any) -> None:
    conv = functools.partial(
        dilax.conv,
        strides=problem.strides,
        padding=problem.padding,
        kernel_dilation=problem.kernel_dilation,
        feature_group_count=problem.groups,
    )
    assert_equals_the_reference(conv, problem, algorithm)


GARBAGE = [((-1, 1), (-1, 1)), ((-1, 1), (0, 0)), ((2, 0), (2, 0))]
"""Where XLA's fast routine is wrong: in the forward pass, and of the last in the input gradient."""


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda value: getattr(value, "name", "none"))
@pytest.mark.parametrize("padding", GARBAGE, ids=str)
def test_padding_that_xla_gets_wrong(padding: Any, algorithm: Any) -> None:
    problem = Problem((2, 6, 5, 4), (2, 2, 4, 4), (1, 1), padding, (1, 1), 1)
    assert_equals_the_reference(functools.partial(dilax.conv, padding=padding), problem, algorithm)


@st.composite
def drop_in_calls(draw: Any) -> tuple[Problem, list[list[int]], dict[str, Any]]:
    """A convolution, the orders of its dimensions, and lax's keyword arguments for it.

    Lax takes strides and all that is told axis by axis in the order of the kernel's axes.
    """
    problem = draw(problems())
    letters = LETTERS[problem.rank]
    orders = [draw(st.permutations(range(problem.rank + 2))) for _ in range(3)]
    names = f"N{letters}C", f"{letters}IO", f"N{letters}C"
    specs = tuple(
        "".join(name[place] for place in order) for name, order in zip(names, orders, strict=True)
    )
    axes = [place for place in orders[1] if place < problem.rank]

    def in_order(entries: Any) -> Any:
        return entries if isinstance(entries, str) else tuple(entries[axis] for axis in axes)

    shape = (1,) * (problem.rank + 2)
    precisions = [None, "highest", lax.Precision.HIGH, ("high", "high")]
    arguments = {
        "window_strides": in_order(problem.strides),
        "padding": in_order(problem.padding),
        "rhs_dilation": in_order(problem.kernel_dilation),
        "dimension_numbers": draw(
            st.sampled_from([specs, lax.conv_dimension_numbers(shape, shape, specs)])
        ),
        "feature_group_count": problem.groups,
        "precision": draw(st.sampled_from(precisions)),
        "preferred_element_type": draw(st.sampled_from([None, jnp.float32])),
    }
    return problem, orders, arguments


@given(drop_in_calls(), st.sampled_from(ALGORITHMS))
def test_conv_general_dilated(call: Any, algorithm: Any) -> None:
    problem, orders, arguments = call
    conv = functools.partial(dilax.conv_general_dilated, **arguments)
    assert_equals_the_reference(conv, problem, algorithm, orders)

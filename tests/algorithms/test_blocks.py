"""The kernel's gradient in blocks: by shifted slices, cut in two ways, and by im2col."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax import _choice, algorithms
from dilax._choice import _blocks
from tests import cases
from tests.algorithms.test_passes import geometry_of, problem_of

# fmt: off
PADDED_IN_THE_LOOP = (
    cases.Case("same", (16, 16), (3, 3), (1, 1), ((4, 4), (4, 4)), (4, 4), 64, 64, 64, 64),
    cases.Case("strided", (34, 35), (2, 3), (2, 2), ((8, 8), (9, 2)), (8, 3), 64, 64, 64, 64),
    cases.Case("cut", (23, 18), (3, 2), (1, 1), ((20, -3), (-1, 9)), (2, 1), 32, 64, 32, 72),
    cases.Case("long", (260,), (3,), (1,), ((140, 0),), (70,), 64, 64, 32, 64),
    cases.Case("small", (9, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 8, 16, 8, 66),
    cases.Case("many taps", (20, 16), (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 48, 48, 48, 64),
    cases.Case("few channels", (28, 36), (3, 3), (1, 1), ((8, 8), (8, 8)), (8, 8), 5, 5, 5, 64),
)
CUT_IN_ROWS = (
    cases.Case("same", (16, 16), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 64, 64, 64, 64),
    cases.Case("long", (260,), (3,), (1,), ((4, 0),), (2,), 64, 64, 32, 64),
    cases.Case("few examples", (18, 16), (3, 3), (1, 1), ((2, 2), (1, 3)), (2, 2), 64, 64, 64, 4),
    cases.Case("strided", (33, 16), (3, 3), (2, 1), ((1, 1), (1, 1)), (1, 1), 64, 64, 64, 3),
    cases.Case("both strided", (34, 35), (2, 3), (2, 2), ((1, 0), (3, 2)), (2, 3), 32, 32, 32, 8),
    cases.Case("many taps", (40, 16), (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 48, 48, 48, 64),
    cases.Case("small, many", (9, 7), (3, 3), (1, 1), ((1, 0), (0, 1)), (1, 1), 8, 16, 8, 66),
    cases.Case("odd batch", (24, 24), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 32, 32, 32, 65),
    cases.Case("cut", (23, 18), (3, 2), (1, 1), ((2, -3), (-1, 2)), (2, 1), 32, 64, 32, 72),
    cases.Case("sequence", (260,), (3,), (1,), ((4, 0),), (2,), 64, 64, 64, 6),
    cases.Case("strided sequence", (261,), (3,), (2,), ((4, 0),), (2,), 64, 64, 64, 6),
    cases.Case("volume", (9, 9, 9), (3, 2, 3), (1, 2, 1), ((1, 0),) * 3, (1, 2, 2), 18, 18, 18, 9),
)
CHANNELS_IN_ROWS = (
    cases.Case("one channel", (34, 34), (3, 2), (1, 1), ((1, 1), (2, 0)), (1, 2), 1, 1, 1, 24),
    cases.Case("row strides", (33, 17), (3, 3), (2, 1), ((2, 0), (1, 2)), (1, 2), 12, 12, 12, 9),
    cases.Case("column strides", (17, 33), (3, 3), (1, 2), ((2, 0), (1, 2)), (1, 2), 6, 6, 6, 9),
    cases.Case("cut", (23, 18), (3, 2), (1, 1), ((2, -3), (-1, 2)), (2, 3), 6, 12, 6, 15),
    cases.Case("two per group", (20, 16), (3, 3), (1, 1), ((1, 1), (2, 2)), (1, 2), 14, 7, 7, 8),
    cases.Case("many taps", (20, 16), (5, 7), (1, 1), ((2, 2), (3, 3)), (1, 1), 5, 5, 5, 64),
    cases.Case("whole", (28, 36), (3, 3), (1, 1), ((2, 2), (3, 1)), (2, 2), 15, 15, 15, 64),
    cases.Case("long taps", (20, 26), (2, 17), (1, 1), ((2, 2), (8, 8)), (1, 1), 5, 5, 5, 32),
    cases.Case("volume", (9, 9, 9), (3, 2, 3), (1, 2, 1), ((1, 0),) * 3, (1, 2, 2), 9, 9, 9, 9),
    cases.Case("sequence", (600,), (5,), (1,), ((4, 0),), (2,), 3, 3, 3, 6),
    cases.Case("strided sequence", (900,), (5,), (2,), ((4, 0),), (2,), 3, 3, 3, 7),
)
# fmt: on


def assert_gradient(case, *, padded_in_loop):
    expected = cases.solve(case, exact=True)
    blocks = _blocks(problem_of(case))
    assert blocks.padded_in_loop == padded_in_loop
    assert expected.g.shape[:2] > (blocks.examples, blocks.rows)  # more than one block
    assert_equal_gradient(case, expected)


def kernel_gradient(algorithm, case, expected, dtype, **settings):
    """The gradient by the algorithm, as one program."""
    run = functools.partial(algorithm.kernel_gradient, geometry=geometry_of(case), **settings)
    return jax.jit(run)(jnp.asarray(expected.x, dtype), jnp.asarray(expected.g, dtype))


def assert_equal_gradient(case, expected):
    blocks = _blocks(problem_of(case))
    by_shift_and_add = algorithms.shift_and_add
    found = kernel_gradient(by_shift_and_add, case, expected, jnp.float32, blocks=blocks)
    np.testing.assert_array_equal(found, expected.kernel_gradient)


@pytest.mark.parametrize("case", PADDED_IN_THE_LOOP, ids=lambda case: case.id)
def test_whole_examples_padded_in_the_loop(case, compile_quickly):
    assert_gradient(case, padded_in_loop=True)


@pytest.mark.parametrize("case", CUT_IN_ROWS, ids=lambda case: case.id)
def test_rows_of_what_is_padded_before(case, compile_quickly):
    assert_gradient(case, padded_in_loop=False)


@pytest.mark.parametrize("case", CHANNELS_IN_ROWS, ids=lambda case: case.id)
def test_few_channels_as_part_of_their_rows(case, compile_quickly):
    expected = cases.solve(case, exact=True)
    assert _blocks(problem_of(case)) is not None and expected.g.shape[-1] < 16
    assert_equal_gradient(case, expected)


SMALL_BLOCKS = ("a row", "a third", "an example", "three examples", "few sums", "many sums", "rows")


def settings_of(block, case):
    """Block sizes: rows or examples at a time for im2col, sums at a time for shift_and_add."""
    if block.endswith("sums"):
        sums_bytes = 1 if block == "few sums" else 1 << 20
        blocks = _blocks(problem_of(case), sums_bytes=sums_bytes, few_products=0)
        return algorithms.shift_and_add, {"blocks": blocks}
    length = case.g_shape[1]
    blocks = {
        "a row": (1, 1),
        "a third": (1, max(length // 3, 1)),
        "an example": (1, length),
        "three examples": (3, length),
        "rows": (1, max(length // 2, 1)),
    }
    return algorithms.im2col, {"block": blocks[block], "by_row": block == "rows"}


@pytest.mark.parametrize("case, block", cases.crossed(SMALL_BLOCKS))
def test_small_blocks(case, block, double, compile_quickly, monkeypatch):
    monkeypatch.setattr(_choice, "TAPS_AT_ONCE", 6)
    case = dataclasses.replace(case, batch=5 if case.batch else 0)
    expected = cases.solve(case)
    algorithm, settings = settings_of(block, case)
    found = kernel_gradient(algorithm, case, expected, jnp.float64, **settings)
    scale = abs(expected.kernel_gradient).max(initial=1)
    np.testing.assert_allclose(found, expected.kernel_gradient, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize(
    "number, most, size", [(128, 21, 16), (127, 21, 19), (8, 100, 8), (7, 1, 1)]
)
def test_parts_are_even(number, most, size):
    assert _choice._even_part(number, most) == size

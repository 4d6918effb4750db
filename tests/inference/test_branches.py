"""Parallel convolutions that folding merges: one convolution, with the same outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import dilax
from dilax.inference import fold
from tests.accelerate.programs import operations
from tests.inference.test_fold import LAYOUTS, assert_left, close
from tests.random_arrays import draw

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def branch_of_lax(kernel, strides=(1, 1), padding="SAME", dilation=(1, 1), groups=1):
    return lambda x: lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=LAYOUTS["NHWC"],
    )


def normalised(branch):
    mean, factor, bias = (draw(1, 1, 1, 8) for _ in range(3))
    return lambda x: (branch(x) - mean) * factor + bias


def assert_merged(*branches, x, left=1, name="conv_general_dilated"):
    """The sum of normalised branches takes ``left`` convolutions, and is equal."""
    kept = [normalised(branch) for branch in branches]

    def total(x):
        return functools.reduce(jnp.add, [branch(x) for branch in kept])

    close(fold(total)(x), total(x))
    found = operations(fold(total), x)
    assert found[name] == left
    assert found["add"] + found["mul"] + found["sub"] == (1 if left == 1 else 2 * left - 1)


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_branches_of_one_array_are_one_convolution(strides):
    x = draw(2, 11, 10, 4)
    kernels = [draw(3, 3, 4, 8), draw(1, 1, 4, 8), draw(3, 1, 4, 8), draw(1, 3, 4, 8)]
    paddings = [(((k.shape[0] - 1) // 2,) * 2, ((k.shape[1] - 1) // 2,) * 2) for k in kernels]
    branches = [branch_of_lax(k, strides, p) for k, p in zip(kernels, paddings, strict=True)]
    assert_merged(*branches, x=x)


def test_dilated_and_grouped_branches():
    x = draw(2, 11, 10, 4)
    kernels = draw(3, 3, 2, 8), draw(1, 1, 2, 8), draw(5, 5, 2, 8)
    dilations = [(2, 3), (1, 1), (2, 3)]
    pairs = zip(kernels, dilations, strict=True)
    assert_merged(*(branch_of_lax(k, dilation=d, groups=2) for k, d in pairs), x=x)


def test_our_branches_and_asymmetric_padding():
    x = draw(2, 11, 10, 4)
    kernels = draw(3, 3, 1, 8), draw(2, 2, 1, 8)
    branches = [
        functools.partial(dilax.depthwise_conv, kernel=kernel, padding=padding)
        for kernel, padding in zip(kernels, ("SAME", [(0, 1), (1, 0)]), strict=True)
    ]
    assert_merged(*branches, x=x, name="dilax_conv")


@pytest.mark.parametrize(
    ("other", "options"),
    [
        ((3, 3, 4, 8), {"dilation": (2, 2)}),  # two grids
        ((3, 3, 4, 8), {"padding": ((7, -5), (7, -5))}),  # far apart: more taps than in both
        ((3, 3, 1, 8), {"groups": 4}),
    ],
)
def test_branches_that_do_not_fit_stay(other, options):
    branches = branch_of_lax(draw(3, 3, 4, 8)), branch_of_lax(draw(*other), **options)
    assert_merged(*branches, x=draw(2, 11, 10, 4), left=2)


def test_branches_of_two_arrays_stay():
    first, second = branch_of_lax(draw(3, 3, 4, 8)), branch_of_lax(draw(3, 3, 4, 8))
    assert_left(lambda x: first(x) + second(x + 1), draw(2, 7, 6, 4))
    assert_left(lambda x: first(x) + jax.nn.relu(second(x)), draw(2, 7, 6, 4))


@pytest.mark.long
def test_random_branches():
    random, merged = np.random.default_rng(0), 0
    for _ in range(300):
        strides, dilation = (tuple(random.integers(1, 4, 2).tolist()) for _ in range(2))
        sizes = random.integers(1, 4, (2, 2))
        lows = random.integers(-1, 3, (2, 2))
        spans = (sizes - 1) * dilation + 1
        # The same number of outputs of both.
        highs = random.integers(0, 4, 2) + spans - lows
        x = draw(1, 9, 8, 2)
        branches = [
            branch_of_lax(
                draw(*size, 2, 8), strides, tuple(map(tuple, zip(low, high, strict=True))), dilation
            )
            for size, low, high in zip(sizes, lows, highs, strict=True)
        ]
        total = lambda x, pair=branches: pair[0](x) * 0.5 + pair[1](x)  # noqa: E731
        close(fold(total)(x), total(x))
        merged += operations(fold(total), x)["conv_general_dilated"] == 1
    assert 30 < merged < 270

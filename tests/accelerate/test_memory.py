"""Accelerated derivatives need no more memory than lax's, whatever the roles of the arrays.

A gradient is a convolution whose kernel may be an image: an algorithm whose memory grows with the
window must not be chosen there. Every case is compiled for first and second derivatives, not run.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import dilax
from tests import cases

pytestmark = pytest.mark.usefixtures("compile_quickly")

IMAGES = {1: (256,), 2: (32, 32), 3: (8, 16, 16)}
LETTERS = {1: "W", 2: "HW", 3: "DHW"}
WINDOWS = [
    {"window_strides": 2},
    {"lhs_dilation": 2},
    {"rhs_dilation": 2},
    {"window_strides": 2, "rhs_dilation": 2},
    {"lhs_dilation": 4},
]
FEATURES = [(16, 3, 1), (3, 16, 1), (16, 1, 1), (8, 8, 8)]
"""In-features, out-features and groups."""


def convolution(rank: int, window: dict[str, int], groups: int) -> Any:
    """A convolution of ``rank`` axes in lax; integers stand for every axis."""
    arguments: dict[str, Any] = {"window_strides": 1} | window
    axes = {name: (value,) * rank for name, value in arguments.items()}
    letters = LETTERS[rank]
    layout = f"N{letters}C", f"{letters}IO", f"N{letters}C"

    def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
        padding = [(2, 2)] * rank
        options = {"dimension_numbers": layout, "feature_group_count": groups, **axes}
        return lax.conv_general_dilated(x, kernel, padding=padding, **options)

    return conv


def first(conv: Any) -> Any:
    """Both gradients of a loss that is not linear in the result."""
    return jax.grad(lambda x, kernel: (conv(x, kernel) ** 2).sum(), (0, 1))


def second(conv: Any) -> Any:
    """Both gradients of a penalty on the input's gradient."""

    def penalty(x: jax.Array, kernel: jax.Array) -> jax.Array:
        gradient = jax.grad(lambda x: (conv(x, kernel) ** 3).sum())(x)
        return (gradient**2).sum()

    return jax.grad(penalty, (0, 1))


def temporary_bytes(function: Any, *operands: Any) -> int:
    """Bytes that the compiled function allocates besides its arguments and results."""
    analysis = jax.jit(function).lower(*operands).compile().memory_analysis()
    return int(analysis.temp_size_in_bytes)


ROWS = list(itertools.product([1, 2, 3], FEATURES, ["first", "second"]))


@pytest.mark.parametrize(("rank", "features", "derivative"), cases.thinned(ROWS, 11))
def test_no_derivative_takes_several_times_the_memory(rank, features, derivative) -> None:
    in_features, out_features, groups = features
    x = jax.ShapeDtypeStruct((2, *IMAGES[rank], in_features), jnp.float32)
    kernel = jax.ShapeDtypeStruct(
        ((4,) * rank) + (in_features // groups, out_features), jnp.float32
    )
    for window in WINDOWS:
        conv = convolution(rank, window, groups)
        result = jax.eval_shape(conv, x, kernel)
        function = {"first": first, "second": second}[derivative](conv)
        lax_bytes = temporary_bytes(function, x, kernel)
        ours = temporary_bytes(dilax.accelerate(function), x, kernel)
        arrays = 4 * (x.size + result.size)
        assert ours <= 3 * lax_bytes + 4 * arrays + 2**22, (window, ours, lax_bytes, arrays)

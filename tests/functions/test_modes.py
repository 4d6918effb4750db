"""JAX's global modes: what runs under lax in a mode runs here, with the numbers of no mode.

One table of functions and one of modes. A function takes two arrays, ``(2, 6, 7, 4)`` and
``(3, 3, 1, 4)``, and gives one.
"""

import functools
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dilax
from tests import cases

pytestmark = pytest.mark.usefixtures("compile_quickly")

WIDE = {"preferred_element_type": jnp.float32}
WINDOW = {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 4}
LAYOUT = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
NORM = dilax.BatchNormParams(*(jnp.full(4, value) for value in (1.5, 0.5, 0.25, 2.0)))


def by_lax(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, **WINDOW, **LAYOUT, **WIDE)


def with_algorithm(algorithm):
    return functools.partial(dilax.conv, feature_group_count=4, algorithm=algorithm, **WIDE)


def dense(x, kernel):
    return dilax.conv(x, jnp.tile(kernel, (1, 1, 4, 2)), **WIDE)


def volume(x, kernel):
    return dilax.conv(x[..., None], jnp.stack([kernel, kernel], -1).swapaxes(2, 3), **WIDE)


FUNCTIONS = {
    "lax": by_lax,
    "drop-in": lambda x, kernel: dilax.conv_general_dilated(x, kernel, **WINDOW, **LAYOUT, **WIDE),
    "accelerate": dilax.accelerate(by_lax),
    "depthwise_conv": lambda x, kernel: dilax.depthwise_conv(x, kernel, **WIDE),
    "separable_conv": lambda x, kernel: dilax.separable_conv(
        x, kernel, jnp.outer(kernel[0, 1], kernel[1, 0]), **WIDE
    ),
    "dense": dense,
    "volume": volume,
    **{
        algorithm.name: with_algorithm(algorithm)
        for algorithm in (
            dilax.algorithms.lax,
            dilax.algorithms.shift_and_add,
            dilax.algorithms.im2col,
            dilax.algorithms.per_group,
        )
    },
    "max_pool": lambda x, kernel: dilax.max_pool(x, 2) * kernel.sum(),
    "avg_pool": lambda x, kernel: dilax.avg_pool(x, 2) * kernel.sum(),
    "batch_norm": lambda x, kernel: dilax.batch_norm(x * kernel.sum(), NORM)[0],
}


def arrays(dtype):
    return tuple(
        jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)
        for seed, shape in enumerate([(2, 6, 7, 4), (3, 3, 1, 4)])
    )


def all_passes(function, x, kernel):
    """The value, both gradients, and the gradient of a gradient."""

    def loss(x, kernel):
        return jnp.sum(jnp.sin(function(x, kernel).astype(jnp.float32)))

    def slope(kernel):
        return jnp.sum(jnp.square(jax.grad(loss)(x, kernel).astype(jnp.float32)))

    return function(x, kernel), *jax.grad(loss, argnums=(0, 1))(x, kernel), jax.grad(slope)(kernel)


@pytest.mark.parametrize(
    ("name", "dtype"), cases.crossed(["bfloat16", "float16", "float32"], list(FUNCTIONS))
)
def test_nothing_is_promoted_implicitly(name, dtype):
    """The program is the same, so the numbers are."""
    passes, operands = functools.partial(all_passes, FUNCTIONS[name]), arrays(dtype)
    wanted = str(jax.make_jaxpr(passes)(*operands))
    with jax.numpy_dtype_promotion("strict"):
        found = str(jax.make_jaxpr(passes)(*operands))
    assert without_addresses(found) == without_addresses(wanted)


def without_addresses(program):
    return re.sub(r"0x[0-9a-f]+", "", program)


@pytest.mark.parametrize("name", ["drop-in", "depthwise_conv", "shift_and_add", "im2col"])
def test_integers_are_summed_in_a_wider_type_without_promotion(name):
    x, kernel = (jnp.round(8 * array).astype(jnp.int8) for array in arrays(jnp.float32))
    wide = {"preferred_element_type": jnp.int32}
    functions = {
        "drop-in": functools.partial(dilax.conv_general_dilated, **WINDOW, **LAYOUT, **wide),
        "depthwise_conv": functools.partial(dilax.depthwise_conv, **wide),
    }
    chosen = getattr(dilax.algorithms, name, None)
    plain = functools.partial(dilax.conv, feature_group_count=4, algorithm=chosen, **wide)
    with jax.numpy_dtype_promotion("strict"):
        found = functions.get(name, plain)(x, kernel)
    exact = by_lax(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("name", cases.thinned([[name] for name in FUNCTIONS], 7))
def test_without_jit(name):
    operands = arrays(jnp.float32)
    wanted = all_passes(FUNCTIONS[name], *operands)
    with jax.disable_jit():
        found = all_passes(FUNCTIONS[name], *operands)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", cases.thinned([[name] for name in FUNCTIONS], 3))
def test_while_nans_and_infinities_are_looked_for(name):
    """No pass makes one on the way where the result has none."""
    operands = arrays(jnp.float32)
    with jax.debug_nans(True), jax.debug_infs(True), warnings.catch_warnings():
        all_passes(FUNCTIONS[name], *operands)


@pytest.mark.parametrize("name", ["lax", "drop-in", "accelerate", "depthwise_conv"])
def test_a_nan_that_a_convolution_makes_is_found(name):
    x, kernel = arrays(jnp.float32)
    with jax.debug_nans(True), pytest.raises(FloatingPointError) as raised:
        FUNCTIONS[name](x.at[0, 3, 3, 0].set(jnp.inf), 0 * kernel)
    assert type(raised.value) is FloatingPointError

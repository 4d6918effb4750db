"""Every type of numbers that lax convolves, by the drop-in and under ``accelerate``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dilax
from tests import cases

pytestmark = pytest.mark.usefixtures("compile_quickly", "double")

NAMES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float4_e2m1fn", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn"),
    *("float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    *("bfloat16", "float16", "float32", "float64", "complex64", "complex128"),
)
LAYOUT = ("NHWC", "HWIO", "NHWC")


def depthwise(convolution, x, kernel, **options):
    return convolution(
        x, kernel, (1, 1), "SAME", feature_group_count=4, dimension_numbers=LAYOUT, **options
    )


def dense(convolution, x, kernel):
    kernel = jnp.concatenate([kernel] * 4, 2)
    return convolution(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


def wide(convolution, x, kernel):
    whole = jnp.issubdtype(x.dtype, jnp.integer)
    result = jnp.int64 if whole else jnp.promote_types(jnp.float32, as_standard(x.dtype))
    return depthwise(convolution, x, kernel, preferred_element_type=result)


def as_standard(dtype):
    """A type that others can be promoted to; types of 8 bits and less cannot."""
    narrow = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize == 1
    return jnp.dtype(jnp.float32) if narrow else dtype


def operands(name):
    """Ones and zeros, which every type holds, and whose sums most types hold."""
    rng = np.random.default_rng(0)
    shapes = (1, 8, 8, 4), (3, 3, 1, 4)
    return [jnp.asarray(rng.integers(0, 2, shape)).astype(name) for shape in shapes]


def results(function, x, kernel):
    """The value, and the gradients where the type has any."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return function(x, kernel)

    def loss(x, kernel):
        y = function(x, kernel)
        return jnp.sum(jnp.abs(y.astype(jnp.promote_types(as_standard(y.dtype), jnp.float32)))), y

    return jax.grad(loss, (0, 1), has_aux=True)(x, kernel)


def comparable(array):
    return np.asarray(array.astype(jnp.promote_types(as_standard(array.dtype), jnp.float32)))


REFUSED = [("bool", wide), ("float4_e2m1fn", wide)]
"""What lax itself, or XLA on CPU, does not compute, as all integers of 4 bits."""
CASES = [
    (name, kind)
    for name in NAMES
    for kind in (depthwise, dense, wide)
    if hasattr(jnp, name) and (name, kind) not in REFUSED
]


@pytest.mark.parametrize(("name", "kind"), cases.thinned(CASES, 7))
def test_every_type_that_lax_takes(name, kind):
    def by_lax(x, kernel):
        return kind(jax.lax.conv_general_dilated, x, kernel)

    def by_dilax(x, kernel):
        return kind(dilax.conv_general_dilated, x, kernel)

    x, kernel = operands(name)
    compute = jax.jit(results, static_argnums=0)
    expected = compute(by_lax, x, kernel)
    for form in (by_dilax, dilax.accelerate(by_lax)):
        result = compute(form, x, kernel)
        for one, other in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(comparable(one), comparable(other), rtol=0.05, atol=0.05)


def test_an_algorithm_that_is_named_takes_narrow_floats_too():
    x, kernel = operands("float8_e5m2")
    for algorithm in (dilax.algorithms.shift_and_add, dilax.algorithms.im2col):
        y = dilax.depthwise_conv(x, kernel, preferred_element_type=jnp.float32, algorithm=algorithm)
        assert y.dtype == jnp.float32

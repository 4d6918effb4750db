"""Every function and module is exported once for images of any size, forward and gradient."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export, lax

import dilax
from dilax import nn
from tests import cases
from tests.nn.test_conventions import ARGUMENTS

pytestmark = pytest.mark.usefixtures("compile_quickly")
FEATURES = 4
SIZES = ((2, 9, 8, FEATURES), (1, 12, 7, FEATURES))
NOT_OF_IMAGES = {"accelerate", "explain", "using"}  # `accelerate` has tests of its own


def weights(*shape):
    values = np.random.default_rng(len(shape)).normal(size=shape)
    return jnp.asarray(values / np.sqrt(values.size), jnp.float32)


def norm(features):
    return dilax.BatchNormParams(*(jnp.ones(features) * n for n in (1, 0.1, 0.2, 1.5)))


KERNEL, DEPTHWISE, POINTWISE = weights(3, 2, 4, 6), weights(3, 3, 1, 4), weights(4, 6)
BLOCK = dilax.DilatedBlockParams(weights(3, 3, 4, 4), norm(4))
SEPARABLE = dilax.SeparableBlockParams(DEPTHWISE, weights(4, 4), norm(4))
LAYOUT = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def blocks(function, params):
    options = {
        "moving": {},
        "running": {"use_running_average": True, "residual": True, "kernel_dilation": 2},
        "strided": {"strides": 2, "padding": "CAUSAL"},
    }
    return {name: lambda x, own=own: function(x, params, **own)[0] for name, own in options.items()}


def pools(function, **more):
    options = {
        "touching": {"strides": 2},
        "overlapping": {"padding": "SAME"},
        "with holes between": {"strides": 3, "padding": "SAME"},
        "dilated": {"kernel_dilation": (2, 1), "padding": ((1, 1), (0, 2))},
        "lower": {"strides": 2, "padding": "SAME_LOWER"},
        **more,
    }
    return {name: lambda x, own=own: function(x, (2, 2), **own) for name, own in options.items()}


PADDINGS = ("SAME", "SAME_LOWER", "VALID", "CAUSAL", "CIRCULAR", "REFLECT", 1, ((1, 2), (0, 1)))
CONV = {
    f"{padding}, strides {strides}, dilation {dilation}": functools.partial(
        dilax.conv, kernel=KERNEL, padding=padding, strides=strides, kernel_dilation=dilation
    )
    for padding, strides, dilation in itertools.product(PADDINGS, (1, 2), (1, 2))
}
FUNCTIONS = {
    "conv": {
        **CONV,
        "windows apart": lambda x: dilax.conv(x, weights(1, 2, 4, 6), strides=3),
        "grouped": lambda x: dilax.conv(x, weights(3, 3, 2, 6), feature_group_count=2),
        "float16": lambda x: dilax.conv(x.astype(jnp.float16), KERNEL.astype(jnp.float16) / 8),
        "mapped, without batch": jax.vmap(lambda x: dilax.conv(x, KERNEL, strides=2)),
        "two batch axes": lambda x: dilax.conv(x[None], KERNEL, strides=2),
        "a kernel larger than the images": lambda x: dilax.conv(x, weights(15, 15, 4, 2)),
    },
    "depthwise_conv": {
        name: functools.partial(dilax.depthwise_conv, kernel=DEPTHWISE, **options)
        for name, options in {
            "same": {}, "dilated": {"kernel_dilation": 2}, "strided": {"strides": (2, 3)},
            "valid": {"padding": "VALID"},
        }.items()
    },
    "pointwise_conv": {"plain": functools.partial(dilax.pointwise_conv, kernel=POINTWISE)},
    "separable_conv": {
        name: lambda x, own=own: dilax.separable_conv(x, DEPTHWISE, POINTWISE, **own)
        for name, own in {
            "same": {}, "strided": {"strides": 2}, "valid": {"padding": "VALID"},
        }.items()
    },
    "conv_general_dilated": {
        name: functools.partial(dilax.conv_general_dilated, rhs=KERNEL, **LAYOUT, **own)
        for name, own in {
            "same": {"window_strides": (1, 1), "padding": "SAME"},
            "strided": {"window_strides": (2, 1), "padding": "SAME", "rhs_dilation": (1, 2)},
            "valid": {"window_strides": (1, 2), "padding": ((0, 0), (1, 1))},
        }.items()
    },
    "max_pool": pools(dilax.max_pool),
    "avg_pool": pools(
        dilax.avg_pool,
        without_padding={"strides": 2, "padding": "SAME", "count_include_pad": False},
    ),
    "batch_norm": {
        str(running): lambda x, own=running: dilax.batch_norm(
            x, norm(4), use_running_average=own
        )[0]
        for running in (False, True)
    },
    "dilated_block": blocks(dilax.dilated_block, BLOCK),
    "separable_block": blocks(dilax.separable_block, SEPARABLE),
}  # fmt: skip
PARTS = ("forward", "gradient")
ROWS = [
    (name, case, part) for name, options in FUNCTIONS.items() for case in options for part in PARTS
]


def check(function, *args, features=FEATURES):
    """The exported function of images and other arguments gives what the function gives."""
    batch, height, width = export.symbolic_shape("batch, height, width")
    images = jax.ShapeDtypeStruct((batch, height, width, features), jnp.float32)
    exported = export.export(jax.jit(function))(images, *args)
    for shape in SIZES:
        shape = (*shape[:-1], features)
        x = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)
        found, wanted = exported.call(x, *args), function(x, *args)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-5), found, wanted
        )


def test_every_function_is_here():
    functions = {name for name in dilax.__all__ if type(getattr(dilax, name)) is type(check)}
    assert functions == {*FUNCTIONS, *NOT_OF_IMAGES}


@pytest.mark.parametrize(("name", "case", "part"), cases.thinned(ROWS, 23))
def test_functions(name, case, part):
    function = FUNCTIONS[name][case]
    check(jax.grad(lambda x: jnp.sum(jnp.sin(function(x)))) if part == "gradient" else function)


def test_gradients_of_kernels():
    def loss(kernel, x, options):
        return jnp.sum(jnp.sin(dilax.conv(x, kernel, **options)))

    for options in ({}, {"strides": 2}, {"padding": "VALID", "strides": (1, 2)}):
        check(jax.grad(lambda x, kernel, own=options: loss(kernel, x, own), 1), KERNEL)


def test_second_and_forward_derivatives():
    def function(x):
        return jnp.sin(dilax.conv(x, KERNEL, strides=2))

    check(lambda x: jax.jvp(function, (x,), (x * x,))[1])
    check(jax.grad(lambda x: jnp.sum(jax.grad(lambda x: jnp.sum(function(x)))(x) ** 2)))


@pytest.mark.parametrize(("name", "part"), cases.crossed(PARTS, nn.__all__, turns=5))
def test_modules(name, part):
    arguments, own = ARGUMENTS.get(name, ((8, 6, (3, 3)), {"strides": 2}))
    graph, state = nnx.split(getattr(nn, name)(*arguments, **own, rngs=nnx.Rngs(0)))
    floats, others = nnx.split_state(
        state, lambda path, value: jnp.issubdtype(value.dtype, jnp.floating), ...
    )

    def function(x, floats, others):
        parts = (jax.tree.map(jnp.asarray, part) for part in (floats, others))  # of this trace
        return nnx.merge(graph, *parts)(x)

    if part == "gradient":
        outputs = function
        function = jax.grad(lambda *args: jnp.sum(jnp.sin(outputs(*args))), (0, 1))
    check(function, floats, others, features=8)


def test_one_axis_of_known_size_and_lines():
    (length,) = export.symbolic_shape("length")
    kernel = weights(3, 4, 6)

    def network(x):
        x = dilax.conv(x, kernel, strides=2, padding="CAUSAL")
        return dilax.max_pool(x, (2,), strides=2)

    exported = export.export(jax.jit(jax.grad(lambda x: jnp.sum(network(x) ** 2))))(
        jax.ShapeDtypeStruct((2, length, 4), jnp.float32)
    )
    for size in (9, 16):
        x = weights(2, size, 4)
        wanted = jax.grad(lambda x: jnp.sum(network(x) ** 2))(x)
        np.testing.assert_allclose(exported.call(x), wanted, rtol=1e-4, atol=1e-6)
    images = jax.ShapeDtypeStruct((2, length, 8, 4), jnp.float32)
    exported = export.export(jax.jit(CONV["SAME, strides 2, dilation 2"]))(images)
    x = weights(2, 11, 8, 4)
    wanted = lax.conv_general_dilated(x, KERNEL, (2, 2), "SAME", rhs_dilation=(2, 2), **LAYOUT)
    np.testing.assert_allclose(exported.call(x), wanted, rtol=1e-4, atol=1e-6)

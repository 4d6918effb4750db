"""``using``: one algorithm for every function and module that names none."""

import concurrent.futures
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dilax
from dilax import algorithms

pytestmark = pytest.mark.usefixtures("compile_quickly")

X = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
KERNEL = jax.random.normal(jax.random.key(1), (3, 3, 1, 4))


def by(convolution):
    def function(x, kernel):
        options = {"feature_group_count": 4, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
        return convolution(x, kernel, (1, 1), "SAME", **options)

    return function


FUNCTIONS = {
    "conv": lambda x, kernel: dilax.conv(x, jnp.tile(kernel, (1, 1, 4, 2))),
    "depthwise_conv": dilax.depthwise_conv,
    "separable_conv": lambda x, kernel: dilax.separable_conv(x, kernel, jnp.eye(4)),
    "drop-in": by(dilax.conv_general_dilated),
    "accelerate": dilax.accelerate(by(jax.lax.conv_general_dilated)),
    "max_pool": lambda x, kernel: dilax.max_pool(x, 3) * kernel.sum(),
    "avg_pool": lambda x, kernel: dilax.avg_pool(x, 3) * kernel.sum(),
}
CHANGES = {
    "value": lambda function: function,
    "gradients": lambda function: jax.grad(lambda x, k: jnp.sum(jnp.sin(function(x, k))), (0, 1)),
    "vmap": lambda function: lambda x, k: jax.vmap(function, (0, None))(x[None], k),
}
MODULES = {
    "Conv": lambda rngs: dilax.nn.Conv(4, 4, (3, 3), rngs=rngs),
    "DepthwiseConv": lambda rngs: dilax.nn.DepthwiseConv(4, (3, 3), rngs=rngs),
    "SeparableConv": lambda rngs: dilax.nn.SeparableConv(4, 4, (3, 3), rngs=rngs),
    "SeparableBlock": lambda rngs: dilax.nn.SeparableBlock(4, 4, (3, 3), rngs=rngs),
}
NETWORKS = ("MnistDSDC", "CifarDSDC")


def program(function, *args):
    return str(jax.make_jaxpr(function)(*args))


def words(text):
    return re.findall(r"\w+", text)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("change", CHANGES)
def test_functions_bind_the_primitives_of_lax_alone(name, change):
    function = CHANGES[change](FUNCTIONS[name])
    expected = function(X, KERNEL)
    with dilax.using(algorithms.lax):
        found, text = function(X, KERNEL), program(function, X, KERNEL)
    assert not {"dilax_conv", "dilax_input_gradient", "dilax_kernel_gradient"} & set(words(text))
    assert "conv_general_dilated" in text or "reduce_window" in text
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    graphdef, state = nnx.split(MODULES[name](nnx.Rngs(0)))

    def apply(state, x):
        return nnx.merge(graphdef, state)(x)

    with dilax.using(algorithms.lax):
        text = program(apply, state, X)
    assert "conv_general_dilated" in text and "dilax_conv" not in text
    assert "dilax_conv" in program(apply, state, X)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    network = getattr(dilax.models, name)(rngs=nnx.Rngs(0))
    network.eval()
    graphdef, state = nnx.split(network)
    size = (2, 28, 28, 1) if name.startswith("Mnist") else (2, 32, 32, 3)

    def apply(state, x):
        return nnx.merge(graphdef, state)(x)

    with dilax.using(algorithms.lax):
        text = program(apply, state, jnp.ones(size))
    assert "conv_general_dilated" in text and "dilax_conv" not in text


def test_a_jitted_function_is_traced_for_each_algorithm():
    traced = []

    @jax.jit
    def function(x, kernel):
        traced.append(None)
        return dilax.depthwise_conv(x, kernel)

    def scanned(x, kernel):
        return jax.lax.scan(lambda x, _: (function(x, kernel), None), x, length=2)[0]

    for algorithm in (None, algorithms.lax, algorithms.im2col):
        with dilax.using(algorithm):
            for each in (function, scanned):
                text = program(each, X, KERNEL)
                assert ("dilax_conv" in text) == (algorithm is not algorithms.lax)
    assert len(traced) == 3


def test_the_innermost_block_and_the_call_itself_win():
    with dilax.using(algorithms.lax):
        with dilax.using(None):
            assert "dilax_conv" in program(dilax.depthwise_conv, X, KERNEL)
        text = program(dilax.depthwise_conv, X, KERNEL)
        assert "dilax_conv" not in text
        named = dilax.depthwise_conv
        text = program(lambda x, k: named(x, k, algorithm=algorithms.im2col), X, KERNEL)
        assert "dilax_conv" in text and "im2col" in text
    assert "algorithm=None" in program(dilax.depthwise_conv, X, KERNEL)


def test_an_error_ends_the_block_and_other_threads_do_not_see_it():
    with pytest.raises(ZeroDivisionError), dilax.using(algorithms.lax):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            text = pool.submit(program, dilax.depthwise_conv, X, KERNEL).result()
        assert "dilax_conv" in text
        raise ZeroDivisionError
    assert "dilax_conv" in program(dilax.depthwise_conv, X, KERNEL)


def test_anything_but_an_algorithm_is_refused():
    for wrong in ("lax", jax.lax, 1):
        with (
            pytest.raises(TypeError, match=r"algorithm must be .*dilax\.algorithms"),
            dilax.using(wrong),
        ):
            pass


# --- tools that know lax --------------------------------------------------------------------------

"""What all modules share: their arguments and words, the type that they compute in, errors."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dilax
from dilax.algorithms import Algorithm

ORDER = (
    "in_features", "out_features", "kernel_size", "kernel_sizes", "strides", "channel_multiplier",
    "padding", "kernel_dilation", "kernel_dilation_choices", "learned", "taps", "gaussian",
    "deterministic", "activation", "residual", "use_bias", "use_running_average", "momentum",
    "epsilon", "axis_name", "dtype", "param_dtype", "precision", "kernel_init", "bias_init",
    "algorithm", "rngs",
)  # fmt: skip
EVERYWHERE = {
    "in_features", "dtype", "param_dtype", "precision", "kernel_init", "algorithm", "rngs",
}  # fmt: skip
OWN_WORDS = {
    ("ParallelDepthwiseConv", "kernel_dilation"), ("EESP", "kernel_dilation"),
    ("ASPP", "kernel_dilation"), ("RandomDepthwiseConv", "kernel_dilation"),
    ("RandomDepthwiseConv", "rngs"),
}  # fmt: skip
ARGUMENTS = {
    "DepthwiseConv": ((8, (3, 3)), {}),
    "SeparableConv": ((8, 6, (3, 3)), {}),
    "SeparableBlock": ((8, 6, (3, 3)), {}),
    "SmoothedDepthwiseConv": ((8, (3, 3)), {"kernel_dilation": np.int64(2)}),
    "InteractingDepthwiseConv": ((8, (3, 3)), {"kernel_dilation": (2, 1)}),
    "RandomDepthwiseConv": (
        (8, (3, 3)),
        {"kernel_dilation": 2, "kernel_dilation_choices": np.array([1, 2])},
    ),
    "LearnedDepthwiseConv": ((8, np.array([3, 3])), {"taps": np.int32(2), "gaussian": True}),
    "ParallelDepthwiseConv": (
        (8, np.array([[3, 3], [5, 5]])),
        {"kernel_dilation": np.array([1, 2])},
    ),
    "EESP": ((8, (3, 3)), {"kernel_dilation": np.array([[1, 1], [2, 1]])}),
    "ASPP": ((8, 6, (3, 3)), {"kernel_dilation": [np.int8(2)]}),
}


def make(name, **options):
    arguments, own = ARGUMENTS[name]
    return getattr(dilax.nn, name)(*arguments, **own, **options, rngs=nnx.Rngs(0))


def described(name):
    """The words for each argument in the docstring of a module."""
    text = inspect.getdoc(getattr(dilax.nn, name)).partition("Args:\n")[2].partition("\n\n")[0]
    return dict(re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.MULTILINE))


def test_every_module_is_here():
    stock = {"Conv", "BatchNorm"}  # they take what stock Flax takes
    assert {*ARGUMENTS} | stock == {*dilax.nn.__all__}


def test_modules_take_the_same_arguments_in_one_order_and_describe_them_alike():
    words = {}
    for name in ARGUMENTS:
        constructor = getattr(dilax.nn, name).__init__
        _, *parameters = inspect.signature(constructor).parameters
        assert parameters == sorted(parameters, key=ORDER.index), name
        assert set(parameters) >= EVERYWHERE, name
        assert list(described(name)) == parameters, name
        for argument, text in described(name).items():
            if (name, argument) not in OWN_WORDS:
                words.setdefault(argument, set()).add(text)
    assert {argument: texts for argument, texts in words.items() if len(texts) > 1} == {}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_options_reach_every_convolution(name):
    """Types of input, parameters and result; precision and algorithm of all that is computed."""
    seen = []

    def counted(lhs, rhs, geometry, **options):
        seen.append(options["precision"])
        return dilax.algorithms.lax.conv(lhs, rhs, geometry, **options)

    ours = Algorithm("counted", counted, counted, counted)
    options = {"dtype": jnp.bfloat16, "param_dtype": jnp.float16}
    options |= {"precision": "highest", "algorithm": ours}
    module = nnx.eval_shape(lambda: make(name, **options))
    params = jax.tree.leaves(nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    assert {param.dtype for param in params} == {jnp.dtype(jnp.float16)}
    x = jax.ShapeDtypeStruct((2, 7, 6, 8), jnp.float32)
    y, jaxpr = nnx.eval_shape(lambda m, x: m(x), module, x), str(nnx_jaxpr(module, x))
    assert y.dtype == jnp.bfloat16
    assert y.shape == (2, 7, 6, 6 if "out_features" in described(name) else 8)
    primitives = re.findall(r"= (dilax_conv\w*|conv_general_dilated)\[", jaxpr)
    assert primitives and set(primitives) == {"dilax_conv"}
    assert jaxpr.count("dilax.algorithms.counted") == len(primitives)
    assert "precision=None" not in jaxpr


def nnx_jaxpr(module, x):
    graphdef, state = nnx.split(module)
    return jax.make_jaxpr(lambda state, x: nnx.merge(graphdef, state)(x))(state, x)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_malformed_arguments_are_named(name):
    with pytest.raises(ValueError, match=r"x must have 8 features .* \(in_features\), got .* 7\)"):
        nnx.eval_shape(lambda: make(name)(jnp.ones((2, 7, 6, 7))))
    with pytest.raises(TypeError, match="dtype must be a type of numbers, got 'nonsense'"):
        nnx.eval_shape(lambda: make(name, dtype="nonsense"))
    with pytest.raises(TypeError, match=r"algorithm must be .*algorithms\.lax.* got 'lax'"):
        nnx.eval_shape(lambda: make(name, algorithm="lax"))
    with pytest.raises(TypeError, match="kernel_init must be a function, got 3"):
        nnx.eval_shape(lambda: make(name, kernel_init=3))


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (
            np.int64(3),
            TypeError,
            r"^kernel_size must be a sequence with one entry for each of 1 to 3 window axes, "
            r"got 3; for two axes write \(3, 3\)\.$",
        ),
        ((), ValueError, r"one entry for each of 1 to 3 window axes, got \(\)"),
        ((3, 3, 3, 3), ValueError, r"1 to 3 window axes, got \(3, 3, 3, 3\)"),
        ((3, 0), ValueError, "kernel_size must be at least 1 on every axis"),
        ("33", TypeError, "kernel_size must be a sequence of integers, got '33'"),
    ],
)
def test_kernel_size_tells_the_number_of_axes(size, error, message):
    with pytest.raises(error, match=message):
        dilax.nn.DepthwiseConv(8, size, rngs=nnx.Rngs(0))


def test_arrays_of_integers_stay_options_of_a_module():
    """None of them is a part of the state, which would be differentiated and sharded."""
    layer = dilax.nn.DepthwiseConv(
        np.int32(4), np.array([3, 3]), [2, 1], padding=np.array([[1, 2], [0, 3]]), rngs=nnx.Rngs(0)
    )
    assert len(jax.tree.leaves(nnx.state(layer))) == 2
    assert layer(jnp.ones((1, 5, 6, 4))).shape == (1, 3, 7, 4)

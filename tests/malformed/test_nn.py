"""Modules and models of malformed arguments: the shape of what they give, or a refusal."""

import fnmatch
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from hypothesis import strategies as st

import dilax
from dilax import models, nn
from tests.malformed import answers, values
from tests.malformed.answers import floats
from tests.malformed.calls import Call, answered

FRESH = "rngs made where they are used"
RANDOM = st.sampled_from([None, 0, "params", jax.random.key(0), nnx.Rngs])
TYPES = st.sampled_from(["nonsense", "str", "bool", object, 3, "O", "float16", "bfloat16"])


def shape_of(make: Callable[..., Any]) -> Callable[..., tuple[int, ...]]:
    """Make a function of the module's arguments and ``x`` that returns the shape of the output."""

    def shape(x: Any, **arguments: Any) -> tuple[int, ...]:
        def run() -> Any:
            rngs = nnx.Rngs(0) if arguments["rngs"] is FRESH else arguments["rngs"]
            return make(**{**arguments, "rngs": rngs})(x)

        return jax.eval_shape(run).shape

    return shape


def depthwise_shape(x: Any, kernel_size: Any, channel_multiplier: int = 1, **options: Any) -> Any:
    features = np.shape(x)[-1]
    assert features == options["in_features"]
    window = {name: options[name] for name in ("strides", "padding", "kernel_dilation")}
    kernel = np.zeros((*kernel_size, 1, features * channel_multiplier))
    return answers.convolve_depthwise(np.zeros(np.shape(x)), kernel, **window).shape


def separable_shape(x: Any, out_features: int, **options: Any) -> Any:
    return (*depthwise_shape(x, **options)[:-1], out_features)


def same_shape(x: Any, in_features: Any, **options: Any) -> tuple[int, ...]:
    assert np.shape(x)[-1] == in_features
    return np.shape(x)


x = floats(2, 5, 6, 4)
DILATIONS = st.lists(values.tuples(), max_size=3) | values.tuples()
MODULE = {"x": x, "rngs": FRESH, "in_features": 4, "kernel_size": (3, 3)}
BAD_MODULE = {
    "x": values.arrays(x),
    "rngs": RANDOM,
    "in_features": values.integers(),
    "kernel_size": values.tuples(),
    "kernel_init": values.no_functions(),
    "dtype": TYPES,
    "param_dtype": TYPES,
    "precision": st.sampled_from(["nonsense", 3.5, object()]),
    "algorithm": st.sampled_from(["shift_and_add", [], dilax.algorithms, 3, True]),
}
BAD_NORM = {
    "momentum": values.numbers(),
    "epsilon": values.numbers(),
    "axis_name": st.sampled_from(["batch", 3, ["batch"], object()]),
}
WINDOW = {"strides": (2, 1), "padding": "SAME", "kernel_dilation": (1, 2)}
BAD_WINDOW = {
    **BAD_MODULE,
    "strides": values.tuples(),
    "channel_multiplier": values.integers(),
    "padding": values.paddings(),
    "kernel_dilation": values.tuples(),
}
KERNEL = {"in_features": "kernel|x", "kernel_size": "kernel"}
MODEL = {
    "name": "mnist_dsdc",
    "classes": 10,
    "rngs": FRESH,
    "kernel_dilation": (1, 2, 1, 1, 2, 1, 2),
}


def model_shape(**arguments: Any) -> tuple[int, ...]:
    return shape_of(models.create)(jnp.zeros((2, 28, 28, 1)), **arguments)


CALLS = {
    "in_first_blocks": Call(
        models.in_first_blocks,
        {"path": ("block_2", "convs", 0, "kernel"), "blocks": 2},
        {"path": values.nothing() | st.just(()), "blocks": values.integers()},
        lambda path, blocks: blocks >= 2,
    ),
    "DepthwiseConv": Call(
        shape_of(nn.DepthwiseConv),
        {**MODULE, **WINDOW, "channel_multiplier": 2},
        {**BAD_WINDOW, "bias_init": values.no_functions()},
        depthwise_shape,
        also_named=KERNEL,
    ),
    "SeparableConv": Call(
        shape_of(nn.SeparableConv),
        {**MODULE, **WINDOW, "channel_multiplier": 2, "out_features": 6},
        {**BAD_WINDOW, "out_features": values.integers(), "bias_init": values.no_functions()},
        separable_shape,
        also_named=KERNEL,
    ),
    "SeparableBlock": Call(
        shape_of(nn.SeparableBlock),
        {**MODULE, **WINDOW, "channel_multiplier": 2, "out_features": 6},
        {
            **BAD_WINDOW,
            **BAD_NORM,
            "out_features": values.integers(),
            "activation": values.no_functions(),
        },
        separable_shape,
        also_named=KERNEL,
    ),
    "Conv": Call(
        shape_of(nn.Conv),
        {**MODULE, "out_features": 6},
        {"x": values.arrays(x), "algorithm": st.sampled_from(["shift_and_add", [], 3, True])},
        lambda x, **_: (*np.shape(x)[:-1], 6),
        as_lax_says=True,
    ),
    "BatchNorm": Call(
        shape_of(nn.BatchNorm),
        {"x": x, "rngs": FRESH, "num_features": 4},
        {"x": values.arrays(x), "num_features": values.integers(), **BAD_NORM},
        lambda x, **_: np.shape(x),
        as_lax_says=True,
    ),
    **{
        module.__name__: Call(
            shape_of(module),
            {**MODULE, **own},
            {**BAD_MODULE, **bad},
            same_shape,
            also_named={**KERNEL, "kernel_dilation_choices": "kernel_dilation"},
        )
        for module, own, bad in (
            (
                nn.SmoothedDepthwiseConv,
                {"kernel_dilation": 2},
                {"kernel_dilation": values.tuples()},
            ),
            (
                nn.InteractingDepthwiseConv,
                {"kernel_dilation": 2},
                {"kernel_dilation": values.tuples()},
            ),
            (
                nn.RandomDepthwiseConv,
                {"kernel_dilation": 2, "kernel_dilation_choices": (1, 2)},
                {"kernel_dilation": values.tuples(), "kernel_dilation_choices": DILATIONS},
            ),
            (nn.LearnedDepthwiseConv, {"taps": 3}, {"taps": values.integers()}),
            (
                nn.EESP,
                {"kernel_dilation": (1, 2)},
                {**BAD_NORM, "kernel_dilation": DILATIONS},
            ),
        )
    },
    "ParallelDepthwiseConv": Call(
        shape_of(nn.ParallelDepthwiseConv),
        {
            "x": x,
            "rngs": FRESH,
            "in_features": 4,
            "kernel_sizes": [(3, 3), (5, 5)],
            "kernel_dilation": (1, 2),
        },
        {
            **{name: bad for name, bad in BAD_MODULE.items() if name != "kernel_size"},
            **BAD_NORM,
            "kernel_sizes": DILATIONS,
            "kernel_dilation": DILATIONS,
        },
        same_shape,
        also_named={**KERNEL, "kernel_sizes": "kernel"},
    ),
    "ASPP": Call(
        shape_of(nn.ASPP),
        {**MODULE, "out_features": 6, "kernel_dilation": (1, 2)},
        {
            **BAD_MODULE,
            **BAD_NORM,
            "out_features": values.integers(),
            "kernel_dilation": DILATIONS,
            "activation": values.no_functions(),
        },
        lambda x, out_features, **_: (*np.shape(x)[:-1], out_features),
        also_named=KERNEL,
    ),
    "create": Call(
        model_shape,
        MODEL,
        {
            "name": values.nothing() | values.integers(),
            "classes": values.integers(),
            "rngs": RANDOM,
            "kernel_dilation": values.tuples(),
        },
        lambda classes, **_: (2, classes),
    ),
    "list_models": Call(
        models.list_models,
        {"pattern": "*textbook*"},
        {"pattern": values.nothing() | values.integers()},
        lambda pattern: [name for name in models.list_models() if fnmatch.fnmatch(name, pattern)],
    ),
}

test_malformed_arguments_are_answered = answered(CALLS)

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
    """A function of the module's arguments and ``x``: the shape of what the module makes of it."""

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


def same_shape(x: Any, features: Any, **options: Any) -> tuple[int, ...]:
    assert np.shape(x)[-1] == features
    return np.shape(x)


x = floats(2, 5, 6, 4)
MODULE = {"x": x, "rngs": FRESH, "kernel_size": (3, 3)}
BAD_MODULE = {
    "x": values.arrays(x),
    "rngs": RANDOM,
    "kernel_size": values.tuples(),
    "kernel_init": values.no_functions(),
}
WINDOW = {"in_features": 4, "strides": (2, 1), "padding": "SAME", "kernel_dilation": (1, 2)}
BAD_WINDOW = {
    "in_features": values.integers(),
    "strides": values.tuples(),
    "padding": values.paddings(),
    "kernel_dilation": values.tuples(),
    "dtype": TYPES,
    "param_dtype": TYPES,
    "algorithm": st.sampled_from(["shift_and_add", [], dilax.algorithms, 3, True]),
}
BAD_FILTER = {
    **BAD_MODULE,
    "features": values.integers(),
    "kernel_dilation": values.tuples(),
    "dtype": TYPES,
}
RATES = st.lists(values.tuples(), max_size=3) | values.tuples()
SEVERAL = {**MODULE, "features": 4, "kernel_dilation": (1, 2)}
BAD_SEVERAL = {**BAD_MODULE, "features": values.integers(), "kernel_dilation": RATES}
KERNEL = {"in_features": "kernel", "features": "kernel|x", "kernel_size": "kernel"}
MODEL = {"name": "mnist_dsdc", "classes": 10, "rngs": FRESH}


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
        {
            **BAD_MODULE,
            **BAD_WINDOW,
            "channel_multiplier": values.integers(),
            "bias_init": values.no_functions(),
        },
        depthwise_shape,
        also_named=KERNEL,
    ),
    "SeparableConv": Call(
        shape_of(nn.SeparableConv),
        {**MODULE, **WINDOW, "channel_multiplier": 2, "out_features": 6},
        {
            **BAD_MODULE,
            **BAD_WINDOW,
            "channel_multiplier": values.integers(),
            "out_features": values.integers(),
            "bias_init": values.no_functions(),
        },
        separable_shape,
        also_named=KERNEL,
    ),
    "SeparableBlock": Call(
        shape_of(nn.SeparableBlock),
        {**MODULE, **WINDOW, "out_features": 6},
        {
            **BAD_MODULE,
            **BAD_WINDOW,
            "out_features": values.integers(),
            "activation": values.no_functions(),
            "momentum": values.numbers(),
            "epsilon": values.numbers(),
            "axis_name": st.sampled_from(["batch", 3, ["batch"], object()]),
        },
        separable_shape,
        also_named=KERNEL,
    ),
    "Conv": Call(
        shape_of(nn.Conv),
        {**MODULE, "in_features": 4, "out_features": 6},
        {"x": values.arrays(x), "algorithm": st.sampled_from(["shift_and_add", [], 3, True])},
        lambda x, **_: (*np.shape(x)[:-1], 6),
        as_lax_says=True,
    ),
    **{
        module.__name__: Call(
            shape_of(module),
            {**MODULE, "features": 4, "kernel_dilation": 2, **extra},
            {**BAD_FILTER, **bad},
            same_shape,
            also_named={**KERNEL, "rates": "kernel_dilation"},
        )
        for module, extra, bad in (
            (nn.SmoothedDepthwiseConv, {}, {}),
            (nn.InteractingDepthwiseConv, {}, {}),
            (nn.RandomDepthwiseConv, {"rates": (1, 2)}, {"rates": RATES}),
        )
    },
    "LearnedDepthwiseConv": Call(
        shape_of(nn.LearnedDepthwiseConv),
        {**MODULE, "features": 4, "taps": 3},
        {
            "x": values.arrays(x),
            "rngs": RANDOM,
            "kernel_size": values.tuples(),
            "features": values.integers(),
            "taps": values.integers(),
            "dtype": TYPES,
        },
        same_shape,
        also_named=KERNEL,
    ),
    "ParallelDepthwiseConv": Call(
        shape_of(nn.ParallelDepthwiseConv),
        {
            "x": x,
            "rngs": FRESH,
            "features": 4,
            "kernel_sizes": [(3, 3), (5, 5)],
            "kernel_dilation": (1, 2),
        },
        {
            "x": values.arrays(x),
            "rngs": RANDOM,
            "features": values.integers(),
            "kernel_sizes": RATES,
            "kernel_dilation": RATES,
            "kernel_init": values.no_functions(),
            "dtype": TYPES,
            "momentum": values.numbers(),
            "epsilon": values.numbers(),
        },
        same_shape,
        also_named={**KERNEL, "kernel_sizes": "kernel"},
    ),
    "EESP": Call(
        shape_of(nn.EESP),
        SEVERAL,
        {**BAD_SEVERAL, "momentum": values.numbers()},
        same_shape,
        also_named=KERNEL,
    ),
    "ASPP": Call(
        shape_of(nn.ASPP),
        {**MODULE, "in_features": 4, "out_features": 6, "kernel_dilation": (1, 2)},
        {
            **BAD_MODULE,
            "in_features": values.integers(),
            "out_features": values.integers(),
            "kernel_dilation": RATES,
            "momentum": values.numbers(),
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

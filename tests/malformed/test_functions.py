"""Operations of malformed arguments."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import dilax
from tests.malformed import answers, values
from tests.malformed.answers import floats
from tests.malformed.calls import Call, answered

pytestmark = pytest.mark.usefixtures("compile_quickly")

x, kernel, bias = floats(2, 5, 6, 4), floats(3, 2, 2, 6), floats(6)
depthwise, pointwise = floats(3, 2, 1, 8), floats(8, 6)
norm = dilax.BatchNormParams(*(np.full(6, value, np.float32) for value in (1, 0, 0, 1)))
dense_params = dilax.DilatedBlockParams(kernel, norm)
separable_params = dilax.SeparableBlockParams(depthwise, pointwise, norm)

PRECISIONS = st.sampled_from(["highest", "nonsense", 7, object(), ("high",) * 3, (), "HIGH"])
TYPES = st.sampled_from(
    ["nonsense", "str", "bool", object, 3, "O", "int32", "complex64", "float16", "bfloat16"]
)
ALGORITHMS = st.sampled_from(
    ["shift_and_add", [], dilax.algorithms, dilax.algorithms.shift_and_add.conv, 3, True]
)


def activated(filtered: Any, norm: Any, activation: Any, **options: Any) -> Any:
    y, moved = answers.normalise(filtered, norm, **options)
    return np.asarray(activation(y)), moved


def dense_block(x: Any, params: Any, **options: Any) -> Any:
    window = {name: options.pop(name) for name in (*WINDOW, "feature_group_count")}
    filtered = answers.convolve(x, params.kernel, **window)
    y, norm = activated(filtered, params.norm, **options)
    return y, params._replace(kernel=jnp.asarray(params.kernel), norm=norm)


def separable_block(x: Any, params: Any, **options: Any) -> Any:
    window = {name: options.pop(name) for name in WINDOW}
    kernels = params.depthwise_kernel, params.pointwise_kernel
    plain = {"bias": None, "preferred_element_type": None}
    filtered = answers.convolve_separably(x, *kernels, **window, **plain)
    y, norm = activated(filtered, params.norm, **options)
    return y, dilax.SeparableBlockParams(*map(jnp.asarray, kernels), norm)


def depthwise_using(algorithm: Any) -> Any:
    with dilax.using(algorithm):
        return dilax.depthwise_conv(x, depthwise)


# Arguments that several functions share: well-formed, and malformed.
WINDOW = {"strides": (2, 1), "padding": "SAME", "kernel_dilation": (1, 2)}
BAD_WINDOW = {
    "strides": values.tuples(),
    "padding": values.paddings(),
    "kernel_dilation": values.tuples(),
}
RESULT = {"precision": None, "preferred_element_type": None}
BAD_RESULT = {"precision": PRECISIONS, "preferred_element_type": TYPES}
POOL = {"x": x, "window_shape": (2, 3), "strides": (2, 1), "padding": "SAME", "kernel_dilation": 1}
BAD_POOL = {
    "x": values.arrays(x),
    "window_shape": values.tuples(),
    "strides": values.tuples(),
    "padding": values.paddings(),
    "kernel_dilation": values.tuples(),
}
NORM = {"use_running_average": False, "momentum": 0.9, "epsilon": 1e-3, "axis_name": None}
BAD_NORM = {
    "momentum": values.numbers(),
    "epsilon": values.numbers(),
    "axis_name": st.sampled_from(["batch", 3, (), ["batch"], object()]),
}
COUNTED = np.arange(10).reshape(2, 5, 1) % 3 > 0
"""A mask."""
BLOCK = {**WINDOW, **NORM, "activation": jax.nn.relu}
BAD_BLOCK = {
    **BAD_WINDOW,
    **BAD_NORM,
    "activation": values.no_functions(),
    "precision": PRECISIONS,
    "algorithm": ALGORITHMS,
}
FIELDS = {"params": "kernel|depthwise_kernel|pointwise_kernel|norm"}

CALLS = {
    "conv": Call(
        dilax.conv,
        {"x": x, "kernel": kernel, **WINDOW, "feature_group_count": 2, "bias": bias, **RESULT},
        {
            "x": values.arrays(x),
            "kernel": values.arrays(kernel),
            **BAD_WINDOW,
            "feature_group_count": values.integers(),
            "bias": values.arrays(bias),
            **BAD_RESULT,
            "algorithm": ALGORITHMS,
        },
        answers.convolve,
    ),
    "depthwise_conv": Call(
        dilax.depthwise_conv,
        {"x": x, "kernel": depthwise, **WINDOW, "bias": floats(8), **RESULT},
        {
            "x": values.arrays(x),
            "kernel": values.arrays(depthwise),
            **BAD_WINDOW,
            "bias": values.arrays(floats(8)),
            **BAD_RESULT,
            "algorithm": ALGORITHMS,
        },
        answers.convolve_depthwise,
    ),
    "pointwise_conv": Call(
        dilax.pointwise_conv,
        {"x": x, "kernel": floats(4, 6), "bias": bias, **RESULT},
        {
            "x": values.arrays(x),
            "kernel": values.arrays(floats(4, 6)),
            "bias": values.arrays(bias),
            **BAD_RESULT,
        },
        answers.multiply,
    ),
    "separable_conv": Call(
        dilax.separable_conv,
        {
            "x": x,
            "depthwise_kernel": depthwise,
            "pointwise_kernel": pointwise,
            **WINDOW,
            "bias": bias,
            **RESULT,
        },
        {
            "x": values.arrays(x),
            "depthwise_kernel": values.arrays(depthwise),
            "pointwise_kernel": values.arrays(pointwise),
            **BAD_WINDOW,
            "bias": values.arrays(bias),
            **BAD_RESULT,
            "algorithm": ALGORITHMS,
        },
        answers.convolve_separably,
        also_named={"depthwise_kernel": "kernel", "pointwise_kernel": "kernel"},
    ),
    "max_pool": Call(
        dilax.max_pool, POOL, BAD_POOL, functools.partial(answers.pool, answers.largest)
    ),
    "avg_pool": Call(
        dilax.avg_pool,
        {**POOL, "count_include_pad": False},
        BAD_POOL,
        functools.partial(answers.pool, answers.mean),
    ),
    "batch_norm": Call(
        dilax.batch_norm,
        {"x": floats(2, 5, 6), "params": norm, **NORM, "mask": COUNTED},
        {
            "x": values.arrays(floats(2, 5, 6)),
            "params": values.fields(norm),
            "mask": values.arrays(COUNTED),
            **BAD_NORM,
        },
        answers.normalise,
    ),
    "dilated_block": Call(
        dilax.dilated_block,
        {"x": x, "params": dense_params, **BLOCK, "feature_group_count": 2},
        {
            "x": values.arrays(x),
            "params": values.fields(dense_params),
            "feature_group_count": values.integers(),
            **BAD_BLOCK,
        },
        dense_block,
        also_named=FIELDS,
    ),
    "separable_block": Call(
        dilax.separable_block,
        {"x": x, "params": separable_params, **BLOCK},
        {"x": values.arrays(x), "params": values.fields(separable_params), **BAD_BLOCK},
        separable_block,
        also_named=FIELDS,
    ),
    "using": Call(
        depthwise_using,
        {"algorithm": None},
        {"algorithm": ALGORITHMS},
        lambda algorithm: answers.convolve_depthwise(
            x, depthwise, strides=1, padding="SAME", kernel_dilation=1, bias=None, **RESULT
        ),
    ),
}

test_malformed_arguments_are_answered = answered(CALLS)

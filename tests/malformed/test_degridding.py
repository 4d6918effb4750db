"""Functions of ``dilax.degridding`` with malformed arguments."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import dilax
from dilax import degridding
from tests.degridding import answers as degridding_answers
from tests.malformed import answers, values
from tests.malformed.answers import floats
from tests.malformed.calls import Call, answered

pytestmark = pytest.mark.usefixtures("compile_quickly")


def norm(features: int) -> dilax.BatchNormParams:
    return dilax.BatchNormParams(*(np.full(features, value, np.float32) for value in (1, 0, 0, 1)))


def block(*shape: int) -> dilax.DilatedBlockParams:
    return dilax.DilatedBlockParams(floats(*shape), norm(shape[-1]))


# --- independent answers --------------------------------------------------------------------------


def shared(x: Any, kernel: Any, strides: Any, padding: Any, kernel_dilation: Any) -> np.ndarray:
    features = np.shape(x)[-1]
    each = np.repeat(np.asarray(kernel)[..., None, None], features, axis=-1)
    window = {"strides": strides, "padding": padding, "kernel_dilation": kernel_dilation}
    return answers.convolve_depthwise(x, each, **window)


def smoothed(x: Any, kernel: Any, smoothing: Any, kernel_dilation: Any, padding: Any) -> np.ndarray:
    if smoothing is None:
        dilations = answers.each_axis(kernel_dilation, np.ndim(kernel) - 2)
        smoothing = np.full(dilations, 1 / math.prod(dilations), jnp.asarray(kernel).dtype)
    blurred = shared(x, smoothing, 1, "SAME", 1)
    return answers.convolve_depthwise(
        blurred, kernel, kernel_dilation=kernel_dilation, padding=padding
    )


def fused(branches: Any) -> np.ndarray:
    arrays = [np.asarray(jnp.asarray(branch)) for branch in branches]
    dtype = jnp.result_type(*arrays)
    return np.concatenate(np.cumsum(np.stack(arrays), axis=0), axis=-1).astype(dtype)


def parallel(x: Any, kernels: Any, kernel_dilation: Any, strides: Any) -> np.ndarray:
    branches = []
    for kernel, dilation in zip(kernels, kernel_dilation, strict=True):
        dilations = answers.each_axis(dilation, np.ndim(kernel) - 2)
        spans = [d * (k - 1) for k, d in zip(np.shape(kernel), dilations, strict=False)]
        branches.append(
            answers.convolve_depthwise(
                x,
                kernel,
                strides=strides,
                kernel_dilation=dilations,
                padding=[(span // 2, span // 2) for span in spans],
            )
        )
    return sum(branches[1:], start=branches[0])


def folded(kernel: Any, norm: Any, epsilon: Any) -> Any:
    scale, bias, mean, var = (np.asarray(field, np.float64) for field in norm)
    gain = scale / np.sqrt(var + epsilon)
    kernel = np.asarray(jnp.asarray(kernel))
    return (kernel * gain).astype(kernel.dtype), (bias - mean * gain).astype(
        jnp.result_type(*(jnp.asarray(field) for field in norm), jnp.float32)
    )


def halved(kernel_dilation: Any) -> tuple[int, ...]:
    halves = [kernel_dilation >> places for places in range(1, 200)]
    return tuple(dilation for dilation in halves if dilation)


def learned(weights: Any, positions: Any, kernel_size: Any, sigma: Any) -> np.ndarray:
    arrays = [jnp.asarray(a) for a in (weights, positions, sigma) if a is not None]
    kernel = degridding_answers.interpolated(*arrays[:2], kernel_size, *arrays[2:])
    return kernel.astype(jnp.result_type(*arrays))


def drawn(key: Any, x: Any, kernel: Any, kernel_dilation_choices: Any) -> np.ndarray:
    place = int(jax.random.randint(key, (), 0, len(kernel_dilation_choices)))
    return answers.convolve_depthwise(x, kernel, kernel_dilation=kernel_dilation_choices[place])


def shape_of(unit: Any, x: Any, params: Any, **options: Any) -> tuple[int, ...]:
    return jax.eval_shape(lambda: unit(x, params, **options)[0]).shape


# --- what is called, and with what ----------------------------------------------------------------

x, depthwise = floats(2, 5, 6, 4), floats(3, 2, 1, 4)
odd = [floats(3, 3, 1, 4), floats(3, 5, 1, 4)]
weights, positions = floats(2, 3, 4), floats(2, 2, 4)
eesp_params = degridding.EESPParams(
    floats(1, 1, 2, 2), norm(2), floats(2), [floats(3, 3, 1, 2)] * 2, norm(4), floats(4),
    floats(1, 1, 2, 4), norm(4), floats(4),
)  # fmt: skip
separable = dilax.SeparableBlockParams(floats(3, 3, 1, 4), floats(4, 6), norm(6))
point = block(1, 1, 4, 6)
aspp_params = degridding.ASPPParams(point, [separable] * 2, point, block(1, 1, 24, 6))


def several(good: list[np.ndarray]) -> st.SearchStrategy[Any]:
    """In place of a list of arrays."""
    one = values.arrays(good[0]).map(lambda array: [array, *good[1:]])
    return values.nothing() | one | st.lists(values.arrays(good[0]), max_size=3)


def is_finite(kernels: Any) -> bool:
    """Whether taps are numbers: zero padding times one that is not may be skipped, or be NaN."""
    arrays = [k for k in kernels if isinstance(k, np.ndarray)] if isinstance(kernels, list) else []
    return all(np.isfinite(a).all() for a in arrays if a.dtype.kind in "fc")


DILATIONS = st.lists(values.tuples(), max_size=3) | values.tuples()
FIELDS = {"params": "kernel|depthwise_kernel|pointwise_kernel|kernels|branches|x"}

CALLS = {
    "shared_conv": Call(
        degridding.shared_conv,
        {"x": x, "kernel": floats(3, 2), "strides": 1, "padding": "SAME", "kernel_dilation": 2},
        {
            "x": values.arrays(x),
            "kernel": values.arrays(floats(3, 2)),
            "strides": values.tuples(),
            "padding": values.paddings(),
            "kernel_dilation": values.tuples(),
        },
        shared,
    ),
    "smoothed_depthwise_conv": Call(
        degridding.smoothed_depthwise_conv,
        {
            "x": x,
            "kernel": depthwise,
            "kernel_dilation": 2,
            "smoothing": floats(3, 3),
            "padding": "SAME",
        },
        {
            "x": values.arrays(x),
            "kernel": values.arrays(depthwise),
            "kernel_dilation": values.tuples(),
            "smoothing": values.arrays(floats(3, 3)),
            "padding": values.paddings(),
        },
        smoothed,
        also_named={"smoothing": "kernel"},
    ),
    "group_interaction": Call(
        degridding.group_interaction,
        {"x": x, "mixing": floats(4, 4), "kernel_dilation": (2, 2)},
        {
            "x": values.arrays(x),
            "mixing": values.arrays(floats(4, 4)),
            "kernel_dilation": values.tuples(),
        },
        lambda x, mixing, kernel_dilation: degridding_answers.mixed(
            jnp.asarray(x), mixing, kernel_dilation
        ),
    ),
    "hierarchical_fusion": Call(
        degridding.hierarchical_fusion,
        {"branches": [floats(2, 3), floats(2, 3)]},
        {"branches": several([floats(2, 3), floats(2, 3)])},
        fused,
    ),
    "parallel_depthwise_conv": Call(
        degridding.parallel_depthwise_conv,
        {"x": x, "kernels": odd, "kernel_dilation": (1, 2), "strides": 1},
        {
            "x": values.arrays(x),
            "kernels": several(odd).filter(is_finite),
            "kernel_dilation": DILATIONS,
            "strides": values.tuples(),
        },
        parallel,
        also_named={"kernels": "kernel"},
    ),
    "merge_kernels": Call(
        degridding.merge_kernels,
        {"kernels": odd, "kernel_dilation": (1, 2)},
        {"kernels": several(odd), "kernel_dilation": DILATIONS},
        degridding_answers.merged,
        also_named={"kernels": "kernel"},
    ),
    "fold_batch_norm": Call(
        degridding.fold_batch_norm,
        {"kernel": floats(3, 2, 6), "norm": norm(6), "epsilon": 1e-3},
        {
            "kernel": values.arrays(floats(3, 2, 6)),
            "norm": values.fields(norm(6)),
            "epsilon": values.numbers(),
        },
        folded,
    ),
    "degridding_dilation": Call(
        degridding.degridding_dilation,
        {"kernel_dilation": 6},
        {"kernel_dilation": values.integers()},
        halved,
    ),
    "learned_kernel": Call(
        degridding.learned_kernel,
        {"weights": weights, "positions": positions, "kernel_size": (3, 4), "sigma": None},
        {
            "weights": values.arrays(weights),
            "positions": values.arrays(positions),
            "kernel_size": values.tuples(),
            "sigma": values.arrays(positions),
        },
        learned,
    ),
    "random_depthwise_conv": Call(
        degridding.random_depthwise_conv,
        {"key": jax.random.key(0), "x": x, "kernel": depthwise, "kernel_dilation_choices": (1, 2)},
        {
            "key": values.nothing() | st.sampled_from([np.zeros(3), jax.random.key(1)]),
            "x": values.arrays(x),
            "kernel": values.arrays(depthwise),
            "kernel_dilation_choices": DILATIONS,
        },
        drawn,
        also_named={"kernel_dilation_choices": "kernel_dilation", "key": "keys"},
    ),
    "eesp": Call(
        functools.partial(shape_of, degridding.eesp),
        {"x": x, "params": eesp_params, "kernel_dilation": (1, 2)},
        {
            "x": values.arrays(x),
            "params": values.fields(eesp_params),
            "kernel_dilation": DILATIONS,
        },
        lambda x, **_: np.shape(x),
        also_named=FIELDS,
    ),
    "aspp": Call(
        functools.partial(shape_of, degridding.aspp),
        {"x": x, "params": aspp_params, "kernel_dilation": (1, 2)},
        {
            "x": values.arrays(x),
            "params": values.fields(aspp_params),
            "kernel_dilation": DILATIONS,
        },
        lambda x, **_: (*np.shape(x)[:-1], 6),
        also_named=FIELDS,
    ),
}

test_malformed_arguments_are_answered = answered(CALLS)

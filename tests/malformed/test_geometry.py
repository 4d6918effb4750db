"""The integers of a convolution, and analyses of networks, of malformed arguments."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import dilax
from dilax import analysis, geometry
from tests.malformed import answers, values
from tests.malformed.answers import floats
from tests.malformed.calls import Call, answered

SMALL = st.integers(-3, 5) | st.floats(-9, 9) | values.nothing()


def whole(*arguments: Any, least: Any) -> list[int]:
    """Integers, none below its least."""
    numbers = [operator.index(argument) for argument in arguments]
    assert all(number >= low for number, low in zip(numbers, least, strict=True))
    return numbers


def span(kernel_size: Any, dilation: Any) -> int:
    kernel_size, dilation = whole(kernel_size, dilation, least=(1, 1))
    return len(range(0, dilation * (kernel_size - 1), dilation)) * dilation + 1


def outputs(input_size: Any, kernel_size: Any, stride: Any, dilation: Any, padding: Any) -> int:
    low, high = answers.explicit(padding, 0, 0, 0)
    input_size, stride = whole(input_size, stride, least=(0, 1))
    last = input_size + low + high - span(kernel_size, dilation)
    return last // stride + 1 if last >= 0 else 0


def exact(
    input_size: Any, output_size: Any, kernel_size: Any, stride: Any, dilation: Any, low: Any
) -> tuple[int, int]:
    whole(input_size, output_size, stride, least=(0, 0, 1))
    seen = stride * (output_size - 1) + span(kernel_size, dilation)
    return low, seen - low - input_size


def repeated(value: Any, rank: Any, name: Any, *, minimum: Any) -> tuple[int, ...]:
    given = value if isinstance(value, tuple | list) else [value] * rank
    return tuple(whole(*given, least=[minimum] * rank))


def pads(padding: Any, **sizes: Any) -> tuple[tuple[int, int], ...]:
    rank = len(sizes["kernel_size"])
    columns = [answers.each_axis(value, rank) for value in (padding, *sizes.values())]
    axes = zip(*columns, strict=True)
    return tuple(answers.explicit(p, n, span(k, d), s) for p, n, k, s, d in axes)


def reach(layers: Any) -> int:
    """The receptive field of layers of one axis."""
    size = jump = 1
    for layer in layers:
        (k,), (s,), (d,) = (
            answers.each_axis(value, 1)
            for value in (layer.kernel_size, layer.strides, layer.kernel_dilation)
        )
        size, jump = size + (k - 1) * d * jump, jump * s
    return size


def touched(layers: Any) -> set[int]:
    """The offsets that layers of one axis touch."""
    places, jump = {0}, 1
    for layer in layers:
        (k,), (s,), (d,) = (
            answers.each_axis(value, 1)
            for value in (layer.kernel_size, layer.strides, layer.kernel_dilation)
        )
        places = {place + tap * d * jump for place in places for tap in range(k)}
        jump *= s
    return places


def is_schedule(kernel_size: Any, depth: Any, target: Any, most: Any) -> Any:
    """Whether every schedule reaches the target and touches all."""
    schedules = analysis.hybrid_dilation(kernel_size, depth, target, most=most)
    stacks = [[analysis.Layer(kernel_size, 1, rate) for rate in rates] for rates in schedules]
    whole = all(len(touched(s)) == reach(s) >= target and len(s) == depth for s in stacks)
    return whole and len(schedules) <= most


def malformed_layers() -> st.SearchStrategy[Any]:
    fields = st.fixed_dictionaries(
        {"kernel_size": values.tuples()},
        optional={"strides": values.tuples(), "kernel_dilation": values.tuples(),
                  "padding": values.paddings()},
    )  # fmt: skip
    layer = fields.map(lambda given: analysis.Layer(**given)) | values.nothing()
    return values.nothing() | st.lists(layer, max_size=2).map(lambda found: [*found, LAYERS[0]])


LAYERS = [analysis.Layer(3, strides=2), analysis.Layer(3, kernel_dilation=2)]
LAYER_WORDS = {"layers": "kernel_size|strides|kernel_dilation|padding"}
SIZES = {"input_size": (7, 6), "kernel_size": (3, 2), "strides": (2, 1), "kernel_dilation": (1, 2)}
x = floats(2, 7, 6, 4)


def dilated(x: Any) -> Any:
    return dilax.depthwise_conv(x, jnp.ones((3, 3, 1, 4)), kernel_dilation=(1, 2))


def field_sizes(function: Any, x: Any, axes: Any) -> list[int]:
    (output,) = analysis.receptive_field(function, x, axes=axes).outputs
    return [found.size for found in output.axes]


def has_no_axis_of_one(x: Any) -> bool:
    """Which of several axes of size one is which, a reshape does not tell."""
    return 1 not in getattr(x, "shape", ())


def dilated_sizes(function: Any, x: Any, axes: Any) -> list[int]:
    rank = np.ndim(x)
    given = range(1, rank - 1) if axes is None else axes
    sizes = {rank - 3: 3, rank - 2: 5, rank - 1: np.shape(x)[-1]}  # of an entry's features, all
    return [sizes.get(axis % rank, 1) for axis in given]


def line(x: Any) -> Any:
    return dilax.conv(x, jnp.ones((3, 1, 1)))


def weights(function: Any, x: Any, position: Any) -> np.ndarray:
    return analysis.effective_receptive_field(function, x, position=position).weights


def line_weights(function: Any, x: Any, position: Any) -> np.ndarray:
    *others, size = np.shape(x)[1:-1] or (1,)  # an image alone is taken for a batch of vectors
    place = [n // 2 for n in (*others, size)] if position is None else position
    near = np.zeros((*others, size))
    near[(*place[:-1], slice(max(place[-1] - 1, 0), place[-1] + 2))] = 1
    return (near / near.sum()).reshape(np.shape(x)[1:-1])


def product(x: Any) -> Any:
    return dilax.pointwise_conv(x, np.ones((4, 6), np.float32))


CALLS = {
    "canonical_tuple": Call(
        geometry.canonical_tuple,
        {"value": (1, 2), "rank": 2, "name": "strides", "minimum": 1},
        {"value": values.tuples(), "rank": values.integers(), "minimum": SMALL},
        repeated,
        also_named={"value": "strides", "rank": "strides", "minimum": "strides"},
    ),
    "effective_kernel_size": Call(
        geometry.effective_kernel_size,
        {"kernel_size": 3, "dilation": 2},
        {"kernel_size": values.integers(), "dilation": values.integers()},
        lambda kernel_size, dilation: dilation * kernel_size - dilation + 1,
    ),
    "output_size": Call(
        geometry.output_size,
        {"input_size": 7, "kernel_size": 3, "stride": 2, "dilation": 2, "padding": (2, 1)},
        {
            "input_size": values.integers(),
            "kernel_size": SMALL,
            "stride": values.integers(),
            "dilation": values.integers(),
            "padding": values.paddings(),
        },
        outputs,
    ),
    "exact_padding": Call(
        geometry.exact_padding,
        {"input_size": 7, "output_size": 3, "kernel_size": 3, "stride": 2, "dilation": 2, "low": 1},
        {
            "input_size": values.integers(),
            "output_size": values.integers(),
            "kernel_size": SMALL,
            "stride": values.integers(),
            "dilation": values.integers(),
            "low": values.integers(),
        },
        exact,
    ),
    "resolve_padding": Call(
        geometry.resolve_padding,
        {"padding": "SAME", **SIZES},
        {"padding": values.paddings(), **{name: values.tuples(SMALL) for name in SIZES}},
        pads,
        also_named={"kernel_size": "kernel"},
    ),
    "stack_receptive_field": Call(
        lambda layers: analysis.stack_receptive_field(layers).size[0],
        {"layers": LAYERS},
        {"layers": malformed_layers()},
        reach,
        also_named=LAYER_WORDS,
    ),
    "coverage": Call(
        lambda layers: analysis.coverage(layers).touched,
        {"layers": LAYERS},
        {"layers": malformed_layers()},
        lambda layers: len(touched(layers)),
        also_named=LAYER_WORDS,
    ),
    "hybrid_dilation": Call(
        lambda **arguments: arguments["most"] >= len(analysis.hybrid_dilation(**arguments)),
        {"kernel_size": 3, "depth": 3, "target": 17, "most": 5},
        {name: values.integers() for name in ("kernel_size", "depth", "target", "most")},
        is_schedule,
    ),
    "receptive_field": Call(
        field_sizes,
        {"function": dilated, "x": x, "axes": None},
        {
            "function": values.no_functions(),
            "x": values.arrays(x).filter(has_no_axis_of_one),
            "axes": values.tuples(SMALL),
        },
        dilated_sizes,
        also_named={"function": "x"},
    ),
    "effective_receptive_field": Call(
        weights,
        {"function": line, "x": floats(2, 7, 1), "position": None},
        {
            "function": values.no_functions(),
            "x": values.arrays(floats(2, 7, 1)),
            "position": values.tuples(SMALL),
        },
        line_weights,
        also_named={"function": "x"},
    ),
    "multiply_adds": Call(
        lambda function, args: analysis.multiply_adds(function, args),
        {"function": product, "args": x},
        {"function": values.no_functions(), "args": values.arrays(x)},
        lambda function, args: 6 * np.size(args),
        also_named={"args": "x"},
    ),
    "cost": Call(
        lambda function, args: analysis.cost(function, args).multiply_adds,
        {"function": product, "args": x},
        {"function": values.no_functions(), "args": values.arrays(x)},
        lambda function, args: 6 * np.size(args),
        also_named={"args": "x"},
    ),
    "parameter_count": Call(
        analysis.parameter_count,
        {"tree": {"kernel": x, "bias": np.ones(3)}},
        {"tree": values.arrays(x) | st.fixed_dictionaries({"kernel": values.arrays(x)})},
        lambda tree: sum(np.size(leaf) for leaf in jax.tree.leaves(tree)),
    ),
}

test_malformed_arguments_are_answered = answered(CALLS)

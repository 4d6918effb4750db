"""The operations in dilax, in lax, and as lax's dense convolution of the same shape."""

import functools
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax

import dilax
from operations import by_numpy
from operations.cases import Case

Function = Callable[..., Array]
Calls = dict[str, Callable[[], Callable[[], object]]]
"""Functions, each of which places the arguments of a pass in memory anew, and returns its call."""
PIECES = 4
"""Number of parts of a batch in cases inside ``scan``, or of networks in cases inside ``vmap``."""


def operands(case: Case) -> tuple[np.ndarray, ...]:
    """Draw the input, the kernels and the cotangent of the output, in float32."""
    rng = np.random.default_rng(0)
    shapes = (*case.shapes, case.output_shape)
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)


def prepare(
    name: str, case: Case, arrays: tuple[np.ndarray, ...], without: Sequence[str] = ()
) -> tuple[Calls, dict[str, float]]:
    """Compile the passes of a contestant; return them, and the seconds to compile each."""
    calls: Calls = {}
    compile_seconds: dict[str, float] = {}
    for label, (run, given) in of_contestant(name, case, arrays).items():
        if label in without:
            continue
        started = time.perf_counter()
        compiled = jax.jit(run).lower(*given).compile()
        compile_seconds[label] = time.perf_counter() - started
        calls[label] = functools.partial(_place, compiled, given)
    return calls, compile_seconds


def programs(name: str, case: Case, arrays: tuple[np.ndarray, ...]) -> dict[str, str]:
    """Return the program of every pass, which XLA compiles, by its SHA-256."""
    return {
        label: hashlib.sha256(jax.jit(run).lower(*given).as_text().encode()).hexdigest()
        for label, (run, given) in of_contestant(name, case, arrays).items()
    }


def of_contestant(
    name: str, case: Case, arrays: tuple[np.ndarray, ...]
) -> dict[str, tuple[Function, tuple[Array, ...]]]:
    """Return every pass of a contestant by name, as a function of arrays and its arguments."""
    *inputs, g = (jnp.asarray(array, case.dtype) for array in arrays)
    if name == "dense" and case.kind == "separable":
        inputs = [inputs[0], inputs[1] * inputs[2]]
    elif name == "dense":
        inputs[1] = jnp.repeat(inputs[1], case.features, axis=-2) / case.features
    return passes(case, in_context(case, contestant(name, case)), inputs, g)


def passes(
    case: Case, function: Function, inputs: list[Array], g: Array
) -> dict[str, tuple[Function, tuple[Array, ...]]]:
    """Return every pass by name, as a function of arrays and its arguments."""

    def both(g: Array, *inputs: Array) -> Any:
        output, transpose = jax.vjp(function, *inputs)
        return output, transpose(g)

    found: dict[str, tuple[Function, tuple[Array, ...]]] = {
        "forward": (function, tuple(inputs)),
        "forward+backward": (both, (g, *inputs)),
    }
    if case.kind == "conv" and case.context == "call":
        x, kernel = inputs
        found["input gradient"] = (
            lambda g, kernel: jax.vjp(lambda x: function(x, kernel), jnp.zeros_like(x))[1](g)[0],
            (g, kernel),
        )
        found["kernel gradient"] = (
            lambda g, x: jax.vjp(lambda kernel: function(x, kernel), jnp.zeros_like(kernel))[1](g)[
                0
            ],
            (g, x),
        )
    return found


def copy(case: Case, arrays: tuple[np.ndarray, ...]) -> Calls:
    """Compile a copy of the input, as a measure of memory speed."""
    x = jnp.asarray(arrays[0], case.dtype)
    return {"copy": functools.partial(_place, jax.jit(lambda x: x + 1).lower(x).compile(), (x,))}


def errors(case: Case, arrays: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Return the largest difference between dilax and NumPy in float64, over the largest entry."""
    x, kernel, g = (jnp.asarray(array, case.dtype) for array in arrays)
    output, transpose = jax.vjp(contestant("dilax", case), x, kernel)
    found = (output, *transpose(g))
    expected = by_numpy.answers(case, *(np.asarray(array, np.float64) for array in (x, kernel, g)))
    labels = ("forward", "input gradient", "kernel gradient")
    return {
        label: float(np.abs(np.asarray(ours, np.float64) - theirs).max() / np.abs(theirs).max())
        for label, ours, theirs in zip(labels, found, expected, strict=True)
    }


def in_context(case: Case, function: Function) -> Function:
    """Return the function, or wrap it in ``scan``, ``vmap``, ``remat`` or a reduction."""
    if case.context == "call":
        return function
    if case.context == "remat":
        return jax.checkpoint(function)
    if case.context == "then layer norm":
        return lambda *inputs: jax.nn.standardize(function(*inputs))
    if case.context == "then mean":
        return lambda *inputs: _mean(function(*inputs))

    def in_pieces(x: Array, *params: Array) -> Array:
        parts = x.reshape(PIECES, x.shape[0] // PIECES, *x.shape[1:])
        if case.context == "vmap":
            stacked = [jnp.stack([p * (1 + i) for i in range(PIECES)]) for p in params]
            y = jax.vmap(function)(parts, *stacked)
        else:
            y = lax.scan(lambda _, part: (None, function(part, *params)), None, parts)[1]
        return y.reshape(-1, *y.shape[2:])

    return in_pieces


def contestant(name: str, case: Case) -> Function:
    """Return the function by which a contestant computes a case."""
    return by_dilax(case, name) if name.startswith(("dilax", "other")) else by_lax(case)


def by_dilax(case: Case, name: str) -> Function:
    """Return the function of dilax, with the algorithm that follows a colon in ``name``, if any."""
    options: dict[str, Any] = {"strides": case.strides, "padding": case.pads}
    if case.kind in ("max_pool", "avg_pool"):
        pool = getattr(dilax, case.kind)
        return lambda x: pool(x, case.kernel_size, **options)
    options["kernel_dilation"] = case.dilations
    _, _, algorithm = name.partition(":")
    if algorithm:
        options["algorithm"] = getattr(dilax.algorithms, algorithm)
    if case.kind == "separable":
        return lambda x, depthwise, pointwise: dilax.separable_conv(
            x, depthwise, pointwise.reshape(pointwise.shape[-2:]), **options
        )
    return lambda x, kernel: dilax.conv(x, kernel, feature_group_count=case.group_count, **options)


def by_lax(case: Case) -> Function:
    """Return the operation by ``lax.conv_general_dilated`` or ``lax.reduce_window``."""
    if case.kind in ("max_pool", "avg_pool"):
        pool = getattr(nnx, case.kind)
        return lambda x: pool(x, case.kernel_size, case.strides, case.pads)
    letters = "DHW"[-len(case.size) :]
    layout = (f"N{letters}C", f"{letters}IO", f"N{letters}C")

    def apply(x: Array, kernel: Array, *pointwise: Array) -> Array:
        y = lax.conv_general_dilated(
            x,
            kernel,
            case.strides,
            case.pads,
            rhs_dilation=case.dilations,
            dimension_numbers=layout,
            feature_group_count=x.shape[-1] // kernel.shape[-2],
        )
        if not pointwise:
            return y
        ones = (1,) * len(case.size)
        return lax.conv_general_dilated(y, pointwise[0], ones, "VALID", dimension_numbers=layout)

    return apply


def _mean(y: Array) -> Array:
    """Compute each channel's mean over the image, repeated at every pixel."""
    return jnp.broadcast_to(y.mean(axis=range(1, y.ndim - 1), keepdims=True), y.shape)


def _place(compiled: Function, given: tuple[Array, ...]) -> Callable[[], object]:
    copies = tuple(jnp.array(array, copy=True) for array in given)
    return functools.partial(_run, compiled, copies)


def _run(compiled: Function, given: tuple[Array, ...]) -> object:
    return jax.block_until_ready(compiled(*given))

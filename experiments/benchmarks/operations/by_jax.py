"""The operations by dilax, by lax, by stock Flax, by Keras, and as the dense convolution."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax

import dilax
from operations.cases import Case

Function = Callable[..., Array]
Calls = dict[str, Callable[[], object]]
PIECES = 4
"""A batch is cut into so many for a scan, and a vmap runs so many networks."""


def prepare(
    name: str, case: Case, arrays: tuple[np.ndarray, ...]
) -> tuple[Calls, dict[str, float], Callable[[], tuple[Array, ...]]]:
    """Compiled passes of a contestant, the seconds each took to compile, and its answers."""
    *inputs, g = (jnp.asarray(array, case.dtype) for array in arrays)
    if name == "dense" and case.kind == "conv":
        inputs[1] = jnp.repeat(inputs[1], case.features, axis=-2) / case.features
    if case.kind == "separable" and name == "dense":
        inputs = [inputs[0], inputs[1] * inputs[2]]
    function = in_context(case, FUNCTIONS[name.split(":")[0]](case, name))
    calls: Calls = {}
    compile_seconds: dict[str, float] = {}
    compiled: dict[str, Any] = {}
    for label, (run, operands) in passes(case, function, inputs, g).items():
        started = time.perf_counter()
        compiled[label] = jax.jit(run).lower(*operands).compile()
        compile_seconds[label] = time.perf_counter() - started
        calls[label] = functools.partial(_run, compiled[label], operands)

    def answers() -> tuple[Array, ...]:
        return function(*inputs), *jax.vjp(function, *inputs)[1](g)

    return calls, compile_seconds, answers


def passes(
    case: Case, function: Function, inputs: list[Array], g: Array
) -> dict[str, tuple[Function, tuple[Array, ...]]]:
    """Every pass as a function of arrays: what it is called, the function and its arguments."""

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
            lambda g, x: jax.vjp(lambda kernel: function(x, kernel), jnp.zeros_like(kernel))[1](g),
            (g, x),
        )
    return found


def copy(case: Case, arrays: tuple[np.ndarray, ...]) -> Calls:
    """An input read and written once: what the memory gives."""
    x = jnp.asarray(arrays[0], case.dtype)
    return {"copy": functools.partial(_run, jax.jit(lambda x: x + 1).lower(x).compile(), (x,))}


def in_context(case: Case, function: Function) -> Function:
    """The function as it stands, inside `scan`, `vmap` or `remat`, or with a reduction after it."""
    if case.context == "call":
        return function
    if case.context == "remat":
        return jax.checkpoint(function)
    if case.context in READERS:
        return lambda *inputs: READERS[case.context](function(*inputs))

    def in_pieces(x: Array, *params: Array) -> Array:
        parts = x.reshape(PIECES, x.shape[0] // PIECES, *x.shape[1:])
        if case.context == "vmap":
            stacked = [jnp.stack([p * (1 + i) for i in range(PIECES)]) for p in params]
            y = jax.vmap(function)(parts, *stacked)
        else:
            y = lax.scan(lambda _, part: (None, function(part, *params)), None, parts)[1]
        return y.reshape(-1, *y.shape[2:])

    return in_pieces


def mean(y: Array) -> Array:
    """Each feature's mean over the image, everywhere in it."""
    return jnp.broadcast_to(y.mean(axis=range(1, y.ndim - 1), keepdims=True), y.shape)


READERS: dict[str, Function] = {"then layer norm": jax.nn.standardize, "then mean": mean}
"""What can stand after an operation."""


def _run(compiled: Function, operands: tuple[Array, ...]) -> object:
    return jax.block_until_ready(compiled(*operands))


# --- contestants ----------------------------------------------------------------------------------


def by_dilax(case: Case, name: str) -> Function:
    """`dilax.conv`, by the algorithm after the colon if there is one."""
    _, _, algorithm = name.partition(":")
    options: dict[str, Any] = {
        "algorithm": getattr(dilax.algorithms, algorithm) if algorithm else None
    }
    geometry = case.geometry
    if case.kind in ("max_pool", "avg_pool"):
        pool = getattr(dilax, case.kind)
        strides, padding = geometry.strides, geometry.padding
        return lambda x: pool(x, case.kernel_size, strides=strides, padding=padding)
    options |= {
        "strides": geometry.strides,
        "padding": geometry.padding,
        "kernel_dilation": geometry.kernel_dilation,
    }
    if case.kind == "separable":
        return lambda x, depthwise, pointwise: dilax.separable_conv(
            x, depthwise, pointwise.reshape(pointwise.shape[-2:]), **options
        )
    return lambda x, kernel: dilax.conv(
        x, kernel, feature_group_count=geometry.feature_group_count, **options
    )


def by_lax(case: Case, name: str) -> Function:
    """`lax.conv_general_dilated` and `lax.reduce_window`, channels-last."""
    del name
    geometry = case.geometry
    if case.kind in ("max_pool", "avg_pool"):
        pool = getattr(nnx, case.kind)
        return lambda x: pool(x, case.kernel_size, geometry.strides, geometry.padding)

    def conv(x: Array, kernel: Array, groups: int, strides: tuple, padding: Any) -> Array:
        letters = "DHW"[-len(case.size) :]
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            padding,
            rhs_dilation=case.dilations if max(kernel.shape[:-2]) > 1 else None,
            dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
            feature_group_count=groups,
        )

    def first(x: Array, kernel: Array) -> Array:
        groups = x.shape[-1] // kernel.shape[-2]
        return conv(x, kernel, groups, geometry.strides, geometry.padding)

    if case.kind == "conv":
        return first
    ones = (1,) * len(case.size)
    return lambda x, *kernels: (
        conv(first(x, kernels[0]), kernels[1], 1, ones, "VALID")
        if kernels[1:]
        else first(x, kernels[0])
    )


def by_nnx(case: Case, name: str) -> Function:
    """Stock `nnx.Conv`, its kernel given from outside."""
    del name
    geometry = case.geometry
    layer = nnx.Conv(
        case.features,
        case.outputs,
        case.kernel_size,
        geometry.strides,
        padding=geometry.padding,
        kernel_dilation=geometry.kernel_dilation,
        feature_group_count=geometry.feature_group_count,
        use_bias=False,
        rngs=nnx.Rngs(0),
    )
    graphdef, state = nnx.split(layer)

    def apply(x: Array, kernel: Array) -> Array:
        given = jax.tree.map(lambda leaf: kernel, state)
        return nnx.merge(graphdef, given)(x)

    return apply


def by_keras(case: Case, name: str) -> Function:
    """`keras.ops.depthwise_conv` on the JAX backend."""
    del name
    import keras

    return lambda x, kernel: keras.ops.depthwise_conv(
        x,
        kernel.reshape(*case.kernel_size, case.features, -1),
        strides=case.stride,
        padding=case.padding.lower(),
        data_format="channels_last",
        dilation_rate=case.dilations,
    )


FUNCTIONS: dict[str, Callable[[Case, str], Function]] = {
    "dilax": by_dilax,
    "lax": by_lax,
    "lax, YNN": by_lax,
    "lax, oneDNN": by_lax,
    "dense": by_lax,
    "nnx": by_nnx,
    "keras": by_keras,
}

"""ONNX by jax2onnx, from operations that inference runtimes fuse and quantise.

A runtime knows convolutions, rectifiers and pools of images; it does not look for them in products
of matrices, in maxima with zero, or in windows over all axes. So the folded program is traced here,
and a few of its operations are replaced by what runtimes look for.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

from dilax import algorithms
from dilax._accelerate.internals import run_equation
from dilax._functions.using import using
from dilax.inference._fold import INLINED, fold, inner_program
from dilax.inference._scaled import result_of
from dilax.inference._sealed import ExportError

Operands = Sequence[Any]
Replacement = Callable[[JaxprEqn, Operands], list[Any] | None]
"""Computes the results of an equation from its operands; None to leave the equation as it is."""
OPENED = INLINED | {"custom_jvp_call"}
"""Primitives that compute what their program computes."""


def to_onnx(function: Callable[..., Any], arguments: Sequence[jax.ShapeDtypeStruct]) -> bytes:
    """Write a function of arrays, folded, as the bytes of an ONNX file.

    Raises:
        ExportError: jax2onnx is not installed.
    """
    try:
        import jax2onnx
    except ImportError as error:
        raise ExportError(
            'jax2onnx must be installed to write .onnx files: pip install "dilax-jax[interop]".'
        ) from error
    with using(algorithms.lax):
        program = jax.make_jaxpr(_apart(fold(function)))(*arguments)
    # What jax2onnx traces is only what is called here: it writes functions of jax.nn, such as relu,
    # as nodes of their own.
    cumsum = jnp.cumsum
    try:
        model = jax2onnx.to_onnx(lambda *arrays: _run(program, arrays, REPLACEMENTS), arguments)
    finally:
        jnp.cumsum = cumsum  # jax2onnx replaces it, for the rest of the process
    del model.graph.value_info[:]  # shapes of steps on the way: optional, and at times wrong
    return model.SerializeToString()


def _apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """Separate what a function returns from the program that computes it.

    jax2onnx drops two transpositions that undo each other, also where a value between them is
    returned, which then would have the axes of ONNX. An ``Identity`` node keeps it as it is.
    """
    return lambda *arguments: lax.optimization_barrier(function(*arguments))


def _run(
    program: ClosedJaxpr, arguments: Operands, replacements: Mapping[str, Replacement]
) -> list[Any]:
    """Run a program, with some equations replaced by the names of their primitives."""
    body = program.jaxpr
    values: dict[Any, Any] = dict(zip(body.constvars, program.consts, strict=True))
    values.update(zip(body.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in body.eqns:
        operands = [read(variable) for variable in equation.invars]
        results = _results(equation, operands, replacements)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in body.outvars]


def _results(
    equation: JaxprEqn, operands: Operands, replacements: Mapping[str, Replacement]
) -> list[Any]:
    """Compute what an equation gives; derivatives of its own are not needed any more."""
    if equation.primitive.name in OPENED and (inner := inner_program(equation)) is not None:
        return _run(inner, operands, replacements)
    replace = replacements.get(equation.primitive.name)
    results = replace(equation, operands) if replace else None
    return run_equation(equation, operands) if results is None else results


# --- replacements ---------------------------------------------------------------------------------


def _product(equation: JaxprEqn, operands: Operands) -> list[Any] | None:
    """Multiply arrays in the type of the result, which ONNX shares among all of them.

    Features ``(N, *spatial, C)`` times a matrix are a convolution of one entry.
    """
    dtype = result_of(equation).dtype
    x, kernel = (jnp.asarray(operand, dtype) for operand in operands)
    features = x.ndim - 1
    pointwise = equation.params["dimension_numbers"] == (((features,), (0,)), ((), ()))
    if not pointwise or kernel.ndim != 2:
        return run_equation(equation, [x, kernel])
    if features not in (2, 3) or not jnp.issubdtype(dtype, jnp.floating):
        return [jnp.matmul(x, kernel, precision=equation.params["precision"])]
    spatial = "HW"[3 - features :]
    return [
        lax.conv_general_dilated(
            *(x, kernel.reshape((1,) * len(spatial) + kernel.shape)),
            *((1,) * len(spatial), "VALID"),
            dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
            precision=equation.params["precision"],
            preferred_element_type=equation.params["preferred_element_type"],
        )
    ]


def _rectifier(equation: JaxprEqn, operands: Operands) -> list[Any] | None:
    """Compute ``max(x, 0)`` as ``relu``."""
    x, limit = operands
    zero = isinstance(equation.invars[1], Literal) and limit == 0
    return [jax.nn.relu(x)] if zero else None


def _pool_of_planes(equation: JaxprEqn, operands: Operands) -> list[Any] | None:
    """Pool planes ``(N, H, W)``, of whichever axes are pooled, two axes at a time.

    jax2onnx pools along all axes, and ONNX Runtime along three at most.
    """
    (x,) = operands
    if x.ndim < 4:
        return None
    windows = {name: value for name, value in equation.params.items() if isinstance(value, tuple)}
    columns = enumerate(zip(*windows.values(), strict=True))
    pooled = [axis for axis, column in columns if not set(column) <= {1, (0, 0)}]
    for axes in (pooled[place : place + 2] for place in range(0, len(pooled), 2)):
        order = [axis for axis in range(x.ndim) if axis not in axes] + axes
        outer, inner = order[: -len(axes)], {}
        for name, value in windows.items():
            inner[name] = ((0, 0) if name == "padding" else 1, *(value[axis] for axis in axes))
        planes = jnp.transpose(x, order)
        count = math.prod(planes.shape[: len(outer)])
        (found,) = run_equation(
            equation.replace(params=equation.params | inner),
            [planes.reshape(count, *planes.shape[len(outer) :])],
        )
        found = found.reshape(*planes.shape[: len(outer)], *found.shape[1:])
        x = jnp.transpose(found, np.argsort(order).tolist())
    return [x]


def _choice(equation: JaxprEqn, operands: Operands) -> list[Any] | None:
    """Choose now, where it is known: quantisers read the other array too, though it may be NaN."""
    which, *arrays = operands
    if isinstance(which, jax.core.Tracer):
        return None
    chosen = {int(number) for number in np.ravel(which)}
    return [arrays[chosen.pop()]] if len(chosen) == 1 else None


def _conv_by_plane(equation: JaxprEqn, operands: Operands) -> list[Any] | None:
    """Add up convolutions of images, one for each entry of a kernel along the first of three axes.

    jax2onnx writes convolutions of one and two axes alone.
    """
    params, (x, kernel) = equation.params, operands
    specs = tuple(params["dimension_numbers"])
    if x.ndim != 5 or specs != _VOLUMES or set(params["lhs_dilation"]) != {1}:
        return None
    (stride, *strides), (pads, *padding) = params["window_strides"], params["padding"]
    dilation, *dilations = params["rhs_dilation"]
    count, (batch, length, *_) = kernel.shape[0], result_of(equation).shape
    padded = jnp.pad(x, [(0, 0), pads, (0, 0), (0, 0), (0, 0)]) if any(pads) else x
    parts = []
    for tap in range(count):
        first = tap * dilation
        planes = padded[:, first : first + (length - 1) * stride + 1 : stride]
        part = lax.conv_general_dilated(
            *(planes.reshape(batch * length, *planes.shape[2:]), kernel[tap], strides, padding),
            rhs_dilation=dilations,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=params["feature_group_count"],
            precision=params["precision"],
            preferred_element_type=params["preferred_element_type"],
        )
        parts.append(part)
    total = functools.reduce(operator.add, parts)
    return [total.reshape(batch, length, *total.shape[1:])]


_VOLUMES = ((0, 4, 1, 2, 3), (4, 3, 0, 1, 2), (0, 4, 1, 2, 3))
"""Dimension numbers of ``(N, D, H, W, C)`` and kernels ``(D, H, W, I, O)``."""
REPLACEMENTS: Mapping[str, Replacement] = {
    "conv_general_dilated": _conv_by_plane,
    "dot_general": _product,
    "max": _rectifier,
    "select_n": _choice,
    "reduce_window_max": _pool_of_planes,
    "reduce_window_sum": _pool_of_planes,
}

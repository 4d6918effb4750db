"""The price of each convolution and matrix product in a jaxpr."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn

from dilax import _primitives
from dilax._jaxprs import inner_programs, label, opened, source_line
from dilax.algorithms._shift_and_add import window_sums as sums


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What one convolution or matrix product costs, in all its runs together."""

    name: str
    """Its named scopes."""
    primitive: str
    source: str
    """The line that made it."""
    shape: tuple[int, ...]
    """Of its result."""
    runs: int
    """How often a loop around it runs it."""
    kernel_entries: int
    """Entries of the kernel; of a product without batch axes, those of its second operand."""
    multiply_adds: int
    """By the usual formula, those on padding counted."""
    multiply_adds_without_padding: int
    """With entries that are there."""
    bytes_moved: int
    """Of both operands and the result."""

    @property
    def intensity(self) -> float:
        """Multiply-adds a byte moved."""
        return self.multiply_adds / max(self.bytes_moved, 1)

    @property
    def title(self) -> str:
        """The name, or where a layer without a name comes from."""
        return self.name or f"{self.primitive} at {self.source}"


def rows(jaxpr: Jaxpr, runs: int = 1, prefix: str = "") -> list[LayerCost]:
    """A row for each convolution and product, in order."""
    return [row for equation in jaxpr.eqns for row in _rows_of(equation, runs, prefix)]


def _rows_of(equation: JaxprEqn, runs: int, prefix: str) -> list[LayerCost]:
    name = equation.primitive.name
    if (counts := _counts(equation)) is not None:
        return [_row(equation, runs, prefix, *counts)]
    inside = label(prefix, equation)
    runs = runs * equation.params["length"] if name == "scan" else runs
    parts = [rows(opened(inner), runs, inside) for inner in inner_programs(equation)]
    if name == "while" and any(parts):
        raise ValueError(
            "function holds a while_loop with convolutions or products in it, whose number of "
            "rounds is not known before it runs; required: lax.scan or a fori_loop of fixed "
            "length. Count its body by itself."
        )
    if name == "cond":
        return max(parts, key=lambda part: sum(row.multiply_adds for row in part), default=[])
    return [row for part in parts for row in part]


def _row(
    equation: JaxprEqn, runs: int, prefix: str, kernel: int, usual: int, real: int
) -> LayerCost:
    variables = (*equation.invars[:2], equation.outvars[0])
    return LayerCost(
        label(prefix, equation),
        equation.primitive.name,
        source_line(equation),
        _shape(equation.outvars[0]),
        runs,
        kernel,
        runs * usual,
        runs * real,
        runs * sum(_bytes(variable.aval) for variable in variables),
    )


def _counts(equation: JaxprEqn) -> tuple[int, int, int] | None:
    """Kernel entries, multiply-adds, and multiply-adds without padding; None of a pool too."""
    if equation.primitive in _primitives.PRIMITIVES:
        return None if equation.params["algorithm"] is sums else _of_dilax(equation)
    match equation.primitive.name:
        case "conv_general_dilated":
            return _of_lax(equation)
        case "dot_general":
            return _of_product(equation)
    return None


def _of_product(equation: JaxprEqn) -> tuple[int, int, int]:
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    lhs, rhs = (_shape(variable) for variable in equation.invars[:2])
    count = math.prod(_shape(equation.outvars[0])) * math.prod(lhs[axis] for axis in contracted)
    return (0 if batch else math.prod(rhs)), count, count


def _of_lax(equation: JaxprEqn) -> tuple[int, int, int]:
    params, numbers = equation.params, equation.params["dimension_numbers"]
    x, kernel, out = (_shape(v) for v in (*equation.invars, equation.outvars[0]))
    members = kernel[numbers.rhs_spec[1]]
    window = [kernel[axis] for axis in numbers.rhs_spec[2:]]
    pairs = [
        real_taps(*axis)
        for axis in zip(
            [x[axis] for axis in numbers.lhs_spec[2:]],
            [out[axis] for axis in numbers.out_spec[2:]],
            window,
            params["window_strides"],
            [low for low, _ in params["padding"]],
            params["rhs_dilation"],
            params["lhs_dilation"],
            strict=True,
        )
    ]
    others = math.prod(out[axis] for axis in numbers.out_spec[:2]) * members
    usual = math.prod(out) * math.prod(window) * members
    return math.prod(kernel), usual, others * math.prod(pairs)


def _of_dilax(equation: JaxprEqn) -> tuple[int, int, int]:
    """All three passes of a convolution multiply each output entry with what it sees."""
    roles = _primitives.roles(equation.primitive)
    variables = (*equation.invars, equation.outvars[0])
    shapes = {role: _shape(variable) for role, variable in zip(roles, variables, strict=True)}
    geometry = equation.params["geometry"]
    members, (batch, *_, features) = shapes["w"][-2], shapes["g"]
    pairs = [
        real_taps(*axis)
        for axis in zip(
            geometry.input_size,
            geometry.output_size,
            geometry.kernel_size,
            geometry.strides,
            [low for low, _ in geometry.padding],
            geometry.kernel_dilation,
            (1,) * geometry.rank,
            strict=True,
        )
    ]
    usual = math.prod(shapes["g"]) * geometry.taps * members
    kernel = math.prod(shapes["w"]) if roles[2] != "w" else 0
    return kernel, usual, batch * features * members * math.prod(pairs)


def real_taps(
    inputs: int, outputs: int, taps: int, stride: int, low: int, dilation: int, base: int
) -> int:
    """Pairs of an output and a tap along one axis that meet an input, no padding and no hole."""
    places = np.arange(outputs)[:, None] * stride + np.arange(taps) * dilation - low
    return int(((places >= 0) & (places < inputs * base) & (places % base == 0)).sum())


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(variable.aval.shape)


def _bytes(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize

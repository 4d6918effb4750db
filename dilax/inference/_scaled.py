"""Convolutions that are not computed yet, and the constants that scale and shift their features."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from dilax._accelerate.internals import run_equation
from dilax._functions.symbolic import has_known_size

TYPES = (jnp.bfloat16, jnp.float32, jnp.float64)
"""Types of kernels that are scaled; others have too small a range."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """An array whose entries are known; repeated ones are kept once."""

    kept: Any
    """The entries: an array that is broadcast to ``shape``, with as many axes."""
    shape: tuple[int, ...]

    @classmethod
    def of(cls, value: Any) -> Constant:
        """Keep an array, a number or a key as it is."""
        return cls(value, np.shape(value))

    def broadcast(self, shape: Sequence[int], axes: Sequence[int]) -> Constant:
        """Place the axes among those of ``shape``, and repeat the entries along all others."""
        own: list[int] = [1] * len(shape)
        for axis, size in zip(axes, np.shape(self.kept), strict=True):
            own[axis] = size
        with jax.ensure_compile_time_eval():
            return Constant(jnp.reshape(self.kept, own), tuple(shape))

    def array(self) -> Any:
        """Return the whole array; repeated entries are repeated by an operation."""
        if np.shape(self.kept) == self.shape:
            return self.kept
        return jnp.broadcast_to(self.kept, self.shape)

    def by_feature(self, axis: int, rank: int) -> np.ndarray | None:
        """Return the entries along an axis, if they are equal along all other axes; or None."""
        shape = np.shape(self.kept)
        if len(self.shape) not in (0, rank) or not jnp.issubdtype(self.dtype, jnp.floating):
            return None
        if math.prod(size for place, size in enumerate(shape) if place != axis) > 1:
            return None
        return np.asarray(self.kept, np.float64).reshape(-1)

    @property
    def dtype(self) -> Any:
        """The type of the entries."""
        return jnp.result_type(self.kept)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution or product with a constant kernel, which is not computed yet."""

    equation: JaxprEqn
    x: Any
    """The other operand."""
    kernel: Constant
    place: int
    """Which operand is the kernel."""
    kernel_axis: int
    """The out-features of the kernel."""

    def computed(self, scale: np.ndarray) -> Any:
        """Compute ``conv(x, scale * kernel)``."""
        kernel = self.kernel.array()
        if (scale != 1).any():
            kernel = self.scaled_kernel(scale).astype(self.kernel.dtype)
        pair = (kernel, self.x) if self.place == 0 else (self.x, kernel)
        return run_equation(self.equation, pair)[0]

    def scaled_kernel(self, scale: np.ndarray) -> np.ndarray:
        """Multiply the kernel by an entry for each out-feature, in float64."""
        along = [-1 if place == self.kernel_axis else 1 for place in range(len(self.kernel.shape))]
        with jax.ensure_compile_time_eval():
            return np.asarray(self.kernel.array(), np.float64) * scale.reshape(along)


@dataclasses.dataclass(frozen=True)
class Scaled:
    """``shift + scale * conv(x, kernel)``, by feature, reshaped or transposed; not computed yet."""

    convolution: Convolution
    moves: tuple[JaxprEqn, ...]
    """Reshapes, transposes and pools of the convolution, in order."""
    scale: np.ndarray
    """``(features,)`` in float64."""
    shift: np.ndarray | None
    """``(features,)`` in float64; None for zero."""
    axis: int
    """The axis of features in the result."""
    shape: tuple[int, ...]
    dtype: Any

    def computed(self) -> jax.Array:
        """Compute it."""
        y = self.convolution.computed(self.scale)
        for move in self.moves:
            (y,) = run_equation(move, [y])
        if self.shift is None:
            return y
        along = [-1 if axis == self.axis else 1 for axis in range(len(self.shape))]
        return y + self.shift.astype(self.dtype).reshape(along)

    def moved(self, equation: JaxprEqn, axis: int) -> Scaled:
        """Reshape, transpose or pool the convolution, which puts its features on an axis."""
        moves, shape = (*self.moves, equation), result_of(equation).shape
        return dataclasses.replace(self, moves=moves, axis=axis, shape=shape)

    def times(self, factor: np.ndarray | float) -> Scaled | None:
        """Multiply by a factor for each feature; None if the result is none of a larger scale."""
        pooled = any(move.primitive.name == "reduce_window_max" for move in self.moves)
        if pooled and np.any(np.less(factor, 0)):
            return None
        shift = None if self.shift is None else self.shift * factor
        return dataclasses.replace(self, scale=self.scale * factor, shift=shift)

    def plus(self, shift: np.ndarray) -> Scaled:
        """Add a number to each feature."""
        total = np.broadcast_to(shift, self.scale.shape)
        total = total if self.shift is None else self.shift + total
        return dataclasses.replace(self, shift=total)


def result_of(equation: JaxprEqn) -> Any:
    """Return the type of the only result of an equation."""
    (result,) = equation.outvars
    return result.aval


def convolved(equation: JaxprEqn, operands: Sequence[Any]) -> Scaled | None:
    """Return what an equation gives, not computed yet, if it convolves with a constant kernel."""
    known = [place for place, operand in enumerate(operands) if isinstance(operand, Constant)]
    if equation.primitive.name not in FEATURE_AXES or len(operands) != 2 or len(known) != 1:
        return None
    (place,) = known
    axes = FEATURE_AXES[equation.primitive.name](equation, place)
    kernel, x, result = operands[place], operands[1 - place], result_of(equation)
    if axes is None or kernel.dtype not in TYPES or kernel.dtype != result.dtype:
        return None
    axis, kernel_axis = axes
    if not has_known_size([result.shape[axis], *kernel.shape]) or not result.shape[axis]:
        return None
    x = x.computed() if isinstance(x, Scaled) else x
    convolution = Convolution(equation, x, kernel, place, kernel_axis)
    ones = np.ones(result.shape[axis])
    return Scaled(convolution, (), ones, None, axis, result.shape, result.dtype)


def rescaled(equation: JaxprEqn, operands: Sequence[Any]) -> Scaled | None:
    """Return the value of an equation that scales, shifts or moves the features of another one."""
    name = equation.primitive.name
    if name in MOVES and len(operands) == 1 and isinstance(operands[0], Scaled):
        axis = MOVES[name](equation, operands[0])
        return None if axis is None else operands[0].moved(equation, axis)
    if name == "neg" and isinstance(operands[0], Scaled):
        return operands[0].times(-1.0)
    if name not in ("add", "sub", "mul", "div") or len(operands) != 2:
        return None
    first, second = operands
    if isinstance(first, Scaled) and isinstance(second, Constant) and _of_type(first, equation):
        return _combined(name, first, second)
    turned = isinstance(first, Constant) and isinstance(second, Scaled) and name != "div"
    if turned and _of_type(second, equation):
        value = second.times(-1.0) if name == "sub" else second
        return value and _combined("add" if name == "sub" else name, value, first)
    return None


def _of_type(value: Scaled, equation: JaxprEqn) -> bool:
    """Return whether a result has the shape and the type of a value: nothing is broadcast."""
    result = result_of(equation)
    return (result.shape, result.dtype) == (value.shape, value.dtype)


def _combined(name: str, value: Scaled, constant: Constant) -> Scaled | None:
    """Add, subtract, multiply or divide by a constant that depends on the feature alone."""
    entries = constant.by_feature(value.axis, len(value.shape))
    if entries is None:
        return None
    if name == "div" and (entries == 0).any():
        return None
    if name in ("mul", "div"):
        factor = entries if name == "mul" else 1 / entries
        return value.times(factor) if np.isfinite(factor).all() else None
    return value.plus(entries if name == "add" else -entries)


# --- where the features are -----------------------------------------------------------------------

Axes = tuple[int, int]
"""The axes of out-features of a result and of a kernel."""


def _of_lax_convolution(equation: JaxprEqn, kernel: int) -> Axes | None:
    numbers = equation.params["dimension_numbers"]
    if kernel != 1 or equation.params["batch_group_count"] != 1:
        return None
    return numbers.out_spec[1], numbers.rhs_spec[0]


def _of_dilax_convolution(equation: JaxprEqn, kernel: int) -> Axes | None:
    features = len(result_of(equation).shape) - 1
    return (features, features) if kernel == 1 else None


def _of_product(equation: JaxprEqn, kernel: int) -> Axes | None:
    """Of a product without batch axes, with a matrix of which one axis is not summed."""
    summed, (batch, _) = equation.params["dimension_numbers"]
    matrix: Any = equation.invars[kernel].aval
    free = [axis for axis in range(len(matrix.shape)) if axis not in summed[kernel]]
    if batch or len(free) != 1:
        return None
    return (len(result_of(equation).shape) - 1 if kernel else 0), free[0]


FEATURE_AXES: dict[str, Callable[[JaxprEqn, int], Axes | None]] = {
    "conv_general_dilated": _of_lax_convolution,
    "dilax_conv": _of_dilax_convolution,
    "dot_general": _of_product,
}
"""By primitive, where the out-features are, if the operand of a place is the kernel."""


def _after_reshape(equation: JaxprEqn, value: Scaled) -> int | None:
    """Find the features after a reshape that leaves their axis whole."""
    if equation.params.get("new_sizes") and equation.params.get("dimensions") is not None:
        return None  # a transpose as well
    before = math.prod(value.shape[: value.axis])
    new = result_of(equation).shape
    for axis, size in enumerate(new):
        if size == value.shape[value.axis] and math.prod(new[:axis]) == before:
            return axis
    return None


def _after_broadcast(equation: JaxprEqn, value: Scaled) -> int | None:
    """Find the features after a broadcast that only adds axes of one entry."""
    if result_of(equation).size != math.prod(value.shape):
        return None
    return equation.params["broadcast_dimensions"][value.axis]


def _after_transpose(equation: JaxprEqn, value: Scaled) -> int:
    return tuple(equation.params["permutation"]).index(value.axis)


def _after_conversion(equation: JaxprEqn, value: Scaled) -> int | None:
    """A conversion to the same type does nothing."""
    return value.axis if equation.params["new_dtype"] == value.dtype else None


def _after_max_pool(equation: JaxprEqn, value: Scaled) -> int | None:
    """Pool neither features nor padding alone: the largest entry then moves with all entries."""
    params = equation.params
    window, padding = params["window_dimensions"], params["padding"]
    inside = all(max(sides) < size for sides, size in zip(padding, window, strict=True))
    whole = window[value.axis] == 1 and not any(padding[value.axis])
    plain = all(step == 1 for step in (*params["base_dilation"], *params["window_dilation"]))
    strided = params["window_strides"][value.axis] > 1
    return value.axis if inside and whole and plain and not strided else None


MOVES: dict[str, Callable[[JaxprEqn, Scaled], int | None]] = {
    "reshape": _after_reshape,
    "squeeze": _after_reshape,
    "broadcast_in_dim": _after_broadcast,
    "transpose": _after_transpose,
    "reduce_window_max": _after_max_pool,
    "convert_element_type": _after_conversion,
}
"""By primitive, the axis of features in the result; None if they are not on one axis."""

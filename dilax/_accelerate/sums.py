r"""Sums in derivatives of normalisation, of arrays that exist in place of products of them.

Batch normalisation :math:`y = (x - m) g` has a mean :math:`m` and a gain :math:`g` of each feature.
JAX's derivative by :math:`m` is :math:`-\sum_i \dot y_i g`, the sum of a new array as large as the
batch, although :math:`-g \sum_i \dot y_i` needs no new array, and the derivative by the bias needs
that sum, too. On CPU, three such sums cost more than all else in the derivative.

Both rules leave values as they are, up to rounding: the first is for derivatives that are part of
the program, the second for a program that is differentiated later.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn, Literal, Var

from dilax._accelerate.replacing import as_call, gives_its_types, in_place_of
from dilax._functions.symbolic import has_known_size

REARRANGED = frozenset({"reduce_sum", "mul"})
"""Primitives whose equations may have a better form."""

SCALES: dict[str, Callable[..., jax.Array]] = {"mul": jnp.multiply, "div": jnp.divide}
CARRIES_A_MEAN = {"div", "mul", "reshape", "squeeze", "broadcast_in_dim", "convert_element_type"}
"""What lies between the sum of an array and its mean, broadcast to the shape of the array."""


class Definitions(NamedTuple):
    """Which equation of a program gives a variable, and how many use it."""

    equations: Mapping[Var, JaxprEqn]
    uses: Mapping[Any, int]

    @classmethod
    def of(cls, equations: Sequence[JaxprEqn], results: Sequence[Any]) -> Definitions:
        """Look through a program."""
        given = {variable: equation for equation in equations for variable in equation.outvars}
        used = (operand for equation in equations for operand in _variables(equation.invars))
        return cls(given, Counter([*used, *_variables(results)]))

    def equation(self, operand: Any, *names: str) -> JaxprEqn | None:
        """The equation that gives an operand, if its primitive has one of these names."""
        found = None if isinstance(operand, Literal) else self.equations.get(operand)
        return found if found is not None and found.primitive.name in names else None


class Narrow(NamedTuple):
    """An operand that is broadcast: the array before, and the axis along which each of its lies."""

    array: Any
    axes: tuple[int, ...]

    def varies_along(self) -> set[int]:
        """The axes of the whole along which it is not constant."""
        return {axis for axis, size in zip(self.axes, _shape(self.array), strict=True) if size > 1}

    def sizes(self, rank: int) -> tuple[int, ...]:
        """The shape in which it broadcasts to the whole."""
        sizes = dict(zip(self.axes, _shape(self.array), strict=True))
        return tuple(sizes.get(axis, 1) for axis in range(rank))


def rearranged(equation: JaxprEqn, given: Definitions) -> JaxprEqn | None:
    """The equation that gives the same result with fewer sums in the end; None if it may stay."""
    arrays: list[Any] = [operand.aval for operand in (*equation.invars, *equation.outvars)]
    is_wide = arrays[0].dtype in (jnp.float32, jnp.float64)  # a sum of factors cannot overflow
    if not is_wide or not has_known_size(size for array in arrays for size in array.shape):
        return None
    if not jax.sharding.get_abstract_mesh().empty:  # type: ignore[attr-defined]
        return None  # shapes with one entry along a sharded axis
    rule = _scaled_sum if equation.primitive.name == "reduce_sum" else _scaled_difference
    return rule(equation, given)


def _scaled_sum(equation: JaxprEqn, given: Definitions) -> JaxprEqn | None:
    """``sum(a * g)`` as ``g * sum(a)``, where ``g`` does not vary along the axes of the sum."""
    (operand,), axes = equation.invars, tuple(equation.params["axes"])
    negated = given.equation(operand, "neg")
    scaled = given.equation(operand if negated is None else negated.invars[0], *SCALES)
    if scaled is None:
        return None
    for whole, factor in _orders(scaled):
        narrow = _narrow(factor, whole, given)
        if narrow is not None and not narrow.varies_along() & {*axes}:
            sizes = narrow.sizes(len(_shape(whole)))
            kept = tuple(size for axis, size in enumerate(sizes) if axis not in axes)
            about = scaled.primitive.name, negated is not None, axes, kept
            return _called(_compute_scaled_sum, about, equation, whole, narrow.array)
    return None


def _compute_scaled_sum(
    scale: str, negated: bool, axes: tuple[int, ...], sizes: tuple[int, ...], *arrays: jax.Array
) -> jax.Array:
    whole, factor = arrays
    total = SCALES[scale](whole.sum(axes), factor.reshape(sizes))
    return -total if negated else total


def _scaled_difference(equation: JaxprEqn, given: Definitions) -> JaxprEqn | None:
    """``(x - m) * g`` of a mean ``m`` of ``x``, with a derivative that sums no new array."""
    for difference, gain in _orders(equation):
        found = given.equation(difference, "sub")
        if found is None or given.uses[difference] > 1:
            continue
        x, mean = found.invars
        of_mean, of_gain = _narrow(mean, x, given), _narrow(gain, difference, given)
        if of_mean is None or of_gain is None or not _is_mean(of_mean.array, x, given):
            continue
        if of_gain.varies_along() <= of_mean.varies_along():
            rank = len(_shape(x))
            about = of_mean.sizes(rank), of_gain.sizes(rank)
            arrays = x, of_mean.array, of_gain.array
            return _called(_compute_scaled_difference, about, equation, *arrays)
    return None


def _compute_scaled_difference(
    mean_sizes: tuple[int, ...], gain_sizes: tuple[int, ...], *arrays: jax.Array
) -> jax.Array:
    x, mean, gain = arrays
    return _difference_times(x, mean.reshape(mean_sizes), gain.reshape(gain_sizes))


@jax.custom_jvp
def _difference_times(x: jax.Array, mean: jax.Array, gain: jax.Array) -> jax.Array:
    return (x - mean) * gain


@_difference_times.defjvp
def _difference_times_tangent(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    x, mean, gain = primals
    dx, dmean, dgain = tangents
    difference = x - mean
    return difference * gain, dx * gain + difference * dgain + -dmean * gain  # no sum of negatives


def _is_mean(array: Any, x: Any, given: Definitions) -> bool:
    """Whether an array is made of a sum of ``x`` and of constants alone."""
    equation = given.equation(array, "reduce_sum", *CARRIES_A_MEAN)
    if equation is None:
        return False
    source, *others = equation.invars
    if equation.primitive.name == "reduce_sum":
        converted = given.equation(source, "convert_element_type")
        return source is x or (converted is not None and converted.invars[0] is x)
    return all(isinstance(other, Literal) for other in others) and _is_mean(source, x, given)


def _narrow(operand: Any, whole: Any, given: Definitions) -> Narrow | None:
    """How an operand is broadcast to the shape of the whole; None if it is as large as that."""
    if isinstance(operand, Literal) or isinstance(whole, Literal):
        return None
    broadcast = given.equation(operand, "broadcast_in_dim")
    found = Narrow(operand, tuple(range(len(_shape(operand)))))
    if broadcast is not None and not isinstance(broadcast.invars[0], Literal):
        axes = (int(axis) for axis in broadcast.params["broadcast_dimensions"])
        found = Narrow(broadcast.invars[0], tuple(axes))
    return found if math.prod(_shape(found.array)) < math.prod(_shape(whole)) else None


def _orders(equation: JaxprEqn) -> Iterator[tuple[Any, Any]]:
    """The operands of a product or quotient as a whole, of the result's shape, and a factor."""
    first, second = equation.invars
    pairs = [(first, second)]
    if equation.primitive.name == "mul":
        pairs.append((second, first))
    return (pair for pair in pairs if _shape(pair[0]) == _shape(equation.outvars[0]))


def _called(
    compute: Callable[..., jax.Array], about: tuple, equation: JaxprEqn, *operands: Any
) -> JaxprEqn | None:
    types = tuple(operand.aval for operand in operands)
    call = _call(compute, about, types, jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    results = tuple(variable.aval for variable in equation.outvars)
    return in_place_of(equation, call, operands) if gives_its_types(call, results) else None


@functools.lru_cache(maxsize=256)
def _call(compute: Callable[..., jax.Array], about: tuple, operands: tuple, _: Any) -> JaxprEqn:
    """Equal equations share one call, so that it is traced once."""
    name = compute.__name__.removeprefix("_compute_")
    return as_call(functools.partial(compute, *about), name, operands)


def _shape(operand: Any) -> tuple[int, ...]:
    return operand.aval.shape


def _variables(operands: Sequence[Any]) -> list[Any]:
    return [operand for operand in operands if not isinstance(operand, Literal)]

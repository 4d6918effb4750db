"""One program from two traces: what a function does to an input of one length, and of twice that.

A traced program holds sizes as plain numbers, so it does not say which of them grow with the input.
Two programs, read side by side, do: sizes that differ grow. Whatever depends on no input and is the
same in both is evaluated. What is left is a list of steps, with the programs that are called inside
of others, and loops of a fixed number of turns, written out.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from dilax._accelerate.internals import run_equation
from dilax._jaxprs import Program, label, opened, source_line

CALLS = frozenset(
    (
        *("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"),
        *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
    )
)
"""Primitives that run the program that they hold once, on their operands."""

Pair = tuple[Program, Program]
"""A program at the shorter length, and at the longer one."""


@dataclasses.dataclass(frozen=True)
class Unknown:
    """A value that no step may read, and why."""

    reason: str
    is_constant: bool = False
    """Whether it is a constant, so that the operation that reads it is worth naming."""


@dataclasses.dataclass(frozen=True)
class Repeated:
    """A constant that is as long as the input, and the same at every step of time."""

    array: Any
    """Its entries at one step, with an axis of size 1 for time."""
    axis: int
    sizes: tuple[int, int]
    """Its length in either program."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a step gives, by its number."""

    number: int


DEPENDS = "which is not the same for inputs of two lengths"
Operand = Any
"""An array that depends on no input, a ``Repeated``, a ``Result`` or an ``Unknown``."""


class Place(NamedTuple):
    """Where a program stands: the layer that calls it, and the line of code."""

    layer: str = ""
    line: str = "an unknown line"

    def inside(self, equation: JaxprEqn) -> Place:
        """Return the place of the program that an equation holds."""
        return Place(label(self.layer, equation), source_line(equation, self.line))

    def said(self, equation: JaxprEqn) -> str:
        """Name an operation of the program, with its layer and its line of code."""
        layer, line = self.inside(equation)
        return f"{equation.primitive.name}{f' in {layer}' if layer else ''} at {line}"


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One operation, as it stands in both programs."""

    equation: JaxprEqn
    longer: JaxprEqn
    operands: tuple[Operand, ...]
    results: tuple[Result, ...]
    place: Place

    @property
    def name(self) -> str:
        """The name of the primitive."""
        return self.equation.primitive.name

    @property
    def params(self) -> dict[str, Any]:
        """The parameters in the program of the shorter length."""
        return self.equation.params

    def different(self) -> list[str]:
        """The names of the parameters that differ between the programs."""
        own, other = self.params, self.longer.params
        return [name for name in own if not same(own[name], other[name])]

    def shapes(self, number: int = 0) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shape of a result in either program."""
        first: Any = self.equation.outvars[number].aval
        second: Any = self.longer.outvars[number].aval
        return first.shape, second.shape

    def said(self) -> str:
        """How a message names the operation: what it is, in which layer and on which line."""
        return self.place.said(self.equation)


class Reader:
    """Reads two programs side by side; ``steps`` is what is left to do when an input is given."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._numbers = itertools.count()

    def result(self) -> Result:
        """Number a new value."""
        return Result(next(self._numbers))

    def run(self, pair: Pair, arguments: Sequence[Operand], place: Place) -> list[Operand]:
        """Read a pair of programs, from what is known of their arguments to their results.

        Raises:
            ValueError: The two do not consist of the same operations.
        """
        short, long = map(opened, pair)
        known = dict(zip(short.invars, arguments, strict=True))
        twins: dict[Any, Any] = dict(zip(short.invars, long.invars, strict=True))
        consts = [getattr(program, "consts", ()) for program in pair]
        if len(short.eqns) != len(long.eqns) or len(consts[0]) != len(consts[1]):
            raise _not_alike(short.eqns, long.eqns, place)
        known |= zip(short.constvars, map(_constant, *consts), strict=True)
        twins |= zip(short.constvars, long.constvars, strict=True)

        def read(variable: Any, twin: Any) -> Operand:
            if isinstance(variable, Literal) and isinstance(twin, Literal):
                return _constant(variable.val, twin.val)
            if isinstance(variable, Literal) or twins[variable] is not twin:
                raise _not_alike(short.eqns, long.eqns, place)
            return known[variable]

        for equation, longer in zip(short.eqns, long.eqns, strict=True):
            if equation.primitive is not longer.primitive:
                raise _not_alike(short.eqns, long.eqns, place)
            operands = list(map(read, equation.invars, longer.invars))
            results = self._apply(equation, longer, operands, place)
            known |= zip(equation.outvars, results, strict=True)
            twins |= zip(equation.outvars, longer.outvars, strict=True)
        return list(map(read, short.outvars, long.outvars))

    def _apply(
        self, equation: JaxprEqn, longer: JaxprEqn, operands: Sequence[Operand], place: Place
    ) -> Sequence[Operand]:
        """Evaluate an operation, read what it holds, or keep it as a step."""
        name, pair = equation.primitive.name, (equation, longer)
        if name in CALLS:
            return self.run(
                (_program(equation), _program(longer)), operands, place.inside(equation)
            )
        if equation.effects:
            raise ValueError(
                f"function must only compute its result to be streamed, got an effect: "
                f"{place.said(equation)}; remove it."
            )
        constant = not any(isinstance(one, Result | Repeated) for one in operands)
        unknown = next((one for one in operands if isinstance(one, Unknown)), None)
        if constant and unknown is not None:
            return [unknown] * len(equation.outvars)
        results = tuple(self.result() for _ in equation.outvars)
        step = Step(*pair, tuple(operands), results, place)
        if constant:
            return _evaluated(step)
        if name == "scan" and equation.params["length"] == longer.params["length"]:
            return self._unrolled(step)
        self.steps.append(step)
        return results

    def _unrolled(self, step: Step) -> Sequence[Operand]:
        """Read the body of a loop, such as one over layers, once for each of its turns."""
        params, bodies = step.params, [one.params["jaxpr"] for one in (step.equation, step.longer)]
        consts, count = params["num_consts"], params["num_carry"]
        fixed, carry = step.operands[:consts], list(step.operands[consts : consts + count])
        rows = step.operands[consts + count :]
        if any(isinstance(row, Result | Repeated | Unknown) for row in rows):
            why = f"{step.said()} loops over another axis of a signal; loop over its layers instead"
            return [Unknown(why)] * len(step.results)
        turns = range(params["length"])
        stacks: list[list[Operand]] = []
        for turn in reversed(turns) if params["reverse"] else turns:
            arguments = [*fixed, *carry, *(row[turn] for row in rows)]
            found = self.run((bodies[0], bodies[1]), arguments, step.place.inside(step.equation))
            carry, stack = found[:count], found[count:]
            stacks.append(stack)
        ordered = stacks[::-1] if params["reverse"] else stacks
        return [*carry, *(_stacked(step, column) for column in zip(*ordered, strict=True))]


def _stacked(step: Step, column: Sequence[Operand]) -> Operand:
    if any(isinstance(one, Result | Repeated | Unknown) for one in column):
        return Unknown(f"{step.said()} stacks signals; add them up in what it carries instead")
    return jnp.stack(column)


def _program(equation: JaxprEqn) -> Program:
    names = ("jaxpr", "call_jaxpr", "fun_jaxpr")
    return next(equation.params[name] for name in names if name in equation.params)


def _not_alike(short: Sequence[JaxprEqn], long: Sequence[JaxprEqn], place: Place) -> ValueError:
    """Make the error for programs that differ, which names the first operation that does."""
    pairs = itertools.zip_longest(short, long)
    first = next(
        (one or other for one, other in pairs
         if one is None or other is None or one.primitive is not other.primitive), None
    )  # fmt: skip
    where = "" if first is None else f", from {place.said(first)} on"
    return ValueError(
        f"function must do the same to inputs of any length to be streamed, but does other "
        f"operations to one that is twice as long as example{where}. Give an example as long as a "
        f"usual input, and do not let the program depend on the length."
    )


# --- constants ------------------------------------------------------------------------------------


def _evaluated(step: Step) -> Sequence[Operand]:
    """Evaluate an operation of constants, if both programs have the same."""
    changed = step.different()
    shapes = [step.shapes(number) for number in range(len(step.results))]
    if not changed and all(first == second for first, second in shapes):
        return run_equation(step.equation, step.operands)
    if step.name == "broadcast_in_dim" and changed == ["shape"] and len(step.operands) == 1:
        return [_broadcast(step, *shapes[0])]
    return [_depends(step)] * len(step.results)


def _broadcast(step: Step, short: Sequence[int], long: Sequence[int]) -> Operand:
    """Keep one step of a constant that is broadcast to the length of the input."""
    axes = [axis for axis, (one, other) in enumerate(zip(short, long, strict=True)) if one != other]
    if len(axes) > 1:
        return _depends(step)
    (axis,) = axes
    shape = (*short[:axis], 1, *short[axis + 1 :])
    places = step.params["broadcast_dimensions"]
    array = jax.lax.broadcast_in_dim(step.operands[0], shape, places)
    return Repeated(array, axis, (short[axis], long[axis]))


def _depends(step: Step) -> Unknown:
    return Unknown(f"{step.said()} makes a constant that depends on the length of the input")


def _constant(short: Any, long: Any) -> Operand:
    """What is known of a constant, from its value in either program."""
    if same(short, long):
        return short
    shapes = np.shape(short), np.shape(long)
    axes = [n for n, (a, b) in enumerate(zip(*shapes, strict=False)) if a != b]
    if len(shapes[0]) == len(shapes[1]) and len(axes) == 1 and min(*shapes[0], *shapes[1]) > 0:
        (axis,) = axes
        first, second = np.asarray(short), np.asarray(long)
        one = first.take([0], axis)
        if first.dtype == second.dtype and (first == one).all() and (second == one).all():
            return Repeated(one, axis, (shapes[0][axis], shapes[1][axis]))
    if shapes[0] or shapes[1]:
        return Unknown(f"a constant of shape {shapes[0]} or {shapes[1]}, {DEPENDS}", True)
    return Unknown(f"the number {np.asarray(short)} or {np.asarray(long)}, {DEPENDS}", True)


def same(first: Any, second: Any) -> bool:
    """Return whether two constants or parameters are certainly the same."""
    if first is second:
        return True
    if isinstance(first, jax.core.Tracer) or isinstance(second, jax.core.Tracer):
        return False
    if isinstance(first, Jaxpr | ClosedJaxpr) and isinstance(second, Jaxpr | ClosedJaxpr):
        return _same_program(first, second)
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return len(first) == len(second) and all(map(same, first, second))
    if any(hasattr(one, "dtype") or isinstance(one, float) for one in (first, second)):
        return _same_array(first, second)  # bit by bit, since NaN is not equal to itself
    return bool(first == second)


def _same_array(first: Any, second: Any) -> bool:
    if np.shape(first) != np.shape(second) or jnp.result_type(first) != jnp.result_type(second):
        return False
    if jnp.issubdtype(jnp.result_type(first), jax.dtypes.prng_key):
        first, second = jax.random.key_data(first), jax.random.key_data(second)
    return np.asarray(first).tobytes() == np.asarray(second).tobytes()


def _same_program(first: Program, second: Program) -> bool:
    one, other = opened(first), opened(second)
    consts = [getattr(program, "consts", ()) for program in (first, second)]
    twins: dict[Any, Any] = {}

    def alike(variable: Any, twin: Any) -> bool:
        if isinstance(variable, Literal) or isinstance(twin, Literal):
            both = isinstance(variable, Literal) and isinstance(twin, Literal)
            return both and same(variable.val, twin.val)
        return twins[variable] is twin and variable.aval == twin.aval

    def defined(variables: Sequence[Any], others: Sequence[Any]) -> bool:
        twins.update(zip(variables, others, strict=False))
        return len(variables) == len(others)

    def equation_alike(equation: JaxprEqn, twin: JaxprEqn) -> bool:
        return (
            equation.primitive is twin.primitive
            and len(equation.invars) == len(twin.invars)
            and all(map(alike, equation.invars, twin.invars))
            and all(same(equation.params[name], twin.params[name]) for name in equation.params)
            and defined(equation.outvars, twin.outvars)
        )

    return (
        len(one.eqns) == len(other.eqns)
        and len(one.outvars) == len(other.outvars)
        and same(tuple(consts[0]), tuple(consts[1]))
        and defined([*one.invars, *one.constvars], [*other.invars, *other.constvars])
        and all(map(equation_alike, one.eqns, other.eqns))
        and all(map(alike, one.outvars, other.outvars))
    )

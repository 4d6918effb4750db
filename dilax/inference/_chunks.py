"""Running the steps of a program on one chunk of its input."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import jax
from jax.extend.core import JaxprEqn

from dilax._accelerate.internals import run_equation
from dilax.inference._signals import Memory, RefusedError, Signal, Uniform, delayed
from dilax.inference._two_lengths import Operand, Repeated, Result, Step, Unknown

Value = Any
"""An array that does not depend on time, a ``Signal``, a ``Uniform`` or an ``Unknown``."""
Adapt = Callable[[int], dict[str, Any]]
"""Gives the parameters of an operation that hold the number of entries."""


class Run:
    """What is known while the steps of a program are done on one chunk."""

    def __init__(
        self,
        rules: Mapping[str, Rule],
        lengths: tuple[int, int],
        length: int,
        held: Sequence[jax.Array] | None,
    ) -> None:
        self.memory = Memory(held)
        self.length = length
        self.multiple = 1
        """What the length of a chunk must be a multiple of, as far as is known."""
        self._rules, self._lengths = rules, lengths
        self._values: dict[Result, Value] = {}

    def begin(self, result: Result, chunk: jax.Array, axis: int) -> None:
        """Name a chunk of the input."""
        self._values[result] = Signal(chunk, None, axis, Fraction(1), 0, 0)

    def value(self, operand: Operand) -> Value:
        """Return what is known of an operand."""
        if isinstance(operand, Result):
            return self._values[operand]
        return self._uniform(operand) if isinstance(operand, Repeated) else operand

    def do(self, steps: Sequence[Step]) -> None:
        """Do all steps; what cannot be done is an error only when its result is needed."""
        for step in steps:
            operands = [self.value(operand) for operand in step.operands]
            self._values.update(zip(step.results, self._results(step, operands), strict=True))

    def _results(self, step: Step, operands: Sequence[Value]) -> Sequence[Value]:
        unknown = [one for one in operands if isinstance(one, Unknown)]
        if unknown:
            first = min(unknown, key=lambda one: one.is_constant)
            why = f"{step.said()} reads {first.reason}" if first.is_constant else first.reason
            return [Unknown(why)] * len(step.results)
        try:
            if step.name not in self._rules:
                raise RefusedError(
                    "is an operation that stream does not know; use others, or apply it before or "
                    "after what is streamed"
                )
            found = self._rules[step.name](step, operands, self)
            return [self._checked(step, number, value) for number, value in enumerate(found)]
        except RefusedError as refusal:
            return [Unknown(f"{step.said()} {refusal}")] * len(step.results)

    def _checked(self, step: Step, number: int, value: Value) -> Value:
        """Compare a result with its shapes in the two programs, and note what looks ahead."""
        shapes = step.shapes(number)
        if not isinstance(value, Signal | Uniform):
            return value
        if isinstance(value, Uniform):
            array, rows, size = value.array, 1, 1
        else:
            array, rows = value.chunk, value.rows
            size = rows * self.entries(value.spacing)
        for shape, length in zip(shapes, self._lengths, strict=True):
            own = [*shape]
            if own[value.axis] != rows * (length / value.spacing + value.extra):
                raise RefusedError("has a result whose length is no multiple of that of the input")
            own[value.axis] = size
            if tuple(own) != array.shape:
                raise RefusedError("has a result that is as long as the input along two axes")
        if isinstance(value, Uniform):
            return value
        ahead = value.ahead == value.extra
        return dataclasses.replace(value, cause="" if ahead else value.cause or step.said())

    def entries(self, spacing: Fraction) -> int:
        """Return how many entries arrive with a chunk."""
        self.multiple = math.lcm(self.multiple, spacing.numerator)
        size = self.length / spacing
        if size.denominator != 1:
            raise RefusedError(f"needs chunks of a multiple of {self.multiple} steps")
        return int(size)

    def _uniform(self, operand: Repeated) -> Uniform | Unknown:
        short, long = self._lengths
        each = Fraction(operand.sizes[1] - operand.sizes[0], long - short)
        extra = operand.sizes[0] - short * each
        if each <= 0 or extra.denominator != 1:
            return Unknown("a constant has a length that is no multiple of that of the input")
        return Uniform(operand.array, operand.axis, 1 / each, int(extra))

    def signal(self, value: Value) -> Signal:
        """Return a signal that can be moved along time; a constant arrives in time as well."""
        if isinstance(value, Uniform):
            return value.signal(self.entries(value.spacing))
        if value.rows > 1:
            raise RefusedError(
                "is along time after it was merged with an axis before it; keep time apart, or use "
                "jax.vmap"
            )
        return value


Rule = Callable[[Step, Sequence[Value], Run], Sequence[Value]]
"""Finds the results of a step, or raises ``RefusedError``."""


def apply(equation: JaxprEqn, operands: Sequence[Any], **params: Any) -> list[Any]:
    """Run an equation with other parameters."""
    changed = equation.replace(params={**equation.params, **params}) if params else equation
    return run_equation(changed, operands)


def only_signal(operands: Sequence[Value], what: str) -> int:
    """Return the axis of time of the first operand, the only one that may have it."""
    if any(isinstance(one, Signal | Uniform) for one in operands[1:]):
        raise RefusedError(f"has {what} that depends on time")
    return operands[0].axis


def must_agree(step: Step, but: Sequence[str] = ()) -> None:
    """Refuse an operation whose parameters depend on the length of the input."""
    changed = [name for name in step.different() if name not in but]
    if changed:
        raise RefusedError(
            f"depends on the length of the input by its {changed[0]}, which is "
            f"{step.params[changed[0]]} and {step.longer.params[changed[0]]} for inputs of two "
            f"lengths; give the same numbers for all lengths"
        )


def at_each_step(
    step: Step,
    operands: Sequence[Value],
    run: Run,
    axes: Sequence[int],
    adapt: Adapt = lambda size: {},
    rows: int | None = None,
) -> Sequence[Value]:
    """Do an operation that takes each step of time for itself; its results have it at ``axes``.

    ``rows`` is how many rows are merged on them, if it is not as many as in the operands.
    """
    signals = [one for one in operands if isinstance(one, Signal)]
    if not signals:
        return _at_one_step(step, operands, axes, adapt)
    first, ahead = signals[0], min(one.ahead for one in signals)
    if not all(_alike(one, first) for one in operands if isinstance(one, Signal | Uniform)):
        raise RefusedError("combines values whose lengths differ")
    cause = next(one.cause for one in signals if one.ahead == ahead)
    aligned = [
        delayed(one, ahead, run.memory) if isinstance(one, Signal) else one for one in operands
    ]
    rows = first.rows if rows is None else rows

    def results(size: int, past: bool) -> list[Any]:
        arrays = [_entries(one, first.rows * size, past) for one in aligned]
        return apply(step.equation, arrays, **adapt(rows * size))

    chunks = results(first.size, past=False)
    pasts = results(ahead, past=True) if ahead > 0 else [None] * len(chunks)
    return [
        Signal(chunk, past, axis, first.spacing, ahead, first.extra, cause, rows)
        for chunk, past, axis in zip(chunks, pasts, axes, strict=True)
    ]


def _at_one_step(
    step: Step, operands: Sequence[Value], axes: Sequence[int], adapt: Adapt
) -> Sequence[Value]:
    """Do an operation of constants that are the same at every step."""
    timed = [one for one in operands if isinstance(one, Uniform)]
    if len({(one.spacing, one.extra) for one in timed}) > 1:
        raise RefusedError("combines values whose lengths differ")
    arrays = [one.array if isinstance(one, Uniform) else one for one in operands]
    found = apply(step.equation, arrays, **adapt(1))
    pairs = zip(found, axes, strict=True)
    return [Uniform(array, axis, timed[0].spacing, timed[0].extra) for array, axis in pairs]


def _alike(value: Signal | Uniform, signal: Signal) -> bool:
    """Return whether two values have as many entries, of the same times."""
    if isinstance(value, Signal):
        own, other = ((one.spacing, one.extra, one.rows) for one in (value, signal))
        return own == other
    length = (value.spacing * signal.rows, value.extra)
    return length == (signal.spacing, signal.extra * signal.rows)


def _entries(value: Value, size: int, past: bool) -> Any:
    if isinstance(value, Uniform):
        return value.repeated(size)
    if isinstance(value, Signal):
        return value.past if past else value.chunk
    return value

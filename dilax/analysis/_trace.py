"""Going through a traced function, equation by equation, with what each array sees of the input."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from dilax._jaxprs import Program, label, opened, source_line
from dilax.analysis._field import Field, Reads, in_place, whole
from dilax.analysis._reading import read, union

Shape = tuple[int, ...]
Seen = tuple[Field, ...] | None
"""What an array sees, a field for each input axis; None if it does not depend on the input."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """An array that depends on no argument, computed when it is asked for."""

    compute: Callable[[], Any]


Value = Seen | Constant
"""What is known of an array; None if it depends on values that differ from round to round."""


@dataclasses.dataclass(frozen=True)
class Equation:
    """One equation, what is known of its operands, and how a rule asks for more."""

    name: str
    params: dict[str, Any]
    values: Sequence[Value]
    shapes: Sequence[Shape]
    out_shapes: Sequence[Shape]
    label: str
    source: str
    trace: Trace

    @property
    def seen(self) -> list[Seen]:
        """What each operand sees."""
        return [seen_of(value) for value in self.values]

    def constant(self, number: int) -> Constant | None:
        """An operand that depends on no argument; None if it does."""
        value = self.values[number]
        return value if isinstance(value, Constant) else None

    def differs_along(self, number: int, axis: int) -> bool:
        """Whether entries of an operand along an axis may see different inputs."""
        return any(axis in field.axes for field in self.seen[number] or ())

    def in_place(self, number: int) -> dict[int, Any]:
        """Read an operand at the indices of the result."""
        return {axis: in_place(axis) for axis in range(len(self.shapes[number]))}

    def everywhere(self, number: int) -> dict[int, Any]:
        """Read an operand everywhere."""
        return {axis: whole(size) for axis, size in enumerate(self.shapes[number])}

    def assume(self, what: str) -> None:
        """Say in the result what was assumed here."""
        self.trace.assumptions.setdefault(f"{self.name} at {self.source}: {what}")

    def inline(self, program: Program, values: Sequence[Value]) -> list[Value]:
        """Run a program that the equation holds."""
        return self.trace.run(program, values, self.label)


class Layer(NamedTuple):
    """An array that the result lists, and what it sees."""

    name: str
    primitive: str
    source: str
    shape: Shape
    seen: Seen


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is known of the primitives of JAX, by name."""

    reads: Mapping[str, Callable[[Equation], Sequence[Reads]]]
    """How the result reads each operand; every result, if there are many."""
    others: Mapping[str, Callable[[Equation], Sequence[Value]]]
    """What each result sees, where they read in different ways or more than once."""
    layers: frozenset[str]
    """Those that the result lists."""
    sums: frozenset[str]
    """Those that the result lists if entries that are summed see different inputs."""


class Trace:
    """What is found on the way: layers in order, and assumptions (a dict, for its order)."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.layers: list[Layer] = []
        self.assumptions: dict[str, None] = {}

    def run(self, program: Program, values: Sequence[Value], prefix: str = "") -> list[Value]:
        """What is known of the results of a program, from what is known of its arguments."""
        jaxpr = opened(program)
        known: dict[Any, Value] = dict(zip(jaxpr.invars, values, strict=True))
        for variable, array in zip(jaxpr.constvars, getattr(program, "consts", ()), strict=False):
            known[variable] = Constant(functools.partial(_itself, array))
        for equation in jaxpr.eqns:
            operands = [_known(known, variable) for variable in equation.invars]
            if any(seen_of(value) for value in operands):
                results = self._apply(equation, operands, prefix)
            else:
                results = _computed_later(equation, operands)
            known.update(zip(equation.outvars, results, strict=True))
        return [_known(known, variable) for variable in jaxpr.outvars]

    def _apply(self, equation: JaxprEqn, operands: Sequence[Value], prefix: str) -> Sequence[Value]:
        shapes, out_shapes = shapes_of(equation.invars), shapes_of(equation.outvars)
        name, source = equation.primitive.name, source_line(equation)
        inside = label(prefix, equation)
        step = Equation(name, equation.params, operands, shapes, out_shapes, inside, source, self)
        if name in self.rules.reads:
            return [self._read(step)] * len(out_shapes)
        if name in self.rules.others:
            return self.rules.others[name](step)
        if (program := _called(equation)) is not None:
            return step.inline(program, operands)
        raise ValueError(
            f"function applies {name} at {source}, an operation that receptive_field cannot "
            f"follow; it must consist of lax operations on arrays. Analyse what comes before it "
            f"and what comes after it separately."
        )

    def _read(self, step: Equation) -> Seen:
        reads = self.rules.reads[step.name](step)
        seen = seen_through(list(zip(step.seen, reads, strict=False)), step.out_shapes[0])
        summed = [axis for axis, own in reads[0].items() if not own.axes]
        is_sum = step.name in self.rules.sums and any(step.differs_along(0, a) for a in summed)
        if is_sum or step.name in self.rules.layers:
            self.layers.append(Layer(step.label, step.name, step.source, step.out_shapes[0], seen))
        return seen


def seen_of(value: Value) -> Seen:
    """What an array sees; None for a constant."""
    return None if isinstance(value, Constant) else value


def seen_through(terms: Sequence[tuple[Seen, Reads]], shape: Shape = ()) -> Seen:
    """What an array of ``shape`` sees that reads others so, for every axis of the input."""
    pairs = [(seen, reads) for seen, reads in terms if seen is not None]
    axes = zip(*(seen for seen, _ in pairs), strict=True)
    reads = [own for _, own in pairs]
    return tuple(_through(fields, reads, shape) for fields in axes) or None


def _through(fields: Sequence[Field], reads: Sequence[Reads], shape: Shape) -> Field:
    first = fields[0]
    if set(fields) == {first} and all(own[a] == in_place(a) for own in reads for a in first.axes):
        return first  # Such as parts of it beside one another, along an axis where all see alike.
    return union([read(field, own, shape) for field, own in zip(fields, reads, strict=True)])


def joined(*parts: Seen) -> Seen:
    """What arrays of one shape see together, entry by entry."""
    axes = zip(*(seen for seen in parts if seen is not None), strict=True)
    return tuple(map(union, axes)) or None


def _known(known: Mapping[Any, Value], variable: Any) -> Value:
    if isinstance(variable, Literal):
        return Constant(functools.partial(_itself, variable.val))
    return known.get(variable)


def _itself(value: Any) -> Any:
    return value


def _computed_later(equation: JaxprEqn, operands: Sequence[Value]) -> list[Value]:
    """Results that depend on constants alone; computed only if a rule asks for one."""
    constants = [operand for operand in operands if isinstance(operand, Constant)]
    if equation.effects or len(constants) < len(operands):
        return [None] * len(equation.outvars)

    @functools.cache
    def results() -> list[Any]:
        return _evaluated(equation, [constant.compute() for constant in constants])

    return [
        Constant(functools.partial(lambda number: results()[number], number))
        for number in range(len(equation.outvars))
    ]


def _evaluated(equation: JaxprEqn, values: Sequence[Any]) -> list[Any]:
    program = _called(equation)
    with jax.ensure_compile_time_eval():
        if program is not None:
            closed = program if isinstance(program, ClosedJaxpr) else ClosedJaxpr(program, ())
            return jaxpr_as_fun(closed)(*values)
        result = equation.primitive.bind(*map(jnp.asarray, values), **equation.params)
    return result if equation.primitive.multiple_results else [result]


_NOT_A_CALL = frozenset(
    ("cond", "scan", "while", "custom_linear_solve", "pallas_call", "shard_map", "xla_pmap")
)


def _called(equation: JaxprEqn) -> Program | None:
    """The program that an equation runs once on its operands, as jit and remat do."""
    if equation.primitive.name in _NOT_A_CALL:
        return None
    programs = [v for v in equation.params.values() if isinstance(v, (Jaxpr, ClosedJaxpr))]
    fits = [one for one in programs if len(opened(one).invars) == len(equation.invars)]
    return fits[0] if len(fits) == 1 else None


def shapes_of(variables: Sequence[Any]) -> list[Shape]:
    return [tuple(getattr(variable.aval, "shape", ())) for variable in variables]

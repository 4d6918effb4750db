"""Walking through a jaxpr, equation by equation, with what each array sees of the input."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from dilax._jaxprs import label, source_line
from dilax.analysis._field import Field, Shape, union

Seen = tuple[Field, ...] | None
"""What an array sees, a field for each input axis; None if it does not depend on the input."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """An array that depends on no argument, computed when it is asked for."""

    compute: Callable[[], Any]
    of_literals: bool = False
    """Whether numbers written in the program alone make it, and no array that came from outside."""


@dataclasses.dataclass(frozen=True)
class Equation:
    """One equation on its way through the rules: what goes in, and how to ask for more."""

    name: str
    params: dict[str, Any]
    seen: list[Seen]
    shapes: list[Shape]
    out_shapes: list[Shape]
    constants: list[Constant | None]
    trace: Trace
    label: str
    source: str

    def assume(self, what: str) -> None:
        """Say in the result what was assumed here."""
        self.trace.assumptions.setdefault(f"{self.name} at {self.source}: {what}")

    def joined(self, one: Seen, other: Seen, shape: Shape) -> Seen:
        """What two arrays of the same shape see together; a scalar sees the same everywhere."""
        if one is None or other is None:
            return one or other
        pairs = [union(a, b, shape) for a, b in zip(one, other, strict=True)]
        if not all(exact for _, exact in pairs):
            self.assume("branches that move along two axes are joined by their hull")
        return tuple(field for field, _ in pairs)

    def everywhere(self, number: int) -> Seen:
        """What all entries of an operand together see."""
        return collapsed(self.seen[number], range(len(self.shapes[number])), self.shapes[number])

    def record(self, seen: Seen) -> None:
        """Enter the equation among the layers."""
        if seen is not None:
            self.trace.layers.append((self.label, self.name, self.source, self.out_shapes[0], seen))


Rule = Callable[[Equation], list[Seen]]


class Trace:
    """What is found on the way: layers in order, and assumptions (a dict, for its order)."""

    def __init__(self, rules: dict[str, Rule]) -> None:
        self.rules = rules
        self.layers: list[tuple[str, str, str, Shape, Seen]] = []
        self.assumptions: dict[str, None] = {}
        self.prefix = ""

    def run(
        self,
        jaxpr: Jaxpr,
        consts: Sequence[Constant | None],
        seen: Sequence[Seen],
        constants: Sequence[Constant | None],
    ) -> list[Seen]:
        """What the results of a jaxpr see, from what its arguments see."""
        scope = _Scope(jaxpr, consts, seen, constants)
        for equation in jaxpr.eqns:
            inputs = [scope.seen_by(variable) for variable in equation.invars]
            if any(one is not None for one in inputs):
                results = self._apply(equation, inputs, scope)
            else:
                results = [None] * len(equation.outvars)
                scope.compute_later(equation)
            scope.seen.update(zip(equation.outvars, results, strict=True))
        return [scope.seen_by(variable) for variable in jaxpr.outvars]

    def inline(
        self, equation: Equation, inner: Any, seen: Sequence[Seen], *, first: int
    ) -> list[Seen]:
        """Run a jaxpr inside an equation, on its operands from ``first`` on."""
        constants = equation.constants[first : first + len(seen)]
        prefix, self.prefix = self.prefix, equation.label
        jaxpr = getattr(inner, "jaxpr", inner)
        consts = [given(value) for value in getattr(inner, "consts", ())]
        try:
            return self.run(jaxpr, consts, seen, constants)
        finally:
            self.prefix = prefix

    def _apply(self, equation: JaxprEqn, seen: list[Seen], scope: _Scope) -> list[Seen]:
        name = equation.primitive.name
        step = Equation(
            name,
            equation.params,
            seen,
            [_shape(variable) for variable in equation.invars],
            [_shape(variable) for variable in equation.outvars],
            [scope.constant(variable) for variable in equation.invars],
            self,
            label(self.prefix, equation),
            source_line(equation),
        )
        if rule := self.rules.get(name):
            return rule(step)
        if (inner := _called(equation)) is not None:
            return self.inline(step, inner, seen, first=0)
        raise ValueError(
            f"function applies {name} at {step.source}, through which receptive_field does not "
            f"know its way; required: operations of lax on arrays. Trace what comes before it and "
            f"after it apart."
        )


_NOT_A_CALL = {
    *("cond", "scan", "while"),
    *("custom_linear_solve", "pallas_call", "shard_map", "xla_pmap"),
}


class _Scope:
    """The variables of one jaxpr."""

    def __init__(
        self,
        jaxpr: Jaxpr,
        consts: Sequence[Constant | None],
        seen: Sequence[Seen],
        constants: Sequence[Constant | None],
    ) -> None:
        self.seen: dict[Any, Seen] = dict(zip(jaxpr.invars, seen, strict=True))
        self.constants: dict[Any, Constant | None] = dict(
            zip(jaxpr.constvars, consts, strict=False)
        )
        self.constants |= dict(zip(jaxpr.invars, constants, strict=True))

    def seen_by(self, variable: Any) -> Seen:
        return None if isinstance(variable, Literal) else self.seen.get(variable)

    def constant(self, variable: Any) -> Constant | None:
        if isinstance(variable, Literal):
            return Constant(lambda: variable.val, of_literals=np.ndim(variable.val) == 0)
        return self.constants.get(variable)

    def compute_later(self, equation: JaxprEqn) -> None:
        found = [self.constant(variable) for variable in equation.invars]
        operands = [operand for operand in found if operand is not None]
        if equation.effects or len(operands) < len(found):
            return
        literal = all(operand.of_literals for operand in operands)

        @functools.cache
        def results() -> list[Any]:
            return _evaluated(equation, [operand.compute() for operand in operands])

        for number, variable in enumerate(equation.outvars):
            compute = functools.partial(lambda number: results()[number], number)
            self.constants[variable] = Constant(compute, literal)


def collapsed(seen: Seen, axes: Sequence[int], shape: Shape) -> Seen:
    """What all entries along ``axes`` together see, in fields numbered as before."""
    return each(seen, lambda field: field.collapsed(axes, shape))


def each(seen: Seen, change: Callable[[Field], Field]) -> Seen:
    """Every field changed; None if that leaves nothing to be seen."""
    if seen is None:
        return None
    fields = tuple(change(field) for field in seen)
    return None if any(field.empty for field in fields) else fields


def given(value: Any) -> Constant:
    """A constant that came from outside."""
    return Constant(lambda: value)


def _evaluated(equation: JaxprEqn, values: Sequence[Any]) -> list[Any]:
    inner = _called(equation)
    with jax.ensure_compile_time_eval():
        if inner is not None:
            closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
            return jaxpr_as_fun(closed)(*values)
        result = equation.primitive.bind(*map(jnp.asarray, values), **equation.params)
    many = equation.primitive.multiple_results
    return result if many else [result]


def _called(equation: JaxprEqn) -> Jaxpr | ClosedJaxpr | None:
    """The jaxpr that an equation runs once on its operands, as jit and remat do."""
    if equation.primitive.name in _NOT_A_CALL:
        return None
    inner = [v for v in equation.params.values() if isinstance(v, (Jaxpr, ClosedJaxpr))]
    fits = [one for one in inner if _arguments(one) == len(equation.invars)]
    return fits[0] if len(fits) == 1 else None


def _shape(variable: Any) -> Shape:
    return tuple(getattr(variable.aval, "shape", ()))


def _arguments(jaxpr: Jaxpr | ClosedJaxpr) -> int:
    return len(jaxpr.jaxpr.invars if isinstance(jaxpr, ClosedJaxpr) else jaxpr.invars)

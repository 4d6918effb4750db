"""Rewriting of a traced program to a faster one with the same arguments and results.

Nothing is evaluated. An equation that a rule replaces becomes one call of a jitted function, and
programs inside an equation, such as the body of a loop, are rewritten. All other equations remain
the same objects, with their parameters, effects, context and source.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from dilax._accelerate.calls import UntraceableError, trace
from dilax._accelerate.internals import (
    equations,
    evaluate,
    with_custom_rules,
    with_equations,
)
from dilax._accelerate.replacing import REPLACED, as_call, gives_its_types, in_place_of
from dilax._accelerate.rule import Equation, Left, Replacement
from dilax._accelerate.rules import RULES
from dilax._accelerate.sums import REARRANGED, Definitions, rearranged
from dilax._functions.using import algorithm_in_use
from dilax._jaxprs import Program, opened
from dilax.algorithms import lax

ENTERED = frozenset(
    {
        "jit",
        "pjit",
        "closed_call",
        "core_call",
        "remat2",
        "checkpoint",
        "scan",
        "while",
        "cond",
        "custom_jvp_call",
        "custom_vjp_call",
    }
)
"""Primitives whose programs mean what they say; any other is bound exactly as it was."""


class Rewriter:
    """Rewrites programs, each of them once."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Program, Program] = weakref.WeakKeyDictionary()

    def __call__(self, program: Program) -> Program:
        """Return the faster program; the same object if there is nothing to do."""
        if program not in self._known:
            self._known[program] = self._rewritten(program)
        return self._known[program]

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, str]:
        """Call a function, rewritten; if it cannot be traced, call it unchanged and say why."""
        try:
            traced = trace(function, args, kwargs)
        except UntraceableError as error:
            reason = str(error)
        else:
            return traced.result(evaluate(self(traced.program))), ""
        return function(*args, **kwargs), reason

    def rewrite(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Rewrite ``function`` at each call, as part of the program that is being traced."""
        return lambda *args: self.call(function, *args)[0]

    def __reduce__(self) -> tuple[type, tuple]:
        """Pickle without what is known, so that accelerated functions can be pickled."""
        return Rewriter, ()

    def _rewritten(self, program: Program) -> Program:
        old = equations(program)
        given = Definitions.of(old, opened(program).outvars)
        new = [self._equation(equation, given) for equation in old]
        same = all(a is b for a, b in zip(old, new, strict=True))
        return program if same else with_equations(program, new)

    def _equation(self, equation: JaxprEqn, given: Definitions) -> JaxprEqn:
        if equation.primitive.name in RULES:
            outcome = decide(equation)
            if isinstance(outcome, Left):
                return equation
            return in_place_of(equation, outcome[1], equation.invars)
        if equation.primitive.name in REARRANGED and algorithm_in_use() is not lax:
            return rearranged(equation, given) or equation
        if not is_entered(equation):
            return equation
        params = {name: self._parameter(value) for name, value in equation.params.items()}
        if equation.primitive.name.startswith("custom"):
            params = with_custom_rules(params, self, self.rewrite)
        same = all(params[name] is value for name, value in equation.params.items())
        return equation if same else equation.replace(params=params)

    def _parameter(self, value: Any) -> Any:
        if isinstance(value, (Jaxpr, ClosedJaxpr)):
            return self(value)
        if isinstance(value, tuple) and any(isinstance(i, (Jaxpr, ClosedJaxpr)) for i in value):
            return tuple(self._parameter(item) for item in value)
        return value


def is_entered(equation: JaxprEqn) -> bool:
    """Whether the programs that an equation holds are looked into."""
    replaced = str(equation.params.get("name", "")).startswith(REPLACED)
    return equation.primitive.name in ENTERED and not replaced


# --- one equation ---------------------------------------------------------------------------------


def decide(equation: JaxprEqn) -> tuple[Replacement, JaxprEqn] | Left:
    """What its rule makes of an equation: a call to put in its place, or why it stays."""
    operands = tuple(variable.aval for variable in equation.invars)
    results = tuple(variable.aval for variable in equation.outvars)
    params = tuple(sorted(equation.params.items()))
    if algorithm_in_use() is lax:
        return Left("dilax uses lax here")
    context = (jax.sharding.get_abstract_mesh(), jax.config.jax_enable_x64, algorithm_in_use())  # type: ignore[attr-defined]
    try:
        hash(params)
    except TypeError:
        return Left("a parameter that dilax does not know")
    return _decide(equation.primitive, operands, results, params, context)


@functools.lru_cache(maxsize=1024)
def _decide(
    primitive: Any, operands: tuple, results: tuple, params: tuple, context: tuple
) -> tuple[Replacement, JaxprEqn] | Left:
    """Equal equations share one call, so that it is traced and compiled once."""
    del context  # what else the call depends on
    equation = Equation(primitive, operands, results, dict(params))
    outcome = RULES[primitive.name](equation)
    if isinstance(outcome, Left):
        return outcome
    call = as_call(outcome.compute, primitive.name, operands)
    if not gives_its_types(call, results):
        return Left("dilax would give its result another type")
    return outcome, call

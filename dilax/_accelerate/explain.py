"""The report of what ``accelerate`` replaces in a function, what it does not, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from jax.extend.core import JaxprEqn

from dilax._accelerate.calls import UntraceableError, trace
from dilax._accelerate.internals import equations
from dilax._accelerate.rewriter import decide, is_entered
from dilax._accelerate.rule import Left, Passes
from dilax._accelerate.rules import RULES
from dilax._checks import check_callable
from dilax._jaxprs import Program, inner_programs, source_line


@dataclasses.dataclass(frozen=True)
class Finding:
    """One convolution or pool of a function, and how ``accelerate`` computes it.

    ``where`` is its path from the function's body inwards, such as ``scan/jit(relu)``, and
    ``source`` is the line of code that it comes from. ``passes`` pairs each pass with the algorithm
    that computes it on the default platform. If the operation is not replaced, ``passes`` is empty
    and ``reason`` says why.
    """

    where: str
    source: str
    primitive: str
    operands: tuple[tuple[int, ...], ...]
    result: tuple[int, ...]
    dtype: str
    passes: Passes
    reason: str

    @property
    def replaced(self) -> bool:
        """Whether ``accelerate`` replaces the operation."""
        return not self.reason


@dataclasses.dataclass(frozen=True)
class Explanation:
    """All convolutions and pools of a function, in order; printed, it is a table.

    If the function cannot be traced, ``untraceable`` says why, and ``accelerate`` calls it
    unchanged.
    """

    findings: tuple[Finding, ...]
    untraceable: str = ""

    def __str__(self) -> str:
        if self.untraceable:
            return f"called as it is, for it cannot be traced: {self.untraceable}"
        if not self.findings:
            return "no convolution and no pool found"
        count = sum(finding.replaced for finding in self.findings)
        rows: list[tuple[str, ...]] = [
            ("where", "operation", "shapes", "type", "becomes", "source")
        ]
        rows += [_row(finding) for finding in self.findings]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(map(str.ljust, row, widths)).rstrip()
            for row in (*rows[:1], tuple("-" * width for width in widths), *rows[1:])
        ]
        return "\n".join([*lines, f"{count} of {len(self.findings)} replaced"])


def explain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """List the convolutions and pools of a call, and how ``accelerate`` computes each of them.

    Nothing is computed: ``args`` may hold ``jax.ShapeDtypeStruct`` for arrays.

    Args:
        function: The function, not accelerated.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Returns:
        An ``Explanation``; printed, it is a table.

    Raises:
        TypeError: ``function`` is not callable. If it cannot be traced, the result says so.

    >>> import jax, jax.numpy as jnp
    >>> from jax import lax
    >>> def f(x):
    ...     return lax.conv_general_dilated(x, jnp.ones((4, 4, 3), int), (1,), "SAME")
    >>> explanation = explain(f, jax.ShapeDtypeStruct((2, 4, 9), jnp.int32))
    >>> explanation.findings[0].reason
    'dilax computes floats, these are int32 and int32'
    """
    check_callable(function, "function")
    try:
        program = trace(function, args, kwargs).program
    except UntraceableError as error:
        return Explanation((), untraceable=str(error))
    return Explanation(tuple(_findings(program, path=(), entered=True)))


def _findings(program: Program, path: tuple[str, ...], entered: bool) -> Iterator[Finding]:
    for equation in equations(program):
        if equation.primitive.name in RULES:
            yield _finding(equation, path, entered)
            continue
        for inner in inner_programs(equation):
            name = equation.params.get("name")
            step = f"{equation.primitive.name}({name})" if name else equation.primitive.name
            yield from _findings(inner, (*path, step), entered and is_entered(equation))


def _finding(equation: JaxprEqn, path: tuple[str, ...], entered: bool) -> Finding:
    outcome = decide(equation) if entered else Left("in a body that is not looked into")
    shaped: tuple[Any, ...] = tuple(v.aval for v in (*equation.invars, *equation.outvars))
    *operands, result = shaped
    return Finding(
        where="/".join(path),
        source=source_line(equation),
        primitive=equation.primitive.name,
        operands=tuple(tuple(operand.shape) for operand in operands),
        result=tuple(result.shape),
        dtype=str(result.dtype),
        passes=() if isinstance(outcome, Left) else outcome[0].passes,
        reason=outcome.reason if isinstance(outcome, Left) else "",
    )


def _row(finding: Finding) -> tuple[str, ...]:
    shapes = ", ".join("x".join(map(str, shape)) for shape in finding.operands)
    by = ", ".join(f"{name}: {how}" for name, how in finding.passes)
    return (
        finding.where or ".",
        finding.primitive,
        f"{shapes} -> {'x'.join(map(str, finding.result))}",
        finding.dtype,
        by if finding.replaced else f"left: {finding.reason}",
        finding.source,
    )

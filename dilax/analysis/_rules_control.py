"""What an array sees after a branch or a loop."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from dilax.analysis._field import Field, Shape
from dilax.analysis._trace import Equation, Rule, Seen, collapsed, each
from dilax.analysis._walk import same

ROUNDS = 16
"""Rounds of a loop of unknown length after which its fields must have stopped to grow."""


def cond(step: Equation) -> list[Seen]:
    """What any branch sees, and the index that chooses."""
    results: list[Seen] = [step.everywhere(0)] * len(step.out_shapes)
    for branch in step.params["branches"]:
        taken = step.trace.inline(step, branch, step.seen[1:], first=1)
        results = _joined(step, results, taken, step.out_shapes)
    return results


def scan(step: Equation) -> list[Seen]:
    """The body as often as it runs; a scanned axis that follows the input is taken as a whole."""
    consts, carries = _parts_of_scan(step)
    first = consts + carries
    fixed, carry = step.seen[:consts], step.seen[consts:first]
    slices = [_scanned(step, number) for number in range(first, len(step.seen))]
    stacked: list[Seen] = [None] * (len(step.out_shapes) - carries)
    for _ in range(step.params["length"]):
        results = _body(step, step.params["jaxpr"], [*fixed, *carry, *slices])
        shapes = [shape[1:] for shape in step.out_shapes[carries:]]
        stacked = _joined(step, stacked, results[carries:], shapes)
        settled = _equal(carry, results[:carries])
        carry = results[:carries]
        if settled:
            break
    return [*carry, *(_unscanned(seen) for seen in stacked)]


def _parts_of_scan(step: Equation) -> tuple[int, int]:
    """How many operands are constants, and how many carries.

    By the ranks: what is scanned has an axis more outside of the body than in it. (Versions of JAX
    differ in how the parameters say it.)
    """
    body = getattr(step.params["jaxpr"], "jaxpr", step.params["jaxpr"])
    inside = [len(variable.aval.shape) for variable in body.outvars]
    carries = sum(len(o) == rank for o, rank in zip(step.out_shapes, inside, strict=True))
    inside = [len(variable.aval.shape) for variable in body.invars]
    still = sum(len(one) == rank for one, rank in zip(step.shapes, inside, strict=True))
    return still - carries, carries


def _body(step: Equation, body: Any, seen: Sequence[Seen]) -> list[Seen]:
    """A loop's body once; what is constant outside may differ from round to round inside."""
    unknown: list[Any] = [None] * len(seen)
    from_round = Equation(
        step.name, step.params, list(seen), [], [], unknown, step.trace, step.label, step.source
    )
    return step.trace.inline(from_round, body, seen, first=0)


def _scanned(step: Equation, number: int) -> Seen:
    shape, seen = step.shapes[number], step.seen[number]
    if any(0 in field.walks for field in seen or ()):
        step.assume("whole axis 0 assumed, over which the loop runs")
    axes = {axis: axis - 1 for axis in range(1, len(shape))}
    return each(collapsed(seen, [0], shape), lambda field: field.renumbered(axes))


def _unscanned(seen: Seen) -> Seen:
    def change(field: Field) -> Field:
        return field.renumbered({axis: axis + 1 for axis in field.walks})

    return each(seen, change)


def while_(step: Equation) -> list[Seen]:
    """The body until the fields no longer grow; if they go on growing, everything."""
    tests, consts = step.params["cond_nconsts"], step.params["body_nconsts"]
    fixed, carry = step.seen[tests : tests + consts], list(step.seen[tests + consts :])
    before = dict(step.trace.assumptions)
    for _ in range(ROUNDS):
        after = _body(step, step.params["body_jaxpr"], [*fixed, *carry])
        after = _joined(step, carry, after, step.out_shapes)
        if _equal(carry, after):
            return _tested(step, carry)
        carry = after
    step.trace.assumptions.clear()
    step.trace.assumptions.update(before)
    step.assume("whole axes assumed, for nobody knows how often the loop runs")
    whole = [each(seen, lambda field: Field(field.length, (0, field.length - 1), {}))
             for seen in carry]  # fmt: skip
    return _tested(step, whole)


def _tested(step: Equation, carry: list[Seen]) -> list[Seen]:
    """When a loop ends depends on what its test sees."""
    tests = step.params["cond_nconsts"]
    seen = [*step.seen[:tests], *carry]
    (test,) = _body(step, step.params["cond_jaxpr"], seen)
    return _joined(step, carry, [test] * len(carry), step.out_shapes)


def _joined(
    step: Equation, some: Sequence[Seen], others: Sequence[Seen], shapes: Sequence[Shape]
) -> list[Seen]:
    return [step.joined(*each) for each in zip(some, others, shapes, strict=True)]


def _equal(some: Sequence[Seen], others: Sequence[Seen]) -> bool:
    return all(
        (one is None) == (other is None)
        and all(itertools.starmap(_same, zip(one or (), other or (), strict=True)))
        for one, other in zip(some, others, strict=True)
    )


def _same(one: Field, other: Field) -> bool:
    return (
        one.interval == other.interval
        and set(one.walks) == set(other.walks)
        and all(same(walk, other.walks[axis]) for axis, walk in one.walks.items())
    )


RULES: dict[str, Rule] = {"cond": cond, "scan": scan, "while": while_}

"""What results of branches and loops see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jax.extend.core import Jaxpr

from dilax._jaxprs import Program, opened
from dilax.analysis._field import in_place, source, whole
from dilax.analysis._reading import read
from dilax.analysis._tables import tables
from dilax.analysis._trace import (
    Equation,
    Seen,
    Shape,
    Value,
    joined,
    seen_of,
    seen_through,
    shapes_of,
)

ROUNDS = 16
"""Rounds of a loop of unknown length after which its fields must have stopped growing."""


def cond(step: Equation) -> list[Seen]:
    """What any branch sees, and the index that chooses between them."""
    choice = seen_through([(step.seen[0], {})])
    branches = [_run(step, branch, step.values[1:]) for branch in step.params["branches"]]
    return [joined(choice, *results) for results in zip(*branches, strict=True)]


def scan(step: Equation) -> list[Seen]:
    """What the body sees, run as often as the loop; a scanned axis is taken as a whole."""
    body = step.params["jaxpr"]
    consts, carries = _parts_of_scan(step, opened(body))
    fixed, carry = step.values[:consts], list(step.seen[consts : consts + carries])
    slices = [_scanned(step, number) for number in range(consts + carries, len(step.values))]
    stacked: list[tuple[Seen, ...]] = []
    for number in range(step.params["length"]):
        results = _run(step, body, _varying([*fixed, *carry, *slices]))
        before, carry = carry, results[:carries]
        stacked.append(tuple(results[carries:]))
        # Comparing follows all rounds back to the input: it's done after 1, 2, 4, ... of them.
        if number & (number + 1) == 0 and _alike(before, carry, step.out_shapes[:carries]):
            break
    return [*carry, *(_unscanned(joined(*parts)) for parts in zip(*stacked, strict=True))]


def _parts_of_scan(step: Equation, body: Jaxpr) -> tuple[int, int]:
    """How many operands are constants, and how many carries.

    By the ranks: what is scanned has an axis more outside of the body than in it. (Versions of JAX
    differ in how the parameters say it.)
    """
    inside = [len(shape) for shape in shapes_of(body.outvars)]
    carries = sum(len(o) == rank for o, rank in zip(step.out_shapes, inside, strict=True))
    inside = [len(shape) for shape in shapes_of(body.invars)]
    still = sum(len(one) == rank for one, rank in zip(step.shapes, inside, strict=True))
    return still - carries, carries


def _scanned(step: Equation, number: int) -> Seen:
    if step.differs_along(number, 0):
        step.assume("whole axis 0 assumed, because the loop runs over it")
    first, *others = step.shapes[number]
    reads = {0: whole(first), **{axis + 1: in_place(axis) for axis in range(len(others))}}
    return seen_through([(step.seen[number], reads)])


def _unscanned(seen: Seen) -> Seen:
    axes = {axis for field in seen or () for axis in field.axes}
    return seen_through([(seen, {axis: in_place(axis + 1) for axis in axes})])


def while_(step: Equation) -> list[Seen]:
    """What the body sees, run until the fields stop growing; everything, if they do not."""
    tests, consts = step.params["cond_nconsts"], step.params["body_nconsts"]
    fixed, carry = step.values[tests : tests + consts], list(step.seen[tests + consts :])
    assumptions = dict(step.trace.assumptions)
    for _ in range(ROUNDS):
        after = _run(step, step.params["body_jaxpr"], _varying([*fixed, *carry]))
        after = [joined(*pair) for pair in zip(carry, after, strict=True)]
        if _alike(carry, after, step.out_shapes):
            break
        carry = after
    else:
        step.trace.assumptions = assumptions
        step.assume("whole axes assumed, because it is unknown how often the loop runs")
        carry = [_everything(seen) for seen in carry]
    (test,) = _run(step, step.params["cond_jaxpr"], _varying([*step.values[:tests], *carry]))
    return [joined(seen, test) for seen in carry]


def _everything(seen: Seen) -> Seen:
    lengths = (field.length for field in seen or ())
    return tuple(read(source(length, 0), {0: whole(length)}) for length in lengths) or None


def _run(step: Equation, program: Program, values: Sequence[Value]) -> list[Seen]:
    return [seen_of(value) for value in step.inline(program, values)]


def _varying(values: Sequence[Value]) -> list[Value]:
    """Arrays inside of a loop: a constant outside may differ from round to round."""
    return [seen_of(value) for value in values]


def _alike(some: Sequence[Seen], others: Sequence[Seen], shapes: Sequence[Shape]) -> bool:
    """Whether every entry of some arrays sees the same."""
    asked = []
    for one, other, shape in zip(some, others, shapes, strict=True):
        if (one is None) != (other is None):
            return False
        for pair in zip(one or (), other or (), strict=True):
            if pair[0].axes != pair[1].axes:
                return False
            box = {axis: (0, shape[axis]) for axis in pair[0].axes}
            asked += [(field, box) for field in pair if pair[0] is not pair[1]]
    found = tables(asked)
    return all(map(np.array_equal, found[::2], found[1::2]))


OTHERS = {"cond": cond, "scan": scan, "while": while_}

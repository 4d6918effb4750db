"""What an array sees after a computation over whole axes: sums, products, sorting, transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dilax.analysis._field import Field
from dilax.analysis._rules_shapes import without
from dilax.analysis._trace import Equation, Rule, Seen, collapsed, each
from dilax.analysis._walk import NOTHING


def reduction(step: Equation) -> list[Seen]:
    """Axes summed out: the whole of them."""
    axes = step.params["axes"] if "axes" in step.params else step.params["dimensions"]
    arrays = len(step.out_shapes)
    seen: Seen = None
    for number, one in enumerate(step.seen):
        part = without(one, axes, step.shapes[number]) if number < arrays else one
        seen = step.joined(seen, part, step.out_shapes[0])
    if _followed(step.seen[0], axes):
        step.record(seen)
    return [seen] * arrays


def _followed(seen: Seen, axes: Sequence[int]) -> bool:
    """Whether the field moves along an axis at a steady rate."""
    return any(not w.bounded for field in seen or () for a, w in field.walks.items() if a in axes)


def dot_general(step: Equation) -> list[Seen]:
    """Contracted axes whole, or a band where the other operand is a table of constants."""
    contracted, batch = step.params["dimension_numbers"]
    out = step.out_shapes[0]
    seen: Seen = None
    for side in (0, 1):
        rank, others = len(step.shapes[side]), len(step.shapes[1 - side])
        gone, shared = contracted[side], batch[side]
        free = [a for a in range(rank) if a not in (*gone, *shared)]
        first = len(shared) + (side and others - len(gone) - len(shared))
        axes = {axis: place for place, axis in enumerate(shared)}
        axes |= {axis: first + place for place, axis in enumerate(free)}
        part = _banded(step, side, axes) if len(gone) == 1 and not shared else None
        if part is None:
            part = collapsed(step.seen[side], gone, step.shapes[side])
            part = each(part, lambda field, axes=axes: field.renumbered(axes))  # type: ignore[misc]
        seen = step.joined(seen, part, out)
    return [seen]


def _banded(step: Equation, side: int, axes: dict[int, int]) -> Seen:
    """What is seen through weights that no argument and no parameter has a part in."""
    (axis,) = step.params["dimension_numbers"][0][side]
    (other,) = step.params["dimension_numbers"][0][1 - side]
    weights, shape = step.constants[1 - side], step.shapes[1 - side]
    seen = step.seen[side]
    followed = any(axis in field.walks for field in seen or ())
    if not followed or weights is None or not weights.of_literals or len(shape) != 2:
        return None
    table = np.moveaxis(np.asarray(weights.compute()), other, 0) != 0
    target = 0 if side else len(step.out_shapes[0]) - 1
    return each(seen, lambda field: _through(field, axis, table, axes, target))


def _through(
    field: Field, axis: int, table: np.ndarray, axes: dict[int, int], target: int
) -> Field:
    rest = {a: walk for a, walk in field.walks.items() if a != axis}
    if axis not in field.walks:
        return field.renumbered(axes)
    low, high = (end[:, None] for end in field.walks[axis].at(np.arange(len(table))))
    low = np.where(table, low, NOTHING).min(axis=0)
    high = np.where(table, high, -NOTHING).max(axis=0)
    kept = Field(field.length, field.interval, rest).renumbered(axes)
    return kept.table(target, low, high)


def cumulative(step: Equation) -> list[Seen]:
    """All up to here, or from here on."""
    axis, backward = step.params["axis"], step.params["reverse"]
    size = step.out_shapes[0][axis]

    def change(field: Field) -> Field:
        if axis not in field.walks:
            return field
        low, high = field.walks[axis].at(np.arange(size)[:: -1 if backward else 1])
        low, high = np.minimum.accumulate(low), np.maximum.accumulate(high)
        turned = slice(None, None, -1 if backward else 1)
        return field.table(axis, low[turned], high[turned])

    return [each(step.seen[0], change)]


def whole_axes(step: Equation, axes: Sequence[int]) -> list[Seen]:
    """Every result sees the whole of some axes of all operands."""
    seen: Seen = None
    for one, shape in zip(step.seen, step.shapes, strict=True):
        seen = step.joined(seen, collapsed(one, axes, shape), step.out_shapes[0])
    return [seen] * len(step.out_shapes)


def sort(step: Equation) -> list[Seen]:
    """Anywhere along the axis it may come from."""
    return whole_axes(step, [step.params["dimension"]])


def top_k(step: Equation) -> list[Seen]:
    """Anywhere along the axis it may come from."""
    return whole_axes(step, [len(step.shapes[0]) - 1])


def fft(step: Equation) -> list[Seen]:
    """The last axes whole."""
    rank = len(step.shapes[0])
    return whole_axes(step, range(rank - len(step.params["fft_lengths"]), rank))


RULES: dict[str, Rule] = {
    **{f"reduce_{name}": reduction for name in ("sum", "max", "min", "prod", "and", "or", "xor")},
    **dict.fromkeys(("reduce", "argmax", "argmin"), reduction),
    "dot_general": dot_general,
    **{f"cum{name}": cumulative for name in ("sum", "prod", "max", "min", "logsumexp")},
    "sort": sort,
    "top_k": top_k,
    "fft": fft,
}

"""What an array sees after indexing: exactly where the indices are constants, else the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dilax.analysis._field import Field
from dilax.analysis._rules_shapes import along
from dilax.analysis._trace import Equation, Rule, Seen, collapsed, each
from dilax.analysis._walk import Walk

ASSUMED = "whole axis {} assumed, for its indices cannot be followed"


def dynamic_slice(step: Equation) -> list[Seen]:
    """A slice where the start is constant; else anything along the axes it is shorter than."""
    old, new = step.shapes[0], step.out_shapes[0]
    starts = _integers(step, range(1, 1 + len(old)))
    shorter = [axis for axis in range(len(old)) if old[axis] != new[axis]]
    if starts is None:
        seen = _whole(step, step.seen[0], shorter)
    else:
        limits = [min(max(s, 0), n - m) for s, n, m in zip(starts, old, new, strict=True)]
        seen = each(step.seen[0], lambda field: _shifted(field, limits, new))
    return [_and_indices(step, seen, first=1)]


def dynamic_update_slice(step: Equation) -> list[Seen]:
    """The operand, and in the slice the update."""
    whole, part = step.shapes[:2]
    starts = _integers(step, range(2, 2 + len(whole)))
    shorter = [axis for axis in range(len(whole)) if whole[axis] != part[axis]]
    if starts is None:
        update = _whole(step, step.seen[1], shorter, number=1)
    else:
        update = each(step.seen[1], lambda field: _placed(field, starts, part, whole))
    seen = step.joined(step.seen[0], update, step.out_shapes[0])
    return [_and_indices(step, seen, first=2)]


def gather(step: Equation) -> list[Seen]:
    """What constant indices pick out; of axes that others index, the whole."""
    numbers, sizes = step.params["dimension_numbers"], step.params["slice_sizes"]
    shape, out = step.shapes[0], step.out_shapes[0]
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(len(shape)) if axis not in dropped]
    axes = dict(zip(kept, numbers.offset_dims, strict=True))
    places = [axis for axis in range(len(out)) if axis not in numbers.offset_dims]
    lines = _lines(step)
    lost = [
        axis
        for axis in range(len(shape))
        if (axis in dropped or sizes[axis] != shape[axis])
        and (axis not in lines or (axis in axes and len(lines[axis][1]) > 1))
    ]
    seen = _whole(step, step.seen[0], lost)
    seen = each(seen, lambda field: _picked(field, lines, axes, places, sizes))
    return [step.joined(seen, _by_indices(step, places), out)]


def _lines(step: Equation) -> dict[int, tuple[int, np.ndarray]]:
    """For axes with constant indices that vary along one axis of theirs: which, and the indices."""
    constant = step.constants[1]
    numbers, sizes = step.params["dimension_numbers"], step.params["slice_sizes"]
    if constant is None:
        return {}
    grid, lines = np.asarray(constant.compute()), {}
    for number, axis in enumerate(numbers.start_index_map):
        indices = grid[..., number].clip(0, step.shapes[0][axis] - sizes[axis])
        varying = [a for a in range(indices.ndim) if (indices != indices.take([0], a)).any()]
        if len(varying) <= 1:
            along_axis = varying[0] if varying else 0
            first = tuple(slice(None) if a in varying else 0 for a in range(indices.ndim))
            lines[axis] = along_axis, np.atleast_1d(indices[first])
    used = [place for place, line in lines.values() if len(line) > 1]
    return lines if len(set(used)) == len(used) else {}


def _picked(
    field: Field,
    lines: dict[int, tuple[int, np.ndarray]],
    axes: dict[int, int],
    places: Sequence[int],
    sizes: Sequence[int],
) -> Field:
    moved = dict(axes)
    for axis, (place, line) in lines.items():
        if axis in axes:
            field = along(field, axis, sizes[axis], first=int(line[0]))
        elif len(line) == 1:
            field = along(field, axis, 1, first=int(line[0])).collapsed([axis], (1,) * (axis + 1))
        else:
            field = field.with_axis(axis, lambda walk, line=line: _taken(walk, line))  # type: ignore[misc]
            moved[axis] = places[place]
    return field.renumbered(moved)


def _taken(walk: Walk, indices: np.ndarray) -> Walk:
    """A slice, where the indices are evenly spaced; else a table."""
    steps = np.diff(indices)
    if (steps == steps[0]).all():
        return walk.window(len(indices), step=int(steps[0]), first=int(indices[0]))
    return Walk(*walk.at(indices), bounded=True)


def _by_indices(step: Equation, places: Sequence[int]) -> Seen:
    """What the indices see: each picks what lies at its own place, as in an embedding."""
    shape = step.shapes[1]
    axes = dict(enumerate(places))
    seen = collapsed(step.seen[1], [len(shape) - 1], shape)
    return each(seen, lambda field: field.renumbered(axes))


def scatter(step: Equation) -> list[Seen]:
    """The operand, and anywhere along the axes that are indexed, the updates."""
    numbers = step.params["dimension_numbers"]
    shape, update = step.shapes[0], step.shapes[2]
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(len(shape)) if axis not in gone]
    axes = dict(zip(numbers.update_window_dims, kept, strict=True))
    whole = [a for a, axis in axes.items() if update[a] == shape[axis]]
    lost = [axis for axis in range(len(update)) if axis not in whole]
    updates = each(_whole(step, step.seen[2], lost, number=2), lambda f: f.renumbered(axes))
    seen = step.joined(step.seen[0], updates, step.out_shapes[0])
    return [step.joined(seen, step.everywhere(1), step.out_shapes[0])]


def _whole(step: Equation, seen: Seen, axes: Sequence[int], *, number: int = 0) -> Seen:
    """The whole of some axes, which is said where they are followed."""
    followed = {axis for field in seen or () for axis in field.walks} & set(axes)
    for axis in sorted(followed):
        step.assume(ASSUMED.format(axis))
    return collapsed(seen, axes, step.shapes[number])


def _and_indices(step: Equation, seen: Seen, *, first: int) -> Seen:
    """What the indices see, the results see too."""
    for number in range(first, len(step.seen)):
        seen = step.joined(seen, step.everywhere(number), step.out_shapes[0])
    return seen


def _integers(step: Equation, numbers: Sequence[int]) -> list[int] | None:
    constants = [step.constants[number] for number in numbers]
    if any(constant is None for constant in constants):
        return None
    return [int(constant.compute()) for constant in constants if constant is not None]


def _shifted(field: Field, starts: Sequence[int], shape: Sequence[int]) -> Field:
    for axis, start in enumerate(starts):
        field = along(field, axis, shape[axis], first=start)
    return field


def _placed(
    field: Field, starts: Sequence[int], part: Sequence[int], whole: Sequence[int]
) -> Field:
    """A part in its place, with nothing seen around it."""
    for axis, walk in field.walks.items():
        if part[axis] != whole[axis]:
            low, high = walk.at(np.arange(part[axis]))
            field = field.table(axis, low, high)
    return _shifted(field, [-start for start in starts], whole)


RULES: dict[str, Rule] = {
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "gather": gather,
    **dict.fromkeys(("scatter", "scatter_mul", "scatter_min", "scatter_max"), scatter),
    **dict.fromkeys(("scatter-add", "scatter_add", "scatter_sub", "scatter-update"), scatter),
}

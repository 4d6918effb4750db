"""At which positions indexing reads: exactly where the indices are constants, else everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dilax.analysis._field import Read, Reads, in_place, whole
from dilax.analysis._rules import part_of, slices
from dilax.analysis._rules_constants import varying_axes
from dilax.analysis._trace import Equation


def dynamic_slice(step: Equation) -> Sequence[Reads]:
    """From a start on that is constant; else everywhere along the axes that get shorter."""
    old, new = step.shapes[0], step.out_shapes[0]
    starts = _starts(step, 1, old, new)
    shorter = [axis for axis in range(len(old)) if old[axis] != new[axis]]
    operand = slices(starts) if starts else _everywhere(step, 0, shorter)
    return [operand, *[{}] * len(old)]


def dynamic_update_slice(step: Equation) -> Sequence[Reads]:
    """The operand, and in the slice the update."""
    old, new = step.shapes[:2]
    starts = _starts(step, 2, old, new)
    shorter = [axis for axis in range(len(old)) if old[axis] != new[axis]]
    if starts:
        ends = {axis: (starts[axis], starts[axis] + new[axis]) for axis in shorter}
        placed = {axis: part_of(axis, start, start, stop) for axis, (start, stop) in ends.items()}
        update = {**step.in_place(1), **placed}
    else:
        update = _everywhere(step, 1, shorter)
    return [step.in_place(0), update, *[{}] * len(old)]


def gather(step: Equation) -> Sequence[Reads]:
    """What constant indices pick out; of axes that others index, all."""
    numbers, sizes = step.params["dimension_numbers"], step.params["slice_sizes"]
    shape, rank = step.shapes[0], len(step.out_shapes[0])
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(len(shape)) if axis not in dropped]
    offsets = dict(zip(kept, numbers.offset_dims, strict=True))
    places = [axis for axis in range(rank) if axis not in numbers.offset_dims]
    reads = {axis: in_place(place) for axis, place in offsets.items()}
    batched = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    reads |= {axis: in_place(places[own]) for axis, own in batched}
    constant = step.constant(1)
    table = None if constant is None else np.asarray(constant.compute())
    if table is None or not table.size:
        moved = [a for a in numbers.start_index_map if a in dropped or sizes[a] != shape[a]]
        everywhere = _everywhere(step, 0, moved)
        reads |= {axis: everywhere[axis] for axis in moved}
    else:
        for number, axis in enumerate(numbers.start_index_map):
            starts = table[..., number].clip(0, shape[axis] - sizes[axis])
            reads[axis] = _from_table(starts, places, offsets.get(axis))
    indices = {axis: in_place(place) for axis, place in enumerate(places)}
    return [reads, {**indices, len(places): whole(step.shapes[1][-1])}]


def _from_table(starts: np.ndarray, places: Sequence[int], offset: int | None) -> Read:
    """From constant starts on, which lie in the result along ``places``.

    >>> _from_table(np.array([4, 0, 7]), [1], None).positions(np.array([[0], [2]]))
    array([[4],
           [7]])
    """
    varying = varying_axes(starts)
    starts = starts[tuple(slice(None) if n in varying else 0 for n in range(starts.ndim))]
    axes = tuple(places[n] for n in varying)

    def positions(*indices: np.ndarray) -> np.ndarray:
        first = starts[indices[: len(axes)]]
        return np.atleast_1d(first) if offset is None else first + indices[-1]

    return Read(axes if offset is None else (*axes, offset), positions, bounded=axes)


def scatter(step: Equation) -> Sequence[Reads]:
    """The operand, and everywhere along the axes that are indexed, the updates."""
    numbers = step.params["dimension_numbers"]
    shape, update = step.shapes[0], step.shapes[2]
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(len(shape)) if axis not in gone]
    axes = dict(zip(numbers.update_window_dims, kept, strict=True))
    full = {a: in_place(axis) for a, axis in axes.items() if update[a] == shape[axis]}
    indexed = [axis for axis in range(len(update)) if axis not in full]
    updates = {**_everywhere(step, 2, indexed), **full}
    return [step.in_place(0), step.everywhere(1), updates]


def _everywhere(step: Equation, number: int, axes: Sequence[int]) -> dict[int, Read]:
    """Some axes everywhere, which is said where it may be too much; the others in place."""
    for axis in axes:
        if step.differs_along(number, axis):
            step.assume(f"whole axis {axis} assumed, because its indices cannot be followed")
    return {**step.in_place(number), **{axis: whole(step.shapes[number][axis]) for axis in axes}}


def _starts(step: Equation, first: int, old: Sequence[int], new: Sequence[int]) -> list[int] | None:
    """Constant starts, moved so that a slice of the size ``new`` fits; None if one is unknown."""
    constants = [step.constant(number) for number in range(first, first + len(old))]
    starts = [int(constant.compute()) for constant in constants if constant is not None]
    if len(starts) < len(constants):
        return None
    return [min(max(start, 0), n - m) for start, n, m in zip(starts, old, new, strict=True)]


READS = {
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "gather": gather,
    "scatter": scatter,
    **{
        f"scatter{mark}{kind}": scatter  # JAX has changed the mark
        for mark in "_-"
        for kind in ("add", "sub", "mul", "min", "max", "update")
    },
}

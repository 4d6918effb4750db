"""What an array sees after an operation that computes nothing, or one entry from one: shapes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from dilax.analysis._field import Field, Shape, reshaped, stacked
from dilax.analysis._trace import Equation, Rule, Seen, collapsed, each
from dilax.analysis._walk import NOTHING

_ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp
    clz complex conj convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp
    exp2 expm1 floor ge gt igamma igammac igamma_grad_a imag integer_pow is_finite le lgamma log
    log1p logistic lt max min mul mul_no_nan name ne neg nextafter not or pcast polygamma
    population_count pow pvary random_gamma_grad real reduce_precision regularized_incomplete_beta
    rem round rsqrt select_n sharding_constraint shift_left shift_right_arithmetic
    shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh xor zeta
"""


def elementwise(step: Equation) -> list[Seen]:
    """Each entry sees what the entries at its place see."""
    seen: Seen = None
    for one in step.seen:
        seen = step.joined(seen, one, step.out_shapes[0])
    return [seen]


def one_to_one(step: Equation) -> list[Seen]:
    """Many operands, each returned."""
    return list(step.seen)


def bitcast(step: Equation) -> list[Seen]:
    """Elementwise, but for an axis of parts that comes or goes at the end."""
    if len(step.shapes[0]) > len(step.out_shapes[0]):
        return [collapsed(step.seen[0], [len(step.shapes[0]) - 1], step.shapes[0])]
    return [step.seen[0]]


def transpose(step: Equation) -> list[Seen]:
    """Axes in another order."""
    axes = {old: new for new, old in enumerate(step.params["permutation"])}
    return [each(step.seen[0], lambda field: field.renumbered(axes))]


def broadcast_in_dim(step: Equation) -> list[Seen]:
    """New axes, and axes of size 1 stretched."""
    axes = dict(enumerate(step.params["broadcast_dimensions"]))
    old, new = step.shapes[0], step.out_shapes[0]
    stretched = [axis for axis, place in axes.items() if old[axis] != new[place]]
    seen = collapsed(step.seen[0], stretched, old)
    return [each(seen, lambda field: field.renumbered(axes))]


def squeeze(step: Equation) -> list[Seen]:
    """Axes of size 1 left out."""
    return [without(step.seen[0], step.params["dimensions"], step.shapes[0])]


def without(seen: Seen, axes: Sequence[int], shape: Shape) -> Seen:
    """What is seen by an array that some axes are summed out of, or dropped from."""
    gone = {axis % len(shape) for axis in axes}
    kept = {axis: new for new, axis in enumerate(a for a in range(len(shape)) if a not in gone)}
    return each(collapsed(seen, sorted(gone), shape), lambda field: field.renumbered(kept))


def reshape(step: Equation) -> list[Seen]:
    """Axes merged and split."""

    def change(field: Field) -> Field:
        result, exact = reshaped(field, step.shapes[0], step.out_shapes[0])
        if not exact:
            step.assume(f"a hull, for axes of {step.shapes[0]} are mixed in {step.out_shapes[0]}")
        return result

    return [each(step.seen[0], change)]


def reverse(step: Equation) -> list[Seen]:
    """Axes turned round."""
    shape = step.shapes[0]

    def change(field: Field) -> Field:
        for axis in step.params["dimensions"]:
            options: dict[str, Any] = {"step": -1, "first": shape[axis] - 1}
            field = along(field, axis, shape[axis], **options)
        return field

    return [each(step.seen[0], change)]


def along(field: Field, axis: int, outputs: int, **options: int) -> Field:
    """A window moved along one axis."""
    return field.with_axis(axis, lambda walk: walk.window(outputs, **options))


def slice_(step: Equation) -> list[Seen]:
    """Every so many entries, from one to another."""
    starts = step.params["start_indices"]
    strides = step.params["strides"] or (1,) * len(starts)
    return [_sliced(step.seen[0], starts, strides, step.out_shapes[0])]


def _sliced(seen: Seen, starts: Sequence[int], strides: Sequence[int], shape: Shape) -> Seen:
    def change(field: Field) -> Field:
        for axis, (start, stride) in enumerate(zip(starts, strides, strict=True)):
            field = along(field, axis, shape[axis], step=stride, first=start)
        return field

    return each(seen, change)


def split(step: Equation) -> list[Seen]:
    """Slices side by side."""
    axis, sizes = step.params["axis"], step.params["sizes"]
    results = []
    for start, shape in zip((0, *itertools.accumulate(sizes)), step.out_shapes, strict=False):
        starts = [start if a == axis else 0 for a in range(len(shape))]
        results.append(_sliced(step.seen[0], starts, (1,) * len(shape), shape))
    return results


def pad(step: Equation) -> list[Seen]:
    """Entries put before, after and between, or cut off."""

    def change(field: Field) -> Field:
        for axis, (low, _, between) in enumerate(step.params["padding_config"]):
            size = step.out_shapes[0][axis]
            field = along(field, axis, size, first=-low, base=between + 1)
        return field

    filled = step.everywhere(1)
    return [step.joined(each(step.seen[0], change), filled, step.out_shapes[0])]


def concatenate(step: Equation) -> list[Seen]:
    """Arrays side by side: one beside constants is padded; several keep their own fields."""
    axis, shape = step.params["dimension"], step.out_shapes[0]
    sizes = [one[axis] for one in step.shapes]
    seeing = [number for number, one in enumerate(step.seen) if one is not None]
    if len(seeing) == 1:
        first = -sum(sizes[: seeing[0]])
        return [each(step.seen[seeing[0]], lambda f: along(f, axis, shape[axis], first=first))]
    columns = zip(*(step.seen[number] or () for number in seeing), strict=True)
    return [tuple(_beside(step, list(parts), seeing, sizes) for parts in columns)]


def _beside(step: Equation, parts: list[Field], seeing: list[int], sizes: list[int]) -> Field:
    axis = step.params["dimension"]
    blind = _nowhere(parts[0], axis)
    rows = dict(zip(seeing, parts, strict=True))
    all_parts = [rows.get(number, blind) for number in range(len(sizes))]
    whole = _continued(all_parts, sizes, axis) or stacked(all_parts, sizes, axis)
    if whole is not None:
        return whole
    step.assume(f"the parts joined along axis {axis} see what all of them together see")
    joint: Seen = None
    for part, number in zip(parts, seeing, strict=True):
        alone = part.collapsed([axis], step.shapes[number])
        joint = step.joined(joint, (alone,), step.out_shapes[0])
    assert joint is not None
    return joint[0]


def _nowhere(field: Field, axis: int) -> Field:
    """A part that sees nothing, and else walks as the field does."""
    others = {a: walk for a, walk in field.walks.items() if a != axis}
    return Field(field.length, (NOTHING, -NOTHING), others)


def _continued(parts: list[Field], sizes: list[int], axis: int) -> Field | None:
    """The first part, if the others go on where it ends, as after a split; or None."""
    first, start = parts[0], 0
    for part, size in zip(parts, sizes, strict=True):
        if set(part.walks) != {axis} or set(first.walks) != {axis} or part.walks[axis].bounded:
            return None
        positions = np.arange(size)
        expected = first.walks[axis].moved(first.interval).at(positions + start)
        found = part.walks[axis].moved(part.interval).at(positions)
        if not all(map(np.array_equal, expected, found)):
            return None
        start += size
    return first


RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), elementwise),
    "optimization_barrier": one_to_one,
    "device_put": one_to_one,
    "bitcast_convert_type": bitcast,
    "transpose": transpose,
    "broadcast_in_dim": broadcast_in_dim,
    "squeeze": squeeze,
    "reshape": reshape,
    "rev": reverse,
    "slice": slice_,
    "split": split,
    "pad": pad,
    "concatenate": concatenate,
}

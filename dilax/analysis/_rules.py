"""At which positions each operation of lax reads its operands, by axis.

A rule gives for every operand a `Read` along each of its axes, from the indices of the result. What
is not said of a later operand (the initial value of a sum, say) is a scalar.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dilax._jaxprs import ELEMENTWISE
from dilax.analysis._field import NOWHERE, Read, Reads, at, in_place, whole
from dilax.analysis._trace import Equation, Seen, Shape, joined, seen_through
from dilax.analysis._windows import Window, conv_windows


def elementwise(step: Equation) -> Sequence[Reads]:
    """Every operand in place."""
    return [step.in_place(number) for number in range(len(step.values))]


# --- shapes ---------------------------------------------------------------------------------------


def bitcast(step: Equation) -> Sequence[Reads]:
    """In place; an axis of parts may come or go at the end."""
    rank = len(step.out_shapes[0])
    sizes = enumerate(step.shapes[0])
    return [{axis: in_place(axis) if axis < rank else whole(n) for axis, n in sizes}]


def transpose(step: Equation) -> Sequence[Reads]:
    """At the indices in another order."""
    return [{axis: in_place(place) for place, axis in enumerate(step.params["permutation"])}]


def broadcast_in_dim(step: Equation) -> Sequence[Reads]:
    """At the indices of some axes; an axis of size 1 that is stretched, at 0."""
    old, new = step.shapes[0], step.out_shapes[0]
    places = enumerate(step.params["broadcast_dimensions"])
    return [{a: in_place(p) if old[a] == new[p] else whole(old[a]) for a, p in places}]


def without(axes: Sequence[int], shape: Shape) -> Reads:
    """Some axes everywhere, the others in place."""
    kept = itertools.count()
    gone = {axis % len(shape) for axis in axes}
    return {a: whole(n) if a in gone else in_place(next(kept)) for a, n in enumerate(shape)}


def reshape(step: Equation) -> Sequence[Reads]:
    """The entry that has the same number when all are counted in order.

    Only runs of axes that are merged or split are counted together. Of ``(2, 6, 5)`` in the shape
    ``(2, 3, 2, 5)`` entry ``(a, b, c, d)`` reads at ``(a, 2 b + c, d)``.
    """
    old, new = step.shapes[0], step.out_shapes[0]
    if 0 in old:
        return [step.everywhere(0)]
    reads = dict.fromkeys(range(len(old)), whole(1))
    for old_axes, new_axes in _runs(old, new):
        long_old = [axis for axis in old_axes if old[axis] > 1]
        long_new = [axis for axis in new_axes if new[axis] > 1]
        if len(long_old) <= 1 and len(long_new) <= 1:
            pairs = zip(long_old or old_axes, long_new or new_axes, strict=False)
            reads |= {axis: in_place(place) for axis, place in pairs}
        else:
            reads |= _by_number(old, long_old, new, long_new)
    return [reads]


def _runs(old: Shape, new: Shape) -> list[tuple[range, range]]:
    """The shortest runs of old and new axes that hold the same entries.

    >>> _runs((2, 6, 5), (2, 3, 2, 5))
    [(range(0, 1), range(0, 1)), (range(1, 2), range(1, 3)), (range(2, 3), range(3, 4))]
    """
    runs, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        i_end, j_end = min(i + 1, len(old)), min(j + 1, len(new))
        while (of_old := math.prod(old[i:i_end])) != (of_new := math.prod(new[j:j_end])):
            i_end, j_end = (i_end + 1, j_end) if of_old < of_new else (i_end, j_end + 1)
        runs.append((range(i, i_end), range(j, j_end)))
        i, j = i_end, j_end
    return runs


def _by_number(old: Shape, old_axes: list[int], new: Shape, new_axes: list[int]) -> Reads:
    """The old indices of an entry, from its number by the new ones.

    The numbers go on before the first entry and after the last, along the first axis. Beyond the
    ends of another axis they would be those of the next row, which is no padding.
    """
    steps = [math.prod(new[later] for later in new_axes[n + 1 :]) for n in range(len(new_axes))]

    def read(place: int, axis: int) -> Read:
        inner = math.prod(old[later] for later in old_axes[place + 1 :])

        def positions(*indices: np.ndarray) -> Any:
            number = sum(index * step for index, step in zip(indices, steps, strict=True))
            return number // inner % old[axis] if place else number // inner

        return Read(tuple(new_axes), positions, bounded=tuple(new_axes[1:]))

    return {axis: read(place, axis) for place, axis in enumerate(old_axes)}


def reverse(step: Equation) -> Sequence[Reads]:
    """Some axes from their end."""
    ends = {axis: step.shapes[0][axis] - 1 for axis in step.params["dimensions"]}
    turned = {axis: Window(stride=-1, low=-end).read(axis) for axis, end in ends.items()}
    return [{**step.in_place(0), **turned}]


def slices(starts: Sequence[int], strides: Sequence[int] | None = None) -> Reads:
    """From a start on along each axis, every entry or at a stride."""
    pairs = enumerate(zip(starts, strides or (1,) * len(starts), strict=True))
    return {axis: Window(stride=stride, low=-start).read(axis) for axis, (start, stride) in pairs}


def split(step: Equation) -> list[Seen]:
    """One slice after another."""
    axis, starts = step.params["axis"], (0, *itertools.accumulate(step.params["sizes"]))
    parts = [{**step.in_place(0), axis: Window(low=-start).read(axis)} for start in starts[:-1]]
    return [seen_through([(step.seen[0], part)]) for part in parts]


def unstack(step: Equation) -> list[Seen]:
    """One entry along an axis after another."""
    axis, shape = step.params["axis"], step.shapes[0]
    others = without([axis], shape)
    parts = [{**others, axis: at(np.array([number]))} for number in range(shape[axis])]
    return [seen_through([(step.seen[0], part)]) for part in parts]


def stack(step: Equation) -> list[Seen]:
    """The operand that lies there along a new axis."""
    axis = step.params["axis"]
    terms = []
    for number, (seen, shape) in enumerate(zip(step.seen, step.shapes, strict=True)):
        moved = seen_through([(seen, {a: in_place(a + (a >= axis)) for a in range(len(shape))})])
        kept = {a: in_place(a) for a in range(len(shape) + 1) if a != axis}
        own = dataclasses.replace(part_of(axis, number, number, number + 1), bounded=(axis,))
        terms.append((moved, {**kept, axis: own}))
    return [seen_through(terms, step.out_shapes[0])]


def tile(step: Equation) -> Sequence[Reads]:
    """Again from the start wherever the end is reached."""
    sizes = enumerate(zip(step.shapes[0], step.params["reps"], strict=True))
    return [{axis: _again(axis, size) if times > 1 else in_place(axis)
             for axis, (size, times) in sizes}]  # fmt: skip


def _again(axis: int, size: int) -> Read:
    return Read((axis,), lambda index: index % size, bounded=(axis,))


def pad(step: Equation) -> Sequence[Reads]:
    """Between the entries that are put before, after and between, or beyond those cut off."""
    config = enumerate(step.params["padding_config"])
    return [{axis: Window(low=low, base_dilation=between + 1).read(axis)
             for axis, (low, _, between) in config}, {}]  # fmt: skip


def concatenate(step: Equation) -> Sequence[Reads]:
    """The operand that lies there. Constants before the first and after the last are padding."""
    axis = step.params["dimension"]
    starts = [0, *itertools.accumulate(shape[axis] for shape in step.shapes)]
    seeing = [number for number, one in enumerate(step.seen) if one is not None]
    reads = []
    for number, (start, stop) in enumerate(itertools.pairwise(starts)):
        first = -NOWHERE if number == seeing[0] else start
        last = NOWHERE if number == seeing[-1] else stop
        part = part_of(axis, start, first, last)
        bounded = (axis,) if len(seeing) > 1 else ()
        reads.append({**step.in_place(number), axis: dataclasses.replace(part, bounded=bounded)})
    return reads


def part_of(axis: int, start: int, first: int, stop: int) -> Read:
    """An operand that begins at ``start``, between two indices of the result."""

    def positions(index: np.ndarray) -> np.ndarray:
        return np.where((first <= index) & (index < stop), index - start, NOWHERE)

    return Read((axis,), positions, partial=True)


# --- windows --------------------------------------------------------------------------------------


def grouped(axis: int, inputs: int, outputs: int, groups: int) -> Read:
    """The input features of the group that an output feature is in."""
    if groups == 1:
        return whole(inputs)
    in_group, each = np.arange(inputs // groups), outputs // groups

    def positions(index: np.ndarray) -> np.ndarray:
        return index // each * len(in_group) + in_group

    return Read((axis,), positions, bounded=(axis,))


def conv_general_dilated(step: Equation) -> Sequence[Reads]:
    """Windows along the spatial axes, and the features of the group."""
    numbers, shape, out = step.params["dimension_numbers"], step.shapes[0], step.out_shapes[0]
    batch, feature, *spatial = numbers.lhs_spec
    batch_out, feature_out, *places = numbers.out_spec
    windows = conv_windows(step.params, step.shapes[1])
    reads = {a: w.read(place) for a, w, place in zip(spatial, windows, places, strict=True)}
    groups = step.params["feature_group_count"]
    reads[batch] = in_place(batch_out)
    reads[feature] = grouped(feature_out, shape[feature], out[feature_out], groups)
    if step.params["batch_group_count"] > 1:
        reads |= {axis: whole(shape[axis]) for axis in (batch, feature)}
    return [reads, step.everywhere(1)]


def dilax_conv(step: Equation) -> Sequence[Reads]:
    """Windows along the axes between batch and features, and the features of the group."""
    last, groups = len(step.shapes[0]) - 1, step.params["geometry"].feature_group_count
    windows = conv_windows(step.params, step.shapes[1])
    if step.name == "dilax_input_gradient":
        windows = [window.transposed() for window in windows]
    reads = {axis: window.read(axis) for axis, window in enumerate(windows, 1)}
    features = grouped(last, step.shapes[0][last], step.out_shapes[0][last], groups)
    return [{0: in_place(0), **reads, last: features}, step.everywhere(1)]


def kernel_gradient(step: Equation) -> Sequence[Reads]:
    """Both arrays everywhere: the gradient of a kernel is a sum over all positions."""
    step.assume("every entry is taken to see all that the operands see")
    return [step.everywhere(0), step.everywhere(1)]


def reduce_window(step: Equation) -> Sequence[Reads]:
    """Windows along every axis."""
    reads = {axis: window.read(axis) for axis, window in enumerate(_pool_windows(step))}
    arrays = len(step.out_shapes)
    return [reads] * arrays + [{}] * (len(step.values) - arrays)


def select_and_scatter_add(step: Equation) -> list[Seen]:
    """The gradients of the windows that hold an entry, and all that these windows compare."""
    windows = _pool_windows(step)
    forward = {axis: window.read(axis) for axis, window in enumerate(windows)}
    back = {axis: window.transposed().read(axis) for axis, window in enumerate(windows)}
    compared = seen_through([(step.seen[1], forward)])
    return [seen_through([(step.seen[0], back), (compared, back)])]


def _pool_windows(step: Equation) -> list[Window]:
    names = ("window_dimensions", "window_strides", "padding", "window_dilation", "base_dilation")
    ones = (1,) * len(step.shapes[0])
    columns = zip(*(step.params.get(name, ones) for name in names), strict=True)
    return [Window(size, stride, low, *dilations) for size, stride, (low, _), *dilations in columns]


# --- sums and whole axes --------------------------------------------------------------------------


def reduction(step: Equation) -> Sequence[Reads]:
    """Some axes everywhere, the others in place."""
    axes = step.params["axes"] if "axes" in step.params else step.params["dimensions"]
    arrays = len(step.out_shapes)
    return [without(axes, step.shapes[0])] * arrays + [{}] * (len(step.values) - arrays)


def cumulative(step: Equation) -> list[Seen]:
    """All up to here, or from here on: in each step twice as far, as by prefix sums."""
    axis, size = step.params["axis"], step.shapes[0][step.params["axis"]]
    seen, ahead = step.seen[0], 1
    while ahead < size:
        limits = (-NOWHERE, size - ahead) if step.params["reverse"] else (ahead, NOWHERE)
        further = part_of(axis, -ahead if step.params["reverse"] else ahead, *limits)
        seen = joined(seen, seen_through([(seen, {**step.in_place(0), axis: further})]))
        ahead *= 2
    return [seen]


def over(axes: Callable[[Equation], Sequence[int]]) -> Callable[[Equation], Sequence[Reads]]:
    """All operands everywhere along some axes, and in place along the others."""

    def rule(step: Equation) -> Sequence[Reads]:
        gone = {axis: whole(step.shapes[0][axis]) for axis in axes(step)}
        return [{**step.in_place(number), **gone} for number in range(len(step.values))]

    return rule


def _transformed(step: Equation) -> range:
    rank = len(step.shapes[0])
    return range(rank - len(step.params["fft_lengths"]), rank)


LAYERS = {
    "conv_general_dilated": conv_general_dilated,
    "dilax_conv": dilax_conv,
    "dilax_input_gradient": dilax_conv,
    **{f"reduce_window{kind}": reduce_window for kind in ("", "_sum", "_max", "_min")},
}
SUMS = {
    **{f"reduce_{name}": reduction for name in ("sum", "max", "min", "prod", "and", "or", "xor")},
    **dict.fromkeys(("reduce", "argmax", "argmin"), reduction),
}
READS = {
    **LAYERS,
    **SUMS,
    **dict.fromkeys(ELEMENTWISE - {"mul", "select_n"}, elementwise),
    "bitcast_convert_type": bitcast,
    "transpose": transpose,
    "broadcast_in_dim": broadcast_in_dim,
    "squeeze": lambda step: [without(step.params["dimensions"], step.shapes[0])],
    "reshape": reshape,
    "rev": reverse,
    "slice": lambda step: [slices(step.params["start_indices"], step.params["strides"])],
    "pad": pad,
    "concatenate": concatenate,
    "tile": tile,
    "dilax_kernel_gradient": kernel_gradient,
    "sort": over(lambda step: [step.params["dimension"]]),
    "top_k": over(lambda step: [len(step.shapes[0]) - 1]),
    "fft": over(_transformed),
}
OTHERS = {
    "optimization_barrier": lambda step: step.seen,
    "device_put": lambda step: step.seen,
    "split": split,
    "stack": stack,
    "unstack": unstack,
    "select_and_scatter_add": select_and_scatter_add,
    **{f"cum{name}": cumulative for name in ("sum", "prod", "max", "min", "logsumexp")},
}

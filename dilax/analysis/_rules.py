"""At which positions each operation of lax reads its operands."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from dilax.analysis._field import NOWHERE, Read, Reads, in_place, whole
from dilax.analysis._trace import Equation, Rule, Seen, Shape, joined, seen_through
from dilax.analysis._windows import Window, conv_windows

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
    """Read every operand in place."""
    return [step.read(*map(step.in_place, range(len(step.seen))))]


def passed_on(step: Equation) -> list[Seen]:
    """Return every operand."""
    return list(step.seen)


# --- shapes ---------------------------------------------------------------------------------------


def bitcast(step: Equation) -> list[Seen]:
    """Read in place; an axis of parts may come or go at the end."""
    rank = len(step.out_shapes[0])
    sizes = enumerate(step.shapes[0])
    return [step.read({axis: in_place(axis) if axis < rank else whole(n) for axis, n in sizes})]


def transpose(step: Equation) -> list[Seen]:
    """Read at the indices in another order."""
    places = enumerate(step.params["permutation"])
    return [step.read({axis: in_place(place) for place, axis in places})]


def broadcast_in_dim(step: Equation) -> list[Seen]:
    """Read at the indices of some axes, and an axis of size 1 that is stretched at 0."""
    old, new = step.shapes[0], step.out_shapes[0]
    places = enumerate(step.params["broadcast_dimensions"])
    return [
        step.read(
            {a: in_place(p) if old[a] == new[p] else whole(old[a]) for a, p in places}
        )
    ]  # fmt: skip


def without(axes: Sequence[int], shape: Shape) -> Reads:
    """Read some axes everywhere, and the others in place."""
    gone = {axis % len(shape) for axis in axes}
    kept = itertools.count()
    return {
        axis: whole(size) if axis in gone else in_place(next(kept))
        for axis, size in enumerate(shape)
    }


def squeeze(step: Equation) -> list[Seen]:
    """Leave out axes of size 1."""
    return [step.read(without(step.params["dimensions"], step.shapes[0]))]


def reshape(step: Equation) -> list[Seen]:
    """Read where the entries, counted in order, have the same number."""
    return [step.read(_regrouped(step.shapes[0], step.out_shapes[0]))]


def _regrouped(old: Shape, new: Shape) -> Reads:
    if 0 in old:
        return {axis: whole(size) for axis, size in enumerate(old)}
    reads = dict.fromkeys(range(len(old)), whole(1))
    for old_axes, new_axes in _blocks(old, new):
        long_old = [axis for axis in old_axes if old[axis] > 1]
        long_new = [axis for axis in new_axes if new[axis] > 1]
        if len(long_old) <= 1 and len(long_new) <= 1:
            pairs = zip(long_old or old_axes, long_new or new_axes, strict=False)
            reads |= {axis: in_place(place) for axis, place in pairs}
        else:
            reads |= _by_number(old, long_old, new, long_new)
    return reads


def _by_number(old: Shape, old_axes: list[int], new: Shape, new_axes: list[int]) -> Reads:
    """Number the entries of a block by their new indices, and find the old ones.

    Before the first entry and after the last the numbers go on along the first axis. Along the
    others they would go on in the next row, which is no padding.
    """
    steps = [math.prod(new[axis] for axis in new_axes[n + 1 :]) for n in range(len(new_axes))]

    def read(place: int, axis: int) -> Read:
        inner = math.prod(old[later] for later in old_axes[place + 1 :])

        def positions(*indices: np.ndarray) -> np.ndarray:
            numbers = sum(index * step for index, step in zip(indices, steps, strict=True))
            return numbers // inner % old[axis] if place else numbers // inner

        return Read(tuple(new_axes), positions, bounded=tuple(new_axes[1:]))

    return {axis: read(place, axis) for place, axis in enumerate(old_axes)}


def _blocks(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of old and new axes that hold the same entries.

    >>> _blocks((2, 6, 5), (2, 3, 2, 5))
    [([0], [0]), ([1], [1, 2]), ([2], [3])]
    """
    blocks, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        i_end, j_end = min(i + 1, len(old)), min(j + 1, len(new))
        while math.prod(old[i:i_end]) != math.prod(new[j:j_end]):
            if math.prod(old[i:i_end]) < math.prod(new[j:j_end]):
                i_end += 1
            else:
                j_end += 1
        blocks.append((list(range(i, i_end)), list(range(j, j_end))))
        i, j = i_end, j_end
    return blocks


def reverse(step: Equation) -> list[Seen]:
    """Read some axes from the end."""
    turned = {
        axis: Window(stride=-1, low=1 - step.shapes[0][axis]).read(axis)
        for axis in step.params["dimensions"]
    }
    return [step.read({**step.in_place(0), **turned})]


def slices(starts: Sequence[int], strides: Sequence[int] | None = None) -> Reads:
    """Read from a start on along each axis, every entry or at a stride."""
    pairs = zip(starts, strides or (1,) * len(starts), strict=True)
    return {
        axis: Window(stride=stride, low=-start).read(axis)
        for axis, (start, stride) in enumerate(pairs)
    }


def slice_(step: Equation) -> list[Seen]:
    """Read every so many entries."""
    return [step.read(slices(step.params["start_indices"], step.params["strides"]))]


def split(step: Equation) -> list[Seen]:
    """Read consecutive slices."""
    axis, rank = step.params["axis"], len(step.shapes[0])
    starts = (0, *itertools.accumulate(step.params["sizes"]))
    return [
        step.read(slices([start if a == axis else 0 for a in range(rank)]), result=number)
        for number, start in enumerate(starts[:-1])
    ]


def pad(step: Equation) -> list[Seen]:
    """Read between the entries that are put before, after and between, or beyond those cut off."""
    config = enumerate(step.params["padding_config"])
    return [
        step.read(
            {
                axis: Window(low=low, base_dilation=between + 1).read(axis)
                for axis, (low, _, between) in config
            },
            {},
        )
    ]


def concatenate(step: Equation) -> list[Seen]:
    """Read the operand that lies there. Constants before the first and after the last pad."""
    axis = step.params["dimension"]
    starts = [0, *itertools.accumulate(shape[axis] for shape in step.shapes)]
    seeing = [number for number, one in enumerate(step.seen) if one is not None]

    def part(number: int) -> Reads:
        start = -NOWHERE if number == seeing[0] else starts[number]
        stop = NOWHERE if number == seeing[-1] else starts[number + 1]

        def positions(index: np.ndarray) -> np.ndarray:
            return np.where((start <= index) & (index < stop), index - starts[number], NOWHERE)

        return {**step.in_place(number), axis: Read((axis,), positions, partial=True)}

    return [step.read(*map(part, range(len(step.seen))))]


# --- windows --------------------------------------------------------------------------------------


def grouped(axis: int, inputs: int, outputs: int, groups: int) -> Read:
    """Read the input features of the group that an output feature is of."""
    if groups == 1:
        return whole(inputs)
    members = np.arange(inputs // groups)
    each = outputs // groups
    return Read((axis,), lambda index: index // each * len(members) + members)


def conv_general_dilated(step: Equation) -> list[Seen]:
    """Read windows along the spatial axes, and the features of the group."""
    numbers, shape, out = step.params["dimension_numbers"], step.shapes[0], step.out_shapes[0]
    groups = step.params["feature_group_count"]
    (batch, feature, *spatial), (batch_out, feature_out, *places) = (
        numbers.lhs_spec,
        numbers.out_spec,
    )
    windows = conv_windows(step.params, step.shapes[1])
    reads = {a: w.read(place) for a, w, place in zip(spatial, windows, places, strict=True)}
    reads[batch] = in_place(batch_out)
    reads[feature] = grouped(feature_out, shape[feature], out[feature_out], groups)
    if step.params["batch_group_count"] > 1:
        reads |= {axis: whole(shape[axis]) for axis in (batch, feature)}
    return [step.record(step.read(reads, step.everywhere(1)))]


def dilax_conv(step: Equation) -> list[Seen]:
    """Read as `conv_general_dilated` does, with features last."""
    return [step.record(step.read(_windows_and_features(step), step.everywhere(1)))]


def dilax_input_gradient(step: Equation) -> list[Seen]:
    """Read the outputs of the convolution that an input is read by."""
    reads = _windows_and_features(step, transposed=True)
    return [step.record(step.read(reads, step.everywhere(1)))]


def _windows_and_features(step: Equation, *, transposed: bool = False) -> Reads:
    last, groups = len(step.shapes[0]) - 1, step.params["geometry"].feature_group_count
    reads = {
        axis: (window.transposed() if transposed else window).read(axis)
        for axis, window in enumerate(conv_windows(step.params, step.shapes[1]), 1)
    }
    features = grouped(last, step.shapes[0][last], step.out_shapes[0][last], groups)
    return {0: in_place(0), **reads, last: features}


def kernel_gradient(step: Equation) -> list[Seen]:
    """Read both arrays everywhere: the gradient of a kernel is a sum over all positions."""
    step.assume("every entry is taken to see all that the operands see")
    return [step.read(step.everywhere(0), step.everywhere(1))]


def reduce_window(step: Equation) -> list[Seen]:
    """Read windows along every axis."""
    names = ("window_dimensions", "window_strides", "padding", "window_dilation", "base_dilation")
    default = (1,) * len(step.shapes[0])
    columns = zip(*(step.params.get(name, default) for name in names), strict=True)
    reads = {
        axis: Window(size, stride, low, dilation, base).read(axis)
        for axis, (size, stride, (low, _), dilation, base) in enumerate(columns)
    }
    arrays = len(step.out_shapes)
    starts: list[Reads] = [{}] * (len(step.seen) - arrays)
    return [step.record(step.read(*[reads] * arrays, *starts))] * arrays


def select_and_scatter_add(step: Equation) -> list[Seen]:
    """Read the gradients of the windows that hold an entry, and what they are compared by."""
    names = ("window_dimensions", "window_strides", "padding")
    columns = zip(*(step.params[name] for name in names), strict=True)
    windows = [Window(size, stride, low) for size, stride, (low, _) in columns]
    forward = {axis: window.read(axis) for axis, window in enumerate(windows)}
    back = {axis: window.transposed().read(axis) for axis, window in enumerate(windows)}
    compared = seen_through([(step.seen[1], forward)])
    return [seen_through([(step.seen[0], back), (compared, back)])]


# --- sums and whole axes --------------------------------------------------------------------------


def reduction(step: Equation) -> list[Seen]:
    """Read some axes everywhere."""
    axes = step.params["axes"] if "axes" in step.params else step.params["dimensions"]
    arrays = len(step.out_shapes)
    reads = [without(axes, step.shapes[0])] * arrays
    starts: list[Reads] = [{}] * (len(step.seen) - arrays)
    seen = step.read(*reads, *starts)
    if any(step.differs_along(0, axis) for axis in axes):
        step.record(seen)
    return [seen] * arrays


def dot_general(step: Equation) -> list[Seen]:
    """Read contracted axes everywhere, or where a table of constants is not zero."""
    contracted, batch = step.params["dimension_numbers"]
    reads: list[dict[int, Read]] = []
    first = len(batch[0])
    for side in (0, 1):
        shape, table = step.shapes[side], _weights(step, 1 - side)
        free = [a for a in range(len(shape)) if a not in (*contracted[side], *batch[side])]
        places = {axis: in_place(place) for place, axis in enumerate(batch[side])}
        places |= {axis: in_place(first + place) for place, axis in enumerate(free)}
        first += len(free)
        reads.append(places | {axis: whole(shape[axis]) for axis in contracted[side]})
        if table is not None:
            target = 0 if side else len(step.out_shapes[0]) - 1
            reads[side][contracted[side][0]] = _where_not_zero(table, target)
    return [step.read(*reads)]


def _weights(step: Equation, side: int) -> np.ndarray | None:
    """A matrix of numbers of the program, ``(out, contracted)``, as interpolation has; or None."""
    contracted, (shared, _) = step.params["dimension_numbers"]
    constant = step.constant(side)
    if constant is None or not constant.of_literals:
        return None
    if len(step.shapes[side]) != 2 or len(contracted[side]) != 1 or shared:
        return None
    return np.moveaxis(np.asarray(constant.compute()), contracted[side][0], 1)


def _where_not_zero(table: np.ndarray, axis: int) -> Read:
    positions = np.where(table != 0, np.arange(table.shape[1]), NOWHERE)
    return Read((axis,), lambda index: positions[index[..., 0]], bounded=(axis,))


def cumulative(step: Equation) -> list[Seen]:
    """Read all up to here, or from here on: twice as far in each step, as by prefix sums."""
    axis, size = step.params["axis"], step.shapes[0][step.params["axis"]]
    sign = 1 if step.params["reverse"] else -1
    seen, reach = step.seen[0], 1
    while reach < size:
        further = {**step.in_place(0), axis: _inside(axis, size, sign * reach)}
        seen = joined(seen, seen_through([(seen, further)]))
        reach *= 2
    return [seen]


def _inside(axis: int, size: int, ahead: int) -> Read:
    """Read so far ahead, where the array has not ended."""

    def positions(index: np.ndarray) -> np.ndarray:
        places = index + ahead
        return np.where((places >= 0) & (places < size), places, NOWHERE)

    return Read((axis,), positions)


def over(axes: Callable[[Equation], Sequence[int]]) -> Rule:
    """Rule: every result reads all operands everywhere along some axes, and in place else."""

    def rule(step: Equation) -> list[Seen]:
        gone = {axis: whole(step.shapes[0][axis]) for axis in axes(step)}
        reads = [{**step.in_place(number), **gone} for number in range(len(step.seen))]
        return [step.read(*reads)] * len(step.out_shapes)

    return rule


def _transformed(step: Equation) -> range:
    rank = len(step.shapes[0])
    return range(rank - len(step.params["fft_lengths"]), rank)


RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), elementwise),
    **dict.fromkeys(("optimization_barrier", "device_put"), passed_on),
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
    "conv_general_dilated": conv_general_dilated,
    "dilax_conv": dilax_conv,
    "dilax_input_gradient": dilax_input_gradient,
    "dilax_kernel_gradient": kernel_gradient,
    **{f"reduce_window{kind}": reduce_window for kind in ("", "_sum", "_max", "_min")},
    "select_and_scatter_add": select_and_scatter_add,
    **{f"reduce_{name}": reduction for name in ("sum", "max", "min", "prod", "and", "or", "xor")},
    **dict.fromkeys(("reduce", "argmax", "argmin"), reduction),
    "dot_general": dot_general,
    **{f"cum{name}": cumulative for name in ("sum", "prod", "max", "min", "logsumexp")},
    "sort": over(lambda step: [step.params["dimension"]]),
    "top_k": over(lambda step: [len(step.shapes[0]) - 1]),
    "fft": over(_transformed),
}

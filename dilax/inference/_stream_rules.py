"""What each operation of lax does along time, chunk by chunk.

A rule finds where time is in the results, and either lets each step of time be computed for itself,
or moves entries along it by what ``_signals`` offers. A rule that does neither refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn

from dilax._functions.maximum import lowest
from dilax._jaxprs import ELEMENTWISE
from dilax.inference._chunks import Rule, Run, Value, apply, at_each_step, must_agree, only_signal
from dilax.inference._signals import (
    RefusedError,
    Signal,
    Uniform,
    beside,
    cropped,
    followed,
    padded,
    preceded,
    windows,
)
from dilax.inference._stream_windows import (
    conv_general_dilated,
    cumulative,
    dilax_conv,
    highest,
    pool,
    scan,
)
from dilax.inference._two_lengths import Step


def elementwise(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """Each entry for itself."""
    must_agree(step)
    return at_each_step(step, operands, run, [_common_axis(operands)] * len(step.results))


def _common_axis(operands: Sequence[Value]) -> int:
    axes = {one.axis for one in operands if isinstance(one, Signal | Uniform)}
    if len(axes) > 1:
        raise RefusedError("combines values whose time is along different axes")
    return axes.pop()


def unchanged(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """The operands themselves."""
    return operands


# --- shapes ---------------------------------------------------------------------------------------


def transpose(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """Axes in another order."""
    must_agree(step)
    return at_each_step(
        step, operands, run, [tuple(step.params["permutation"]).index(operands[0].axis)]
    )


def broadcast_in_dim(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """More axes."""
    must_agree(step, but=["shape"])
    axis = int(step.params["broadcast_dimensions"][only_signal(operands, "a shape")])
    return at_each_step(step, operands, run, [axis], resized(step, "shape", axis))


def resized(step: Step, name: str, axis: int) -> Callable[[int], dict[str, Any]]:
    """Put the number of entries into a parameter that is a shape."""
    shape = step.params[name]
    return lambda size: {name: (*shape[:axis], size, *shape[axis + 1 :])}


def stack(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """Arrays on a new axis."""
    must_agree(step)
    axis = _common_axis(operands)
    return at_each_step(step, operands, run, [axis + (step.params["axis"] <= axis)])


def tile(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """The same again along other axes."""
    must_agree(step)
    axis = operands[0].axis
    if step.params["reps"][axis] != 1:
        raise RefusedError("puts a signal after its own end; do it after what is streamed")
    return at_each_step(step, operands, run, [axis])


def over(name: str, *, keep: bool) -> Rule:
    """An operation over some axes, which must not be time; they are gone unless it keeps them."""

    def rule(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
        must_agree(step)
        timed = [one for one in operands if isinstance(one, Signal | Uniform)]
        axis = timed[0].axis
        given = step.params[name]
        axes = given if isinstance(given, Sequence) else [given]
        if axis in axes or any(one.axis != axis for one in timed):
            raise RefusedError(
                "is over time, so its result depends on the whole signal; take windows of a fixed "
                "size, such as those of a causal pool, or do it after what is streamed"
            )
        place = axis if keep else axis - sum(one < axis for one in axes)
        return at_each_step(step, operands, run, [place] * len(step.results))

    return rule


def over_last(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """An operation over the last axes."""
    must_agree(step)
    axis, rank = only_signal(operands, "an operand"), len(step.shapes()[0])
    if axis >= rank - len(step.params.get("fft_lengths", (0,))):
        raise RefusedError("is over time; it needs the whole signal")
    return at_each_step(step, operands, run, [axis] * len(step.results))


def reshape(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """The same entries, in order; steps of time may be put together, or be taken apart.

    Neighbouring steps are put together where an axis ``(T, C)`` becomes ``(T / s, s C)``.
    """
    must_agree(step, but=["new_sizes"])
    value, (new, longer) = operands[0], step.shapes()
    old = (value.array if isinstance(value, Uniform) else value.chunk).shape
    axes = [axis for axis, sizes in enumerate(zip(new, longer, strict=True)) if len({*sizes}) > 1]
    if len(axes) != 1 or 0 in new:
        raise RefusedError("spreads time over several axes")
    (axis,) = axes
    adapt = resized(step, "new_sizes", axis)
    before, after = math.prod(old[value.axis + 1 :]), math.prod(new[axis + 1 :])
    own = value.rows if isinstance(value, Signal) else 1
    rows, rest = divmod(own * math.prod(old[: value.axis]), math.prod(new[:axis]))
    if before == after and not rest:
        whole = run.signal(value) if isinstance(value, Uniform) and rows > 1 else value
        return at_each_step(step, [whole], run, [axis], adapt, rows)
    if rows != 1 or rest:
        raise RefusedError("merges time with an axis before it; keep time apart, or use jax.vmap")
    signal = run.signal(value)
    if after % before == 0:
        together = after // before

        def apart(entries: jax.Array) -> jax.Array:
            size = entries.shape[signal.axis] // together
            return apply(step.equation, [entries], **adapt(size))[0]

        run.entries(signal.spacing * together)
        return [windows(signal, together, together, apart, axis, run.memory)]
    if before % after:
        raise RefusedError("cuts time into pieces that are no multiple of its steps")
    return [_taken_apart(step, signal, before // after, axis)]


def _taken_apart(step: Step, signal: Signal, pieces: int, axis: int) -> Signal:
    adapt = resized(step, "new_sizes", axis)
    chunk, past = signal.each(
        lambda one: apply(step.equation, [one], **adapt(one.shape[signal.axis] * pieces))[0]
    )
    spacing, ahead, extra = signal.spacing / pieces, signal.ahead * pieces, signal.extra * pieces
    return Signal(chunk, past, axis, spacing, ahead, extra, signal.cause)


# --- parts and neighbours -------------------------------------------------------------------------


def take_slice(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """Entries from a start on, up to a number of entries before the end, at a stride."""
    must_agree(step, but=["start_indices", "limit_indices"])
    signal = run.signal(operands[0])
    axis, params = signal.axis, step.params
    starts, ends = (
        {_cut(one, axis)[end] for one in (step.equation, step.longer)} for end in (0, 1)
    )
    if len(starts) > 1 or len(ends) > 1:
        raise RefusedError(
            "takes entries at a fixed place of the signal, such as the first or the last; take all "
            "but some at the start or the end, or do it after what is streamed"
        )
    stride = (params["strides"] or (1,) * (axis + 1))[axis]
    run.entries(signal.spacing * stride)
    whole = cropped(signal, starts.pop(), ends.pop(), run.memory)

    def taken(entries: jax.Array) -> jax.Array:
        first, last = list(params["start_indices"]), list(params["limit_indices"])
        first[axis], last[axis] = 0, entries.shape[axis]
        changed = {"start_indices": tuple(first), "limit_indices": tuple(last)}
        return apply(step.equation, [entries], **changed)[0]

    return [windows(whole, 1, stride, taken, axis, run.memory)]


def _shape(equation: JaxprEqn, number: int = 0) -> tuple[int, ...]:
    """Return the shape of an operand."""
    operand: Any = equation.invars[number].aval
    return operand.shape


def _cut(equation: JaxprEqn, axis: int) -> tuple[int, int]:
    """Return how many entries a slice leaves out at the start and at the end."""
    size = _shape(equation)[axis]
    start, limit = (equation.params[f"{name}_indices"][axis] for name in ("start", "limit"))
    return int(start), int(size - limit)


def pad(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """Constants before, between and after."""
    must_agree(step)
    only_signal(operands, "a value of padding")
    config, value = [tuple(map(int, one)) for one in step.params["padding_config"]], operands[1]
    axis = operands[0].axis
    low, high, interior = config[axis]
    config[axis] = (0, 0, 0)
    (others,) = at_each_step(
        step, operands, run, [axis], lambda size: {"padding_config": tuple(config)}
    )
    if (low, high, interior) == (0, 0, 0):
        return [others]
    return [padded(run.signal(others), low, high, interior, value, run.memory)]


def concatenate(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """Arrays beside one another; along time, constants before and after one signal."""
    must_agree(step)
    timed = [n for n, one in enumerate(operands) if isinstance(one, Signal | Uniform)]
    along = step.params["dimension"]
    if any(operands[n].axis != along for n in timed):
        return elementwise(step, operands, run)
    if len(timed) > 1:
        raise RefusedError("puts one signal after the end of another; do it after what is streamed")
    (place,) = timed
    signal = run.signal(operands[place])
    if place:
        signal = preceded(signal, beside(operands[:place], along), run.memory)
    return [followed(signal, sum(one.shape[along] for one in operands[place + 1 :]))]


def gather(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """Entries of a table by indices that arrive in time, or entries of each step of a signal."""
    must_agree(step, but=["slice_sizes"])
    numbers, (table, indices) = step.params["dimension_numbers"], operands
    batch = dict(
        zip(numbers.start_indices_batching_dims, numbers.operand_batching_dims, strict=True)
    )
    if isinstance(indices, Signal | Uniform):
        of_time = table.axis if isinstance(table, Signal | Uniform) else None
        if of_time != batch.get(indices.axis):
            raise RefusedError("takes entries at chosen places of the signal")
        rest = [n for n in range(len(step.shapes()[0])) if n not in numbers.offset_dims]
        must_agree(step)
        return at_each_step(step, operands, run, [rest[indices.axis]])
    gone = (*numbers.collapsed_slice_dims, *batch.values())
    if table.axis in (*gone, *numbers.start_index_map):
        raise RefusedError("takes entries at chosen places of the signal")
    kept = [axis for axis in range(len(_shape(step.equation))) if axis not in gone]
    place = numbers.offset_dims[kept.index(table.axis)]
    return at_each_step(step, operands, run, [place], resized(step, "slice_sizes", table.axis))


def dynamic_slice(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """A part of each step of a signal."""
    must_agree(step, but=["slice_sizes"])
    axis = only_signal(operands, "a start")
    if any(
        _shape(one)[axis] != shape[axis]
        for one, shape in zip((step.equation, step.longer), step.shapes(), strict=True)
    ):
        raise RefusedError("takes entries at chosen places of the signal")
    return at_each_step(step, operands, run, [axis], resized(step, "slice_sizes", axis))


def dot_general(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """A product that sums over features, not over time."""
    must_agree(step)
    summed, _ = step.params["dimension_numbers"]
    places = []
    for side, value in enumerate(operands):
        if not isinstance(value, Signal | Uniform):
            continue
        if value.axis in summed[side]:
            raise RefusedError("sums over time, so its result depends on the whole signal")
        places.append(_place_in_product(step, side, value.axis))
    if len({*places}) > 1:
        raise RefusedError("compares each step of time with every other, as attention does")
    return at_each_step(step, operands, run, places[:1])


def _place_in_product(step: Step, side: int, axis: int) -> int:
    summed, batch = step.params["dimension_numbers"]
    if axis in batch[side]:
        return tuple(batch[side]).index(axis)
    free = [
        [n for n in range(len(_shape(step.equation, k))) if n not in (*summed[k], *batch[k])]
        for k in (0, 1)
    ]
    return len(batch[0]) + side * len(free[0]) + free[side].index(axis)


# --- by name --------------------------------------------------------------------------------------

RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE - {"sharding_constraint"}, elementwise),
    **dict.fromkeys(("optimization_barrier", "device_put"), unchanged),
    "transpose": transpose,
    "broadcast_in_dim": broadcast_in_dim,
    "reshape": reshape,
    "stack": stack,
    "unstack": over("axis", keep=False),
    "tile": tile,
    "squeeze": over("dimensions", keep=False),
    "split": over("axis", keep=True),
    "sort": over("dimension", keep=True),
    "rev": over("dimensions", keep=True),
    **{
        f"reduce_{name}": over("axes", keep=False)
        for name in ("sum", "max", "min", "prod", "and", "or", "xor")
    },
    **dict.fromkeys(("argmax", "argmin"), over("axes", keep=False)),
    "reduce": over("dimensions", keep=False),
    **dict.fromkeys(("top_k", "fft"), over_last),
    "slice": take_slice,
    "pad": pad,
    "concatenate": concatenate,
    "gather": gather,
    "dynamic_slice": dynamic_slice,
    "dot_general": dot_general,
    "conv_general_dilated": conv_general_dilated,
    "dilax_conv": dilax_conv,
    "reduce_window": pool(lambda dtype, operands: operands[1]),
    "reduce_window_sum": pool(lambda dtype, operands: 0),
    "reduce_window_max": pool(lambda dtype, operands: lowest(dtype)),
    "reduce_window_min": pool(lambda dtype, operands: highest(dtype)),
    "cumsum": cumulative(lambda dtype: 0, lax.add),
    "cumprod": cumulative(lambda dtype: 1, lax.mul),
    "cummax": cumulative(lowest, lax.max),
    "cummin": cumulative(highest, lax.min),
    "cumlogsumexp": cumulative(lambda dtype: -np.inf, jnp.logaddexp),
    "scan": scan,
}
"""By primitive, what it does along time."""

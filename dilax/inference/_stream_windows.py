"""What the operations of lax that look back do along time: windows, running sums and loops.

A window keeps the entries before a chunk, and the others keep what they have come to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dilax.inference._chunks import Rule, Run, Value, apply, at_each_step, must_agree, only_signal
from dilax.inference._signals import (
    RefusedError,
    Signal,
    Uniform,
    begun_by,
    delayed,
    padded,
    part,
    windows,
)
from dilax.inference._two_lengths import Step, Unknown

# --- windows --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Window:
    """A window along time."""

    size: int
    stride: int
    dilation: int
    low: int
    high: int
    interior: int = 0

    def over(
        self,
        signal: Signal,
        value: Any,
        apply: Callable[[jax.Array], jax.Array],
        axis: int,
        run: Run,
    ) -> list[Signal]:
        """Pad a signal by a value, and apply a function of the windows that fit."""
        if self.size < 1:
            raise RefusedError("has a window without entries")
        run.entries(signal.spacing / (self.interior + 1) * self.stride)
        entries = padded(signal, self.low, self.high, self.interior, value, run.memory)
        span = self.dilation * (self.size - 1) + 1
        return [windows(entries, span, self.stride, apply, axis, run.memory)]


def conv_general_dilated(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """A window along time if it is one of the spatial axes; each step for itself if it is batch."""
    must_agree(step)
    axis, params = only_signal(operands, "a kernel"), step.params
    numbers = params["dimension_numbers"]
    place = tuple(numbers.lhs_spec).index(axis)
    if place == 1 or params["batch_group_count"] != 1:
        raise RefusedError(
            "sums over time, which is its axis of features; take one of its windows'"
        )
    if place == 0:
        return at_each_step(step, operands, run, [numbers.out_spec[0]])
    one, kernel = place - 2, operands[1]
    (low, high), size = params["padding"][one], kernel.shape[numbers.rhs_spec[place]]
    dilation, interior = params["rhs_dilation"][one], params["lhs_dilation"][one] - 1
    window = Window(size, params["window_strides"][one], dilation, low, high, interior)
    changed = {
        "padding": _with(params["padding"], one, (0, 0)),
        "lhs_dilation": _with(params["lhs_dilation"], one, 1),
    }

    def convolve(entries: jax.Array) -> jax.Array:
        return apply(step.equation, [entries, kernel], **changed)[0]

    return window.over(run.signal(operands[0]), 0, convolve, numbers.out_spec[place], run)


def dilax_conv(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """The same for dilax's own convolution, of ``(batch, *window, features)``."""
    must_agree(step, but=["geometry"])
    axis, geometry, kernel = only_signal(operands, "a kernel"), step.params["geometry"], operands[1]
    longer = step.longer.params["geometry"]
    if dataclasses.replace(longer, input_size=geometry.input_size) != geometry:
        raise RefusedError(
            f"depends on the length of the input by its padding, {geometry.padding} and "
            f"{longer.padding}; give numbers"
        )
    if axis == 0:
        return at_each_step(step, operands, run, [0])
    if axis > geometry.rank:
        raise RefusedError("sums over time, which is its axis of features")
    one = axis - 1
    (low, high), size = geometry.padding[one], geometry.kernel_size[one]
    window = Window(size, geometry.strides[one], geometry.kernel_dilation[one], low, high)

    def convolve(entries: jax.Array) -> jax.Array:
        sizes = _with(geometry.input_size, one, entries.shape[axis])
        pads = _with(geometry.padding, one, (0, 0))
        own = dataclasses.replace(geometry, input_size=sizes, padding=pads)
        return apply(step.equation, [entries, kernel], geometry=own)[0]

    return window.over(run.signal(operands[0]), 0, convolve, axis, run)


def pool(neutral: Callable[[Any, Sequence[Value]], Any]) -> Rule:
    """Return the rule of a reduction of windows whose padding is ``neutral``."""

    def rule(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
        must_agree(step)
        signal, params = run.signal(operands[0]), step.params
        axis = only_signal(operands, "a first value")
        if len(step.results) > 1:
            raise RefusedError("reduces several signals together")
        value = neutral(signal.chunk.dtype, operands)
        names = ("window_dimensions", "window_strides", "window_dilation")
        size, stride, dilation = (params[name][axis] for name in names)
        (low, high), interior = params["padding"][axis], params["base_dilation"][axis] - 1
        window = Window(size, stride, dilation, low, high, interior)
        changed = {
            "padding": _with(params["padding"], axis, (0, 0)),
            "base_dilation": _with(params["base_dilation"], axis, 1),
        }

        def reduce(entries: jax.Array) -> jax.Array:
            return apply(step.equation, [entries, *operands[1:]], **changed)[0]

        return window.over(signal, value, reduce, axis, run)

    return rule


def _with(values: Sequence[Any], place: int, value: Any) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])


def highest(dtype: Any) -> Any:
    """Return what is never smaller than another entry."""
    if dtype == np.bool_:
        return np.True_
    value = np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).max
    return np.asarray(value).astype(dtype)[()]


# --- all that came before -------------------------------------------------------------------------


def cumulative(
    neutral: Callable[[Any], Any], combine: Callable[[jax.Array, jax.Array], jax.Array]
) -> Rule:
    """Return the rule of a running sum, or the like, of which the last entry is kept."""

    def rule(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
        must_agree(step)
        signal = run.signal(operands[0])
        axis = signal.axis
        if step.params["axis"] != axis:
            return at_each_step(step, operands, run, [axis])
        if step.params["reverse"]:
            raise RefusedError("goes from the end of the signal to its start; go from start to end")
        value = neutral(signal.chunk.dtype)
        signal = begun_by(signal, value, run.memory)
        past = None if signal.past is None else apply(step.equation, [signal.past])[0]
        (found,) = apply(step.equation, [signal.chunk])
        shape = (*found.shape[:axis], 1, *found.shape[axis + 1 :])
        last = (
            jnp.full(shape, value, found.dtype)
            if past is None
            else part(past, axis, past.shape[axis] - 1, past.shape[axis])
        )

        def update(held: jax.Array) -> tuple[jax.Array, jax.Array]:
            chunk = combine(jnp.broadcast_to(held, found.shape), found)
            return chunk, part(chunk, axis, chunk.shape[axis] - 1, chunk.shape[axis])

        chunk = run.memory.exchange(last, update)
        return [dataclasses.replace(signal, chunk=chunk, past=past)]

    return rule


def scan(step: Step, operands: Sequence[Value], run: Run) -> Sequence[Value]:
    """A loop over time, such as a recurrent layer: what it carries is kept."""
    must_agree(step, but=["length"])
    params = step.params
    split = params["num_consts"] + params["num_carry"]
    fixed, rows = operands[:split], operands[split:]
    if not rows or any(isinstance(one, Signal | Uniform) for one in fixed):
        raise RefusedError("is a loop over time that reads a whole signal in each turn")
    signals = [run.signal(one) for one in rows]
    if params["reverse"] or any(one.axis for one in signals):
        raise RefusedError("goes from the end of the signal to its start; go from start to end")
    ahead = min(one.ahead for one in signals)
    if len({(one.spacing, one.extra) for one in signals}) > 1 or ahead < 0:
        raise RefusedError(
            "is a loop over a signal that begins later than the input; pad it in front"
        )
    signals = [delayed(one, ahead, run.memory) for one in signals]
    return _loop(step, fixed, signals, run)


def _loop(
    step: Step, fixed: Sequence[Value], signals: Sequence[Signal], run: Run
) -> Sequence[Value]:
    consts, count, first = step.params["num_consts"], step.params["num_carry"], signals[0]

    def turns(carry: Sequence[Any], rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        own = [*fixed[:consts], *carry, *rows]
        found = apply(step.equation, own, length=rows[0].shape[0])
        return found[:count], found[count:]

    carry, pasts = list(map(jnp.asarray, fixed[consts:])), [None] * (len(step.results) - count)
    if first.ahead:
        carry, pasts = turns(carry, [one.past for one in signals])

    def update(held: list[Any]) -> tuple[list[Any], list[Any]]:
        kept, found = turns(held, [one.chunk for one in signals])
        return found, kept

    chunks = run.memory.exchange(carry, update)
    gone = Unknown(f"{step.said()} ends with a value that depends on the whole signal")
    stacks = [
        dataclasses.replace(first, chunk=chunk, past=past)
        for chunk, past in zip(chunks, pasts, strict=True)
    ]
    return [*[gone] * count, *stacks]

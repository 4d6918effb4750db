"""Values that arrive in time, chunk by chunk, and how they are moved along it.

For an input of ``T`` steps, a signal of the program has ``T / spacing + extra`` entries. After
``t`` steps, the first ``t / spacing + ahead`` of them are known, because they depend on nothing
later. So a chunk of ``n`` steps of the input always brings ``n / spacing`` entries more.

- If ``ahead`` is positive, that many entries are known before the first input, such as the zeros in
  front of a causal convolution. They are ``past``.
- If ``ahead`` is negative, entries before the first one arrive first, which mean nothing and which
  no entry depends on.
- ``ahead`` is never above ``extra``. If it is below, the last entries depend on the end of the
  input, such as on zeros after it.

A window of ``span`` entries that moves by ``stride`` fits ``floor((n - span) / stride) + 1`` times
into ``n``. This is so for all entries, and for those known so far, which gives both numbers of the
result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


class RefusedError(Exception):
    """An operation that cannot be done chunk by chunk; the message says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class Signal:
    """A value that arrives in time; see the top of this file."""

    chunk: jax.Array
    """The entries that arrive now."""
    past: jax.Array | None
    """The first ``ahead`` entries; None if there are none."""
    axis: int
    """The axis of time."""
    spacing: Fraction
    """Steps of the input from one entry to the next."""
    ahead: int
    extra: int
    cause: str = ""
    """The operation because of which ``ahead`` is below ``extra``."""
    rows: int = 1
    """How many rows of entries are on the axis, one after the other, if others are merged with it.

    Each step of such a signal can be computed for itself, but it cannot be moved along time.
    """

    @property
    def size(self) -> int:
        """Number of entries that arrive now."""
        return self.chunk.shape[self.axis] // self.rows

    def each(
        self, function: Callable[[jax.Array], jax.Array]
    ) -> tuple[jax.Array, jax.Array | None]:
        """Apply a function to what arrives now, and to what was there before, if anything."""
        return function(self.chunk), None if self.past is None else function(self.past)


@dataclasses.dataclass(frozen=True, eq=False)
class Uniform:
    """A constant that is the same at every step."""

    array: Any
    """Its entries at one step, with an axis of size 1 for time."""
    axis: int
    spacing: Fraction
    extra: int

    def repeated(self, size: int) -> jax.Array:
        """Return the entries of several steps."""
        shape = list(self.array.shape)
        shape[self.axis] = size
        return jnp.broadcast_to(self.array, shape)

    def signal(self, size: int) -> Signal:
        """Let it arrive in time."""
        past = self.repeated(self.extra) if self.extra > 0 else None
        chunk, extra = self.repeated(size), self.extra
        return Signal(chunk, past, self.axis, self.spacing, extra, extra)


class Memory:
    """What is kept from one chunk to the next, in the order in which it is asked for."""

    def __init__(self, held: Sequence[Any] | None) -> None:
        self._held = held
        self.initial: list[Any] = []
        """What is kept before the first chunk: a pytree of arrays for each operation."""
        self.kept: list[Any] = []
        """What is kept after this chunk."""

    def exchange(self, initial: Any, update: Callable[[Any], tuple[Any, Any]]) -> Any:
        """Give what is held, at first ``initial``, to a function that returns a result and more.

        The second of what it returns is held for the next chunk.
        """
        held = initial if self._held is None else self._held[len(self.initial)]
        self.initial.append(initial)
        result, kept = update(held)
        # A loop over chunks needs the same types after each turn, weak types included.
        self.kept.append(jax.tree.map(lambda new, old: new.astype(old.dtype), kept, initial))
        return result


def part(array: jax.Array, axis: int, start: int, stop: int) -> jax.Array:
    """Return the entries from ``start`` to ``stop`` along an axis."""
    return lax.slice_in_dim(array, start, stop, axis=axis)


def beside(arrays: Sequence[jax.Array | None], axis: int) -> jax.Array:
    """Put arrays one after the other, of which some may be None."""
    there = [array for array in arrays if array is not None]
    return there[0] if len(there) == 1 else lax.concatenate(there, axis)


def filled_block(like: jax.Array, axis: int, size: int, value: Any) -> jax.Array:
    """Return ``size`` entries of one value, of the shape and type of an array otherwise."""
    shape = (*like.shape[:axis], size, *like.shape[axis + 1 :])
    return jnp.full(shape, value, like.dtype)


# --- looking back ---------------------------------------------------------------------------------


def with_entries_before(signal: Signal, count: int, memory: Memory) -> jax.Array:
    """Return the entries that arrive, after the ``count`` entries before them, which are kept."""
    if not count:
        return signal.chunk
    axis, known = signal.axis, max(signal.ahead, 0)
    nothing = filled_block(signal.chunk, axis, max(count - known, 0), 0)
    there = None if signal.past is None else part(signal.past, axis, max(known - count, 0), known)

    def update(held: jax.Array) -> tuple[jax.Array, jax.Array]:
        entries = beside([held, signal.chunk], axis)
        size = entries.shape[axis]
        return entries, part(entries, axis, size - count, size)

    return memory.exchange(beside([nothing, there], axis), update)


def delayed(signal: Signal, ahead: int, memory: Memory) -> Signal:
    """Let entries arrive later, ``ahead`` of the input instead of more."""
    if ahead == signal.ahead:
        return signal
    if signal.rows > 1:
        return _merged(delayed(_apart(signal), ahead, memory), signal.rows)
    entries = with_entries_before(signal, signal.ahead - ahead, memory)
    chunk = part(entries, signal.axis, 0, signal.size)
    past = None if ahead <= 0 else part(signal.past, signal.axis, 0, ahead)  # type: ignore[arg-type]
    return dataclasses.replace(signal, chunk=chunk, past=past, ahead=ahead)


def _apart(signal: Signal) -> Signal:
    """Give the rows an axis of their own, before that of time."""
    place, rows = signal.axis, signal.rows
    chunk, past = signal.each(
        lambda one: one.reshape(*one.shape[:place], rows, -1, *one.shape[place + 1 :])
    )
    return dataclasses.replace(signal, chunk=chunk, past=past, axis=place + 1, rows=1)


def _merged(signal: Signal, rows: int) -> Signal:
    """Undo ``_apart``."""
    place = signal.axis - 1
    chunk, past = signal.each(
        lambda one: one.reshape(*one.shape[:place], -1, *one.shape[place + 2 :])
    )
    return dataclasses.replace(signal, chunk=chunk, past=past, axis=place, rows=rows)


def windows(
    signal: Signal,
    span: int,
    stride: int,
    apply: Callable[[jax.Array], jax.Array],
    axis: int,
    memory: Memory,
) -> Signal:
    """Apply a function of all windows that fit into an array, each moved by ``stride``.

    The time of what it returns is at ``axis``.
    """
    ahead, extra = ((n - span) // stride + 1 for n in (signal.ahead, signal.extra))
    before = signal.ahead - stride * ahead
    entries = with_entries_before(signal, max(before, 0), memory)
    first = max(-before, 0)
    size = signal.size - stride + span
    chunk = apply(part(entries, signal.axis, first, first + size))
    past = None
    if ahead > 0:
        past = apply(part(signal.past, signal.axis, 0, stride * (ahead - 1) + span))  # type: ignore[arg-type]
    spacing = signal.spacing * stride
    return Signal(chunk, past, axis, spacing, ahead, extra, signal.cause)


# --- what stands before and after -----------------------------------------------------------------


def _begun_by(signal: Signal, block: jax.Array, memory: Memory) -> jax.Array:
    """Return what arrives, with entries before the first one replaced by the end of ``block``."""
    axis, size, width = signal.axis, signal.size, block.shape[signal.axis]

    def update(left: jax.Array) -> tuple[jax.Array, jax.Array]:
        place = jnp.arange(size) - left  # counted from the first entry
        shape = [-1 if n == axis else 1 for n in range(signal.chunk.ndim)]
        instead = jnp.take(block, jnp.clip(place + width, 0, width - 1), axis=axis)
        chunk = jnp.where(place.reshape(shape) < 0, instead, signal.chunk)
        return chunk, jnp.maximum(left - size, 0)

    return memory.exchange(jnp.asarray(-signal.ahead, jnp.int32), update)


def begun_by(signal: Signal, value: Any, memory: Memory) -> Signal:
    """Replace what arrives before the first entry by one value."""
    if signal.ahead >= 0:
        return signal
    block = filled_block(signal.chunk, signal.axis, 1, value)
    return dataclasses.replace(signal, chunk=_begun_by(signal, block, memory))


def preceded(signal: Signal, block: jax.Array, memory: Memory) -> Signal:
    """Put constant entries in front."""
    axis, low = signal.axis, block.shape[signal.axis]
    if not low:
        return signal
    ahead, extra, past = signal.ahead + low, signal.extra + low, None
    chunk = signal.chunk if signal.ahead >= 0 else _begun_by(signal, block, memory)
    if ahead > 0:
        past = part(beside([block, signal.past], axis), axis, 0, ahead)
    return dataclasses.replace(signal, chunk=chunk, past=past, ahead=ahead, extra=extra)


def cropped(signal: Signal, low: int, high: int, memory: Memory) -> Signal:
    """Drop ``low`` entries at the start and ``high`` at the end."""
    ahead, extra, past = signal.ahead - low, signal.extra - low - high, None
    if ahead > 0:
        past = part(signal.past, signal.axis, low, signal.ahead)  # type: ignore[arg-type]
    moved = dataclasses.replace(signal, past=past, ahead=ahead, extra=extra)
    return delayed(moved, min(ahead, extra), memory)


def followed(signal: Signal, high: int) -> Signal:
    """Put constant entries after the end, which come only when there is no more input."""
    return dataclasses.replace(signal, extra=signal.extra + high)


def padded(
    signal: Signal, low: int, high: int, interior: int, value: Any, memory: Memory
) -> Signal:
    """Pad as ``lax.pad`` does: between entries, before and after them; negative numbers drop some.

    After each entry, including the last, there are ``interior`` entries of ``value``: either they
    are between it and the next one, or padding, or beyond the end.
    """
    if interior:
        config = [(0, 0, 0)] * signal.chunk.ndim
        config[signal.axis] = (0, interior, interior)
        of_type = jnp.asarray(value, signal.chunk.dtype)
        chunk, past = signal.each(lambda one: lax.pad(one, of_type, config))
        step = interior + 1
        signal = dataclasses.replace(
            signal,
            chunk=chunk,
            past=past,
            spacing=signal.spacing / step,
            ahead=signal.ahead * step,
            extra=signal.extra * step,
        )
        high -= interior
    if low > 0:
        signal = preceded(signal, filled_block(signal.chunk, signal.axis, low, value), memory)
    if low < 0 or high < 0:
        signal = cropped(signal, max(-low, 0), max(-high, 0), memory)
    return followed(signal, max(high, 0))

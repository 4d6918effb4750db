"""The largest entry of each window, along one axis after the other, in two ways.

A fold of a shifted, strided slice for each entry of the window suits small windows: XLA fuses the
slices, and their transposes are paddings. For a long window that moves by several entries at a
time, that is one padded array for each of its entries. There the axis is split into blocks of the
stride: a window is a few neighbouring blocks, each of which is reduced at once.

In both, the gradient goes to the first of equal entries, as in lax.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dilax._functions.window_axis import WindowAxis
from dilax.geometry import AxisPadding

MOST_TERMS = 32
"""Most slices or blocks of a window along an axis; lax computes longer ones."""

LEAST_BLOCK = 5
"""Smallest window, in entries along an axis, that is reduced in blocks."""


def is_folded(axes: Sequence[WindowAxis]) -> bool:
    """Whether ``fold_max`` takes these axes, rather than lax."""
    return all(in_blocks(axis) or axis.size <= MOST_TERMS for axis in axes)


def pooled_axes(
    shape: Sequence[int],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[AxisPadding],
    window_dilation: Sequence[int],
) -> tuple[WindowAxis, ...]:
    """Return the axes that ``lax.reduce_window`` would change, from its arguments."""
    columns = zip(window_dimensions, window_strides, window_dilation, padding, strict=True)
    return tuple(
        WindowAxis(axis, shape[axis], *column)
        for axis, column in enumerate(columns)
        if column != (1, 1, 1, (0, 0))
    )


@functools.partial(jax.jit, static_argnums=1, inline=True)
def fold_max(x: jax.Array, axes: tuple[WindowAxis, ...]) -> jax.Array:
    """Fold the axes from last to first, so that of equal entries the first in row-major order wins.

    A call outside of ``jit`` is compiled as a whole; inside ``jit`` it is inlined.
    """
    for axis in reversed(axes):
        x = largest_in_blocks(x, _whole(axis)) if in_blocks(axis) else _largest_by_fold(x, axis)
    return x


def lowest(dtype: np.dtype) -> Any:
    """Return what is never larger than another entry."""
    if dtype == np.bool_:
        return np.False_
    value = -np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min
    return np.asarray(value).astype(dtype)[()]


# --- a slice for each entry -----------------------------------------------------------------------


def _largest_by_fold(x: jax.Array, window: WindowAxis) -> jax.Array:
    config = [(0, 0, 0)] * x.ndim
    config[window.axis] = (*window.padding, 0)
    padded = lax.pad(x, lowest(x.dtype), config)
    # With a stride, XLA slices the last entry of a sharded axis wrongly.
    stride = 1 if window.outputs == 1 else window.stride
    span = stride * (window.outputs - 1) + 1 if window.outputs else 0
    slices = [
        lax.slice_in_dim(padded, start, start + span, stride, axis=window.axis)
        for start in window.starts()
    ]
    return functools.reduce(first_larger, slices)


def first_larger(best: jax.Array, candidate: jax.Array) -> jax.Array:
    """Return the larger value, or the first if both are equal, or NaN if one is NaN."""
    keep = (best >= candidate) | (best != best)
    return jnp.where(keep, best, candidate)


# --- blocks of entries ----------------------------------------------------------------------------


def in_blocks(window: WindowAxis) -> bool:
    """Whether the window has few blocks for its size."""
    window = _whole(window)
    few = window.stride >= 4 and window.size <= MOST_TERMS * window.stride
    return window.dilation == 1 and window.size >= LEAST_BLOCK and few


def _whole(window: WindowAxis) -> WindowAxis:
    """Let a single window be one block: its stride means nothing."""
    return window._replace(stride=window.size) if window.outputs == 1 else window


class Block(NamedTuple):
    """Neighbouring entries of every window: the place of the first, and their number."""

    start: int
    width: int


def _blocks(window: WindowAxis) -> list[Block]:
    starts = range(0, window.size, window.stride)
    return [Block(start, min(window.stride, window.size - start)) for start in starts]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def largest_in_blocks(x: jax.Array, window: WindowAxis) -> jax.Array:
    """Compute the maximum of each window along an axis from the maxima of its blocks."""
    fill = lowest(x.dtype)
    parts = [_part(x, window, block, fill).max(window.axis + 1) for block in _blocks(window)]
    return functools.reduce(jnp.maximum, parts)


@largest_in_blocks.defjvp
def _select_first(
    window: WindowAxis, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Select the tangent of the first entry that is equal to the maximum, or NaN."""
    (x,), (tangent,), within = primals, tangents, window.axis + 1
    y = largest_in_blocks(x, window)
    largest = lax.expand_dims(y, (within,))
    fill, zero = lowest(x.dtype), np.zeros((), tangent.dtype)

    def places(block: Block, part: jax.Array) -> jax.Array:
        return block.start + lax.broadcasted_iota(jnp.int32, part.shape, within)

    def first_in(block: Block) -> jax.Array:
        part = _part(x, window, block, fill)
        found = (part == largest) | (part != part)
        return jnp.where(found, places(block, part), window.size).min(within, keepdims=True)

    def selected(block: Block) -> jax.Array:
        part = _part(tangent, window, block, zero)
        return jnp.where(places(block, part) == first, part, zero).sum(within)

    first = functools.reduce(jnp.minimum, map(first_in, _blocks(window)))
    return y, functools.reduce(lax.add, map(selected, _blocks(window)))


def _part(x: jax.Array, window: WindowAxis, block: Block, fill: Any) -> jax.Array:
    """Return the entries of a block in every window: ``(..., outputs, width, ...)``."""
    axis, length = window.axis, window.outputs * window.stride
    low = window.padding[0] - block.start
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (low, length - low - window.length, 0)
    rows = lax.pad(x, fill, config)
    rows = rows.reshape(*x.shape[:axis], window.outputs, window.stride, *x.shape[axis + 1 :])
    return lax.slice_in_dim(rows, 0, block.width, axis=axis + 1)

"""Pooling with gradients made of slices and sums, rather than a new search of every window.

A maximum over a box is a maximum along each axis in turn. The gradient of lax's ``reduce_window``
maximum (select-and-scatter) is much slower on CPU.

A sum over a box is a depthwise convolution with a kernel of ones, whose gradient is again a sum.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from dilax import algorithms
from dilax._arrays import as_array, common_type
from dilax._checks import as_python, entries
from dilax._functions.arguments import Options, check_growth
from dilax._functions.convolution import conv_canonical
from dilax._functions.maximum import first_larger, fold_max, is_folded, lowest
from dilax._functions.sharding import call_sharded, specs_of
from dilax._functions.symbolic import has_known_size, pool_of_symbolic_size
from dilax._functions.using import algorithm_in_use
from dilax._functions.window_axis import WindowAxis
from dilax.algorithms._shift_and_add import window_sums
from dilax.geometry import (
    ConvGeometry,
    PaddingLike,
    canonical_geometry,
    canonical_tuple,
)

LONGEST_SUM = 32
"""Longest window, in entries along an axis, that is summed; lax computes longer ones."""

LEAST_SUM = 5
"""Sums of fewer entries are computed by lax, which is faster there."""

LARGEST_BOX = 16
"""Sums over larger boxes are computed along one axis after the other."""


def max_pool(
    x: ArrayLike,
    window_shape: int | Sequence[int],
    *,
    strides: int | Sequence[int] | None = None,
    padding: PaddingLike = "VALID",
    kernel_dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Compute the maximum of each window: ``y[..., i, c] = max_k x[..., s i + d k - low, c]``.

    If several entries are equal to the maximum, the gradient goes to the first, as in lax. If a
    window contains a NaN, its maximum is NaN.

    Args:
        x: ``(batch..., *window, features)``.
        window_shape: Size of the window along each window axis. An integer is the size along all
            axes except the first, which is the batch, and the last.
        strides: Entries between neighbouring windows; ones when left out, as in Flax.
        padding: As in ``conv``, but not ``"CIRCULAR"`` or ``"REFLECT"``; padded entries never
            count.
        kernel_dilation: Entries between neighbouring entries of a window.

    Returns:
        ``(batch..., *window_out, features)``.

    Raises:
        ValueError: An argument does not fit the window axes, or a window fits nowhere.
        TypeError: ``x`` is not of real numbers, or another argument not of integers.

    >>> import jax.numpy as jnp
    >>> max_pool(jnp.ones((8, 28, 28, 16)), (2, 2), strides=2).shape
    (8, 14, 14, 16)
    """
    x = as_array(x, "x")
    if jnp.issubdtype(x.dtype, np.complexfloating):
        raise TypeError(f"x must be of real numbers, of which one is the largest, got {x.dtype}.")
    axes = _window_axes(x, window_shape, strides, padding, kernel_dilation)
    if not has_known_size(axis.length for axis in axes):
        return pool_of_symbolic_size(x, axes, lowest(x.dtype), first_larger)
    if not all(axis.outputs for axis in axes):
        return _empty(x, axes)
    if not is_folded(axes) or algorithm_in_use() is algorithms.lax:
        return _reduce_window(x, lowest(x.dtype), lax.max, axes)
    return fold_max(x, tuple(axes))


def avg_pool(
    x: ArrayLike,
    window_shape: int | Sequence[int],
    *,
    strides: int | Sequence[int] | None = None,
    padding: PaddingLike = "VALID",
    kernel_dilation: int | Sequence[int] = 1,
    count_include_pad: bool = True,
) -> jax.Array:
    """Compute the mean of each window: ``y[..., i, c] = sum_k x[..., s i + d k - low, c] / count``.

    Args:
        x: ``(batch..., *window, features)``, floating point; half precision is summed in float32.
        window_shape: Size of the window along each window axis. An integer is the size along all
            axes except the first, which is the batch, and the last.
        strides: Entries between neighbouring windows; ones when left out, as in Flax.
        padding: As in ``conv``, but not ``"CIRCULAR"`` or ``"REFLECT"``.
        kernel_dilation: Entries between neighbouring entries of a window.
        count_include_pad: Whether ``count`` is the size of the window; if false, ``count`` is the
            number of its entries that are not padding.

    Returns:
        ``(batch..., *window_out, features)``.

    Raises:
        ValueError: An argument does not fit the window axes, or a window fits nowhere.
        TypeError: ``x`` is not of floating point, or another argument not of integers.

    >>> import jax.numpy as jnp
    >>> avg_pool(jnp.arange(6.0)[:, None], (2,), strides=2)[:, 0]
    Array([0.5, 2.5, 4.5], dtype=float32)
    """
    x = as_array(x, "x")
    if not jnp.issubdtype(x.dtype, np.inexact):
        raise TypeError(f"x must be of floating point, to have a mean, got {x.dtype}.")
    axes = _window_axes(x, window_shape, strides, padding, kernel_dilation)
    wide = x.astype(common_type(x.dtype, jnp.float32))
    if not has_known_size(axis.length for axis in axes):
        return _mean_of_symbolic_size(wide, axes, count_include_pad).astype(x.dtype)
    if x.size == 0 or not all(axis.outputs for axis in axes):
        return _empty(x, axes)
    total = _sharded_sums(wide, axes)
    count = _counts(axes, count_include_pad, total.ndim)
    return (total / jnp.asarray(count, total.dtype)).astype(x.dtype)


def _mean_of_symbolic_size(
    x: jax.Array, axes: Sequence[WindowAxis], include_pad: bool
) -> jax.Array:
    zero = x.dtype.type(0)
    total = pool_of_symbolic_size(x, axes, zero, lax.add)
    if include_pad:
        return total / math.prod(axis.size for axis in axes)
    return total / pool_of_symbolic_size(jnp.ones_like(x[..., :1]), axes, zero, lax.add)


def _counts(axes: Sequence[WindowAxis], include_pad: bool, ndim: int) -> np.ndarray:
    """Return the ``count`` of every window for ``ndim`` axes, or a scalar if all are equal."""
    counts = np.ix_(*(axis.counts(include_pad) for axis in axes))
    count = functools.reduce(np.multiply, counts)[..., None]
    if (count == count.flat[0]).all():
        return count.flat[0]
    return count.reshape((1,) * (ndim - count.ndim) + count.shape)


def _sharded_sums(x: jax.Array, axes: Sequence[WindowAxis]) -> jax.Array:
    first = axes[0].axis
    shape = (*x.shape[:first], *(axis.outputs for axis in axes), *x.shape[first + len(axes) :])
    run = functools.partial(_window_sums, axes=axes)
    return call_sharded(run, x, shape=shape, spec=specs_of(x)[0])


def _window_sums(x: jax.Array, axes: Sequence[WindowAxis]) -> jax.Array:
    taps = math.prod(axis.size for axis in axes)
    long = max(axis.size for axis in axes) > LONGEST_SUM
    if taps < LEAST_SUM or long or algorithm_in_use() is algorithms.lax:
        return _reduce_window(x, x.dtype.type(0), lax.add, axes)
    boxes = [axes] if taps <= LARGEST_BOX else [[axis] for axis in axes]
    return functools.reduce(_box_sums, boxes, x)


def _box_sums(x: jax.Array, axes: Sequence[WindowAxis]) -> jax.Array:
    """Sum over windows of adjacent axes; axes before them are the batch, those after, features."""
    batch, rest = x.shape[: axes[0].axis], x.shape[axes[-1].axis + 1 :]
    features = math.prod(rest)
    columns = zip(*(axis[1:] for axis in axes), strict=True)
    input_size, kernel_size, strides, dilation, padding = columns
    geometry = ConvGeometry(input_size, kernel_size, strides, padding, dilation, features)
    rows = x.reshape(math.prod(batch), *input_size, features)
    ones = jnp.ones((*kernel_size, 1, features), x.dtype)
    sums = conv_canonical(rows, ones, geometry, Options(None, x.dtype, window_sums))
    return sums.reshape(*batch, *geometry.output_size, *rest)


def _window_axes(
    x: jax.Array,
    window_shape: int | Sequence[int],
    strides: int | Sequence[int] | None,
    padding: PaddingLike,
    kernel_dilation: int | Sequence[int],
) -> list[WindowAxis]:
    given = as_python(window_shape)
    one_for_all = isinstance(given, int) and not isinstance(given, bool)
    shape = (given,) * max(x.ndim - 2, 0) if one_for_all else given
    shape = entries(shape, "window_shape", "integers")
    rank = len(shape)
    if rank == 0 or x.ndim < rank + 1:
        raise ValueError(
            f"x must have shape (batch..., *window, features) with {rank or 'its'} window axes for "
            f"window_shape {window_shape}, got {x.shape}."
        )
    first = x.ndim - rank - 1
    geometry = canonical_geometry(
        x.shape[first:-1],
        canonical_tuple(shape, rank, "window_shape"),
        strides=1 if strides is None else strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
    )
    check_growth(x, geometry.input_size, geometry.padding, "kernel_dilation")
    columns = zip(
        range(first, first + rank),
        geometry.input_size,
        geometry.kernel_size,
        geometry.strides,
        geometry.kernel_dilation,
        geometry.padding,
        strict=True,
    )
    axes = [WindowAxis(*column) for column in columns]
    for axis in filter(lambda axis: has_known_size([axis.length]), axes):
        _check_fit(axis)
    return axes


def _check_fit(axis: WindowAxis) -> None:
    if axis.length and not axis.outputs:
        span = axis.dilation * (axis.size - 1) + 1
        raise ValueError(
            f"window_shape must fit the padded input: at kernel_dilation {axis.dilation} a window "
            f"spans {span} entries, got {axis.length + sum(axis.padding)} along axis {axis.axis} "
            f"of x with padding {axis.padding}; pad more, or take a smaller window."
        )


def _empty(x: jax.Array, axes: Sequence[WindowAxis]) -> jax.Array:
    """Return the result for an empty input, or for an axis without outputs."""
    batch = x.shape[: axes[0].axis]
    return jnp.zeros((*batch, *(axis.outputs for axis in axes), x.shape[-1]), x.dtype)


def _reduce_window(
    x: jax.Array,
    neutral: Any,
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    axes: Sequence[WindowAxis],
) -> jax.Array:
    def per_axis(value: Callable[[WindowAxis], object], other: object) -> tuple:
        batch = (other,) * (x.ndim - len(axes) - 1)
        return (*batch, *map(value, axes), other)

    return lax.reduce_window(
        x,
        neutral,
        combine,
        per_axis(lambda a: a.size, 1),
        per_axis(lambda a: a.stride, 1),
        per_axis(lambda a: a.padding, (0, 0)),
        window_dilation=per_axis(lambda a: a.dilation, 1),
    )

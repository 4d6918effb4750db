"""A drop-in for ``lax.conv_general_dilated``, computed faster where dilax can."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from dilax import algorithms
from dilax._arrays import as_array
from dilax._functions.arguments import Options, check_array, is_mostly_padding
from dilax._functions.convolution import conv_canonical
from dilax._functions.symbolic import has_known_size
from dilax._functions.using import algorithm_in_use
from dilax.algorithms import Algorithm
from dilax.geometry import ConvGeometry, _padding


def conv_general_dilated(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
    *,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Convolve like ``jax.lax.conv_general_dilated``, with the same arguments and the same errors.

    Convolutions with one to three window axes, in any order of dimensions, are computed by dilax's
    algorithms. All others, and those with ``lhs_dilation``, ``batch_group_count`` or
    ``out_sharding``, are passed to lax unchanged.

    Args:
        lhs: Input of rank ``n + 2``.
        rhs: Kernel of rank ``n + 2``.
        window_strides: As in lax.
        padding: As in lax.
        lhs_dilation: As in lax.
        rhs_dilation: As in lax.
        dimension_numbers: As in lax; ``None`` means batch and features first.
        feature_group_count: As in lax.
        batch_group_count: As in lax.
        precision: As in lax.
        preferred_element_type: As in lax.
        out_sharding: As in lax.
        algorithm: How to compute a convolution that is not passed to lax; lax has no such argument.

    Returns:
        The array that lax returns, equal up to rounding.

    Raises:
        TypeError: As lax, for the same arguments.
        ValueError: As lax; also where lax raises an error that is neither of these two.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((8, 28, 28, 16)), jnp.ones((3, 3, 1, 16))
    >>> conv_general_dilated(x, kernel, (1, 1), "SAME", rhs_dilation=(2, 2), feature_group_count=16,
    ...                      dimension_numbers=("NHWC", "HWIO", "NHWC")).shape
    (8, 28, 28, 16)
    """
    x, kernel = as_array(lhs, "lhs"), as_array(rhs, "rhs")
    algorithm = algorithm_in_use(algorithm)
    by_lax: Callable[..., jax.Array] = functools.partial(
        lax.conv_general_dilated,  # type: ignore[arg-type]
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        **({} if out_sharding is None else {"out_sharding": out_sharding}),
    )
    call = None
    if algorithm is algorithms.lax:
        return by_lax(lhs, rhs)
    check_array(kernel, "rhs")
    plain = _is_one(batch_group_count) and _all_ones(lhs_dilation, x.ndim - 2)
    if plain and out_sharding is None:
        window = window_strides, padding, rhs_dilation
        call = _canonical(x, kernel, *window, dimension_numbers, feature_group_count)
    if call is None:
        _result_of(by_lax, x, kernel)
        return by_lax(lhs, rhs)
    options = Options(None, x.dtype, algorithm)
    if precision is not None or preferred_element_type is not None:
        result = _result_of(by_lax, x, kernel)
        hashable = tuple(precision) if isinstance(precision, list) else precision
        options = Options(hashable, result.dtype, algorithm)
    x, kernel = _permute(x, call.axes.lhs), _permute(kernel, call.axes.rhs)
    return _permute(conv_canonical(x, kernel, call.geometry, options), call.axes.out)


def _result_of(by_lax: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array) -> Any:
    """Return the type of lax's result; lax checks the arguments and raises its own errors.

    Errors that are neither ``TypeError`` nor ``ValueError`` become a ``ValueError``.
    """
    try:
        with np.errstate(all="ignore"):
            return jax.eval_shape(by_lax, x, kernel)
    except (TypeError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"lax.conv_general_dilated fails for these arguments: {error}") from error


class Axes(NamedTuple):
    """Permutations of axes: of the operands to channels-last, and of the result back."""

    lhs: tuple[int, ...]
    rhs: tuple[int, ...]
    out: tuple[int, ...]


class Call(NamedTuple):
    """A call of lax's convolution that dilax understands."""

    axes: Axes
    geometry: ConvGeometry


def _canonical(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    dilation: Sequence[int] | None,
    dimension_numbers: Any,
    feature_group_count: int,
) -> Call | None:
    """Convert a call of lax to dilax's terms; None if lax must compute or refuse it."""
    rank = x.ndim - 2
    if not (1 <= rank <= 3 and kernel.ndim == x.ndim and x.size and kernel.size):
        return None
    if x.dtype != kernel.dtype or x.dtype == np.bool_:
        return None
    try:
        axes = layout(rank, dimension_numbers)
        groups = operator.index(feature_group_count)
        steps = _positive(strides, rank)
        spaces = (1,) * rank if dilation is None else _positive(dilation, rank)
        sizes = [tuple(array.shape[axis] for axis in order) for array, order in
                 ((x, axes.lhs), (kernel, axes.rhs))]  # fmt: skip
        window, size = sizes[0][1:-1], sizes[1][:-2]
        if not has_known_size(size):
            return None
        pads = _pads(padding, window, size, steps, spaces)
    except (TypeError, ValueError, AttributeError):
        return None
    geometry = ConvGeometry(window, size, steps, pads, spaces, groups)
    in_channels, outputs = sizes[1][-2:]
    fits = groups > 0 and in_channels * groups == sizes[0][-1] and outputs % groups == 0
    if not fits or 0 in geometry.output_size or is_mostly_padding(x, window, pads):
        return None
    return Call(axes, geometry)


def _is_one(count: Any) -> bool:
    """Whether it is the integer 1; lax must refuse 1.0."""
    return isinstance(count, int | np.integer) and not isinstance(count, bool) and count == 1


def _all_ones(dilation: Sequence[int] | None, rank: int) -> bool:
    """Whether ``lhs_dilation`` has no effect; false if lax must refuse it."""
    if dilation is None:
        return True
    try:
        return tuple(map(operator.index, dilation)) == (1,) * rank
    except TypeError:
        return False


def _positive(values: Sequence[int], rank: int) -> tuple[int, ...]:
    integers = tuple(map(operator.index, values))
    if len(integers) != rank or min(integers) < 1:
        raise ValueError
    return integers


def _pads(
    padding: str | Sequence[tuple[int, int]],
    input_size: tuple[int, ...],
    kernel_size: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "SAME_LOWER", "VALID"):
            raise ValueError
        return _padding(padding, input_size, kernel_size, strides, dilation)
    pads = tuple((operator.index(low), operator.index(high)) for low, high in padding)
    if len(pads) != len(input_size):
        raise ValueError
    return pads


def layout(rank: int, dimension_numbers: Any) -> Axes:
    """Return the permutations of axes for lax's ``dimension_numbers``."""
    try:
        return _known_layout(rank, dimension_numbers)
    except TypeError:  # not hashable
        return _layout(rank, dimension_numbers)


def _layout(rank: int, dimension_numbers: Any) -> Axes:
    shape = (1,) * (rank + 2)
    specs = lax.conv_dimension_numbers(shape, shape, dimension_numbers)
    if any(sorted(spec) != list(range(rank + 2)) for spec in specs):
        raise ValueError  # lax raises its own error
    lhs, rhs, out = specs
    return Axes(channels_last(lhs), kernel_last(rhs), inverse(channels_last(out)))


_known_layout = functools.lru_cache(maxsize=256)(_layout)


def channels_last(spec: Sequence[int]) -> tuple[int, ...]:
    """Reorder axes from lax's batch, features, window to batch, window, features."""
    batch, features, *window = spec
    return (batch, *window, features)


def kernel_last(spec: Sequence[int]) -> tuple[int, ...]:
    """Reorder axes from lax's out, in, window to window, in-features, out-features."""
    out_features, in_features, *window = spec
    return (*window, in_features, out_features)


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    """Return the inverse of a permutation."""
    return tuple(sorted(range(len(axes)), key=lambda place: axes[place]))


def _permute(array: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    return array if axes == tuple(range(array.ndim)) else jnp.transpose(array, axes)

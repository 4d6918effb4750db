"""``lax.conv_general_dilated``, argument for argument, computed faster where dilax can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from dilax._arrays import as_array
from dilax._functions.arguments import is_mostly_padding
from dilax._functions.convolution import conv_canonical
from dilax._functions.layouts import channels_last, inverse, kernel_last, permute
from dilax.algorithms import Algorithm
from dilax.geometry import ConvGeometry


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
    """A drop-in for ``jax.lax.conv_general_dilated``: same arguments, same meaning, same errors.

    Convolutions that dilax computes faster (depthwise and nearly so, pointwise, first layers, of
    one to three window axes, in any order of dimensions) take its algorithms; every other, with
    ``lhs_dilation``, ``batch_group_count`` or ``out_sharding`` too, is handed to lax as it came.

    Args:
      lhs: input of rank ``n + 2``.
      rhs: kernel of rank ``n + 2``.
      window_strides: as in lax.
      padding: as in lax.
      lhs_dilation: as in lax.
      rhs_dilation: as in lax.
      dimension_numbers: as in lax; ``None`` means batch and features first.
      feature_group_count: as in lax.
      batch_group_count: as in lax.
      precision: as in lax.
      preferred_element_type: as in lax.
      out_sharding: as in lax.
      algorithm: how to compute it where it is not handed to lax; the only argument of dilax's own.

    Returns:
      The array that lax returns, equal up to rounding.

    Raises:
      Whatever lax raises for the same arguments; `ValueError` where that is of another kind than
      `TypeError` and `ValueError`.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((8, 28, 28, 16)), jnp.ones((3, 3, 1, 16))
    >>> conv_general_dilated(x, kernel, (1, 1), "SAME", rhs_dilation=(2, 2), feature_group_count=16,
    ...                      dimension_numbers=("NHWC", "HWIO", "NHWC")).shape
    (8, 28, 28, 16)
    """
    sharding = {} if out_sharding is None else {"out_sharding": out_sharding}

    def by_lax(x: ArrayLike, kernel: ArrayLike) -> jax.Array:
        return lax.conv_general_dilated(
            x,  # type: ignore[arg-type]
            kernel,  # type: ignore[arg-type]
            window_strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            batch_group_count=batch_group_count,
            precision=precision,
            preferred_element_type=preferred_element_type,
            **sharding,
        )

    x, kernel = as_array(lhs, "lhs"), as_array(rhs, "rhs")
    result = _checked(by_lax, x, kernel)
    plain = batch_group_count == 1 and out_sharding is None and set(lhs_dilation or ()) <= {1}
    if not (plain and 1 <= x.ndim - 2 <= 3 and x.size and kernel.size and result.size):
        return by_lax(x, kernel)
    numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, dimension_numbers)
    x = permute(x, channels_last(numbers.lhs_spec))
    kernel = permute(kernel, kernel_last(numbers.rhs_spec))
    geometry = _geometry(x, kernel, window_strides, padding, rhs_dilation, feature_group_count)
    if is_mostly_padding(x, geometry.input_size, geometry.padding):
        return by_lax(lhs, rhs)
    y = conv_canonical(
        x,
        kernel,
        geometry,
        precision=precision,
        preferred_element_type=preferred_element_type,
        algorithm=algorithm,
    )
    return permute(y, inverse(channels_last(numbers.out_spec)))


def _checked(by_lax: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array) -> Any:
    """The shape and type of the result; lax checks the arguments, and says what is wrong.

    Where it fails while it checks, by an error of another kind, that becomes a `ValueError`.
    """
    try:
        with np.errstate(all="ignore"):
            return jax.eval_shape(by_lax, x, kernel)
    except (TypeError, ValueError):
        raise
    except Exception as error:
        raise ValueError(f"lax.conv_general_dilated fails for these arguments: {error}") from error


def _geometry(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    dilation: Sequence[int] | None,
    groups: int,
) -> ConvGeometry:
    """Lax's arguments, which it has checked, as the integers of a convolution."""
    rank = x.ndim - 2
    window, size = x.shape[1:-1], kernel.shape[:-2]
    dilation = dilation or (1,) * rank
    if isinstance(padding, str):
        spans = [step * (taps - 1) + 1 for taps, step in zip(size, dilation, strict=True)]
        padding = lax.padtype_to_pads(window, spans, strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    return ConvGeometry(window, size, _integers(strides), pads, _integers(dilation), groups)


def _integers(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)

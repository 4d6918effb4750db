"""Checks of the arguments of public functions; nothing below checks them again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from dilax._arrays import as_array, as_dtype, holds
from dilax._checks import number, shown
from dilax._functions.symbolic import has_known_size, pad_by_index
from dilax._functions.using import algorithm_in_use
from dilax.algorithms import Algorithm
from dilax.geometry import (
    AxisPadding,
    ConvGeometry,
    PaddingLike,
    canonical_geometry,
    canonical_tuple,
    unknown_padding,
)

PADDING_NAMES = ("SAME", "SAME_LOWER", "VALID", "CAUSAL", "CIRCULAR", "REFLECT")

MOST_PADDED = 2**28
"""Largest number of entries of a padded array that is mostly padding."""
MOST_GROWTH = 64
"""An array is mostly padding if padding makes it more than this many times larger."""

_PAD_MODES = {"CIRCULAR": "wrap", "REFLECT": "reflect"}


class Options(NamedTuple):
    """The checked options of a convolution, besides its arrays and its geometry."""

    precision: Any
    dtype: np.dtype
    algorithm: Algorithm | None


def as_arrays(x: ArrayLike, kernel: ArrayLike, name: str = "kernel") -> tuple[jax.Array, jax.Array]:
    """Convert both to arrays of one type, by NumPy's rules of promotion."""
    x, kernel = as_array(x, "x"), as_array(kernel, name)
    if x.dtype == kernel.dtype != np.bool_ and not (_is_weak(x) or _is_weak(kernel)):
        return x, kernel
    try:
        common = jnp.promote_types(x.dtype, kernel.dtype)
    except jax.dtypes.TypePromotionError:
        common = np.dtype(bool)
    if common == np.bool_:
        raise TypeError(
            f"x and {name} must have a common type of numbers, got {x.dtype} and {kernel.dtype}; "
            f"convert one: x.astype(jnp.float32)."
        )
    return x.astype(common), kernel.astype(common)


def check_array(kernel: Any, name: str) -> None:
    """Refuse what a quantiser has put in the place of a kernel, which only lax's function takes.

    Raises:
        TypeError: It is no array.
    """
    if not isinstance(kernel, jax.Array):
        raise TypeError(
            f"{name} must be an array where dilax computes, got {type(kernel).__name__}; call a "
            f"quantised network inside of dilax.using(dilax.algorithms.lax)."
        )


def _is_weak(array: jax.Array) -> bool:
    """Whether the type is weak; what a quantiser has put in the place of a kernel has no such."""
    return getattr(array, "weak_type", False)


def as_scalar(value: Any, name: str) -> Any:
    """Convert a real number, or an array of shape (), to an array."""
    if isinstance(value, float | int):
        return number(value, name)
    array = as_array(value, name)
    if array.shape or jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be one real number, got {array.dtype} {array.shape}.")
    return array


def canonical_options(
    common: np.dtype,
    precision: jax.lax.PrecisionLike,
    preferred_element_type: DTypeLike | None,
    algorithm: Algorithm | None = None,
) -> Options:
    """Check the precision, the type of the result, and the algorithm."""
    if precision is not None and not _is_precision(precision):
        raise ValueError(
            f"precision must be None, a jax.lax.Precision, its name ('default', 'high', "
            f"'highest') or a pair of them, got {shown(precision)}."
        )
    algorithm = algorithm_in_use(algorithm)
    hashable = tuple(precision) if isinstance(precision, list) else precision
    if preferred_element_type is None:
        return Options(hashable, common, algorithm)
    preferred = as_dtype(preferred_element_type, "preferred_element_type")
    if not holds(preferred, common):
        raise TypeError(
            f"preferred_element_type {preferred} cannot hold results of {common} inputs; use a "
            f"type of their kind, or convert the result."
        )
    return Options(hashable, preferred, algorithm)


def _is_precision(precision: Any) -> bool:
    if isinstance(precision, lax.DotAlgorithm | lax.DotAlgorithmPreset):
        return True
    pair = precision if isinstance(precision, tuple | list) else (precision,)
    return len(pair) in (1, 2) and all(map(_is_one_precision, pair))


def _is_one_precision(precision: Any) -> bool:
    try:
        return precision is None or isinstance(lax.Precision(precision), lax.Precision)
    except (TypeError, ValueError):
        return False


def geometry_of(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | Sequence[int],
    padding: PaddingLike,
    kernel_dilation: int | Sequence[int],
    feature_group_count: int,
) -> tuple[jax.Array, ConvGeometry]:
    """Return ``x`` and the geometry of a convolution; CIRCULAR and REFLECT pad ``x`` itself.

    Raises:
        TypeError: An argument is not made of integers.
        ValueError: Shapes or arguments do not fit together, or the dilated kernel is larger than
            the padded input.
    """
    rank = _rank(x, kernel)
    groups = _groups(x, kernel, feature_group_count)
    kernel_size = kernel.shape[:rank]
    if isinstance(padding, str):
        x, padding = _pad_beyond_zeros(x, kernel_size, kernel_dilation, padding)
    geometry = canonical_geometry(
        x.shape[-rank - 1 : -1],
        kernel_size,
        strides=strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        feature_group_count=groups,
    )
    if 0 in geometry.output_size:
        _check_fit(geometry)
    check_growth(x, geometry.input_size, geometry.padding, "kernel_dilation")
    return x, geometry


def _rank(x: jax.Array, kernel: jax.Array) -> int:
    """Return the number of window axes, 1 to 3, of the kernel; the input must have as many."""
    rank = kernel.ndim - 2
    if not 1 <= rank <= 3:
        raise ValueError(
            f"kernel must have 1 to 3 window axes before (in_features // groups, out_features), "
            f"got shape {kernel.shape}."
        )
    if x.ndim < rank + 1:
        raise ValueError(
            f"x must have shape (batch..., {', '.join('*' * rank)}, features) for a kernel of "
            f"shape {kernel.shape}, got {x.shape}; is a window or feature axis missing?"
        )
    return rank


def _groups(x: jax.Array, kernel: jax.Array, feature_group_count: int) -> int:
    """Return the number of groups; check that they fit the features of input and kernel."""
    (groups,) = canonical_tuple(feature_group_count, 1, "feature_group_count")
    features, channels, outputs = x.shape[-1], *kernel.shape[-2:]
    if channels * groups != features:
        raise ValueError(
            f"kernel has {channels} in-features for each of {groups} groups, x has {features} "
            f"features; required: features == kernel.shape[-2] * feature_group_count. Should "
            f"feature_group_count be {features // channels if channels else 'different'}?"
        )
    if outputs % groups:
        raise ValueError(
            f"kernel has {outputs} out-features, which feature_group_count={groups} does not "
            f"divide; required: kernel.shape[-1] % feature_group_count == 0."
        )
    return groups


def _pad_beyond_zeros(
    x: jax.Array,
    kernel_size: tuple[int, ...],
    kernel_dilation: int | Sequence[int],
    padding: str,
) -> tuple[jax.Array, str]:
    """Pad the array itself for CIRCULAR and REFLECT, as Flax does; return other paddings."""
    if padding.upper() not in PADDING_NAMES:
        raise ValueError(unknown_padding(padding, PADDING_NAMES))
    mode = _PAD_MODES.get(padding.upper())
    if mode is None:
        return x, padding
    rank = len(kernel_size)
    dilation = canonical_tuple(kernel_dilation, rank, "kernel_dilation")
    spans = [step * (size - 1) + 1 for size, step in zip(kernel_size, dilation, strict=True)]
    window = [((span - 1) // 2, span // 2) for span in spans]
    if not has_known_size(x.shape[-rank - 1 : -1]):
        return pad_by_index(x, window, mode), "VALID"
    return jnp.pad(x, [(0, 0)] * (x.ndim - rank - 1) + [*window, (0, 0)], mode=mode), "VALID"


def _check_fit(geometry: ConvGeometry) -> None:
    padded, spans = geometry.padded_size, geometry.effective_kernel_size
    too_wide = any(
        span > room
        for size, span, room in zip(geometry.input_size, spans, padded, strict=True)
        if size > 0
    )
    if too_wide:
        raise ValueError(
            f"the kernel does not fit: its effective kernel size is {_plain(spans)} (kernel "
            f"{_plain(geometry.kernel_size)} at kernel_dilation {_plain(geometry.kernel_dilation)})"
            f", the padded input's {_plain(padded)}; pad more (padding='SAME'), or dilate less."
        )


def check_growth(
    x: jax.Array, input_size: Sequence[int], padding: Sequence[AxisPadding], dilation: str
) -> None:
    """Refuse padding that would fill the memory, for example by a mistyped dilation."""
    if is_mostly_padding(x, input_size, padding):
        raise ValueError(
            f"padding {_plain(padding)} of x's window {tuple(input_size)} makes an array that is "
            f"nearly all padding, and too large; pad less, or (where the padding is 'SAME' or "
            f"such) give a smaller {dilation}."
        )


def is_mostly_padding(
    x: jax.Array, input_size: Sequence[int], padding: Sequence[AxisPadding]
) -> bool:
    """Whether the padded ``x`` is large and mostly padding."""
    if not has_known_size(input_size):
        return False
    window = math.prod(input_size)
    columns = zip(input_size, padding, strict=True)
    padded = math.prod(max(size + low + high, 0) for size, (low, high) in columns)
    if padded <= MOST_GROWTH * window:
        return False
    known = math.prod(size for size in x.shape if isinstance(size, int))  # others are symbolic
    return padded * max(known // max(window, 1), 1) > MOST_PADDED


def _plain(sizes: Sequence[Any]) -> Any:
    return sizes[0] if len(sizes) == 1 or len(set(sizes)) == 1 else tuple(sizes)

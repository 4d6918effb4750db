"""What callers may pass, checked and made canonical once, so that the rest meets only tuples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dilax.geometry import (
    ConvGeometry,
    PaddingLike,
    canonical_tuple,
    effective_kernel_size,
    resolve_padding,
    unknown_padding,
)

PADDING_NAMES = ("SAME", "SAME_LOWER", "VALID", "CAUSAL", "CIRCULAR", "REFLECT")

_PAD_MODES = {"CIRCULAR": "wrap", "REFLECT": "reflect"}


def as_arrays(x: ArrayLike, kernel: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Both as arrays of one type, by NumPy's promotion."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    common = jnp.promote_types(x.dtype, kernel.dtype)
    return x.astype(common), kernel.astype(common)


def check_ranks(x: jax.Array, kernel: jax.Array) -> int:
    """The number of window axes, one to three, that the kernel has and the input must have."""
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


def check_features(x: jax.Array, kernel: jax.Array, feature_group_count: int) -> None:
    """Each group must see as many input features as the kernel has, and make as many outputs."""
    (groups,) = canonical_tuple(feature_group_count, 1, "feature_group_count")
    features, members, outputs = x.shape[-1], *kernel.shape[-2:]
    if members * groups != features:
        raise ValueError(
            f"kernel has {members} in-features for each of {groups} groups, x has {features} "
            f"features; required: features == kernel.shape[-2] * feature_group_count. Should "
            f"feature_group_count be {features // members if members else 'different'}?"
        )
    if outputs % groups:
        raise ValueError(
            f"kernel has {outputs} out-features, which feature_group_count={groups} does not "
            f"divide; required: kernel.shape[-1] % feature_group_count == 0."
        )


def pad_beyond_zeros(
    x: jax.Array, kernel_size: Sequence[int], kernel_dilation: Sequence[int], padding: PaddingLike
) -> tuple[jax.Array, PaddingLike]:
    """CIRCULAR and REFLECT padding done on the array, as Flax does it; others passed on."""
    if not isinstance(padding, str):
        return x, padding
    if padding.upper() not in PADDING_NAMES:
        raise ValueError(unknown_padding(padding, PADDING_NAMES))
    mode = _PAD_MODES.get(padding.upper())
    if mode is None:
        return x, padding
    spans = [
        effective_kernel_size(*axis) for axis in zip(kernel_size, kernel_dilation, strict=True)
    ]
    window = [((span - 1) // 2, span // 2) for span in spans]
    batch = [(0, 0)] * (x.ndim - len(window) - 1)
    return jnp.pad(x, [*batch, *window, (0, 0)], mode=mode), "VALID"


def conv_geometry(
    input_size: tuple[int, ...],
    kernel_size: tuple[int, ...],
    strides: int | Sequence[int],
    padding: PaddingLike,
    kernel_dilation: int | Sequence[int],
    feature_group_count: int,
) -> ConvGeometry:
    """The integers of a convolution from what the caller passed.

    Raises:
        ValueError: if an argument does not fit the window axes, or the dilated kernel does not fit
            the padded input.
    """
    rank = len(kernel_size)
    strides = canonical_tuple(strides, rank, "strides")
    dilation = canonical_tuple(kernel_dilation, rank, "kernel_dilation")
    canonical_tuple(kernel_size, rank, "the kernel's window")
    pads = resolve_padding(padding, input_size, kernel_size, strides, dilation)
    geometry = ConvGeometry(input_size, kernel_size, strides, pads, dilation, feature_group_count)
    _check_fit(geometry)
    return geometry


def _check_fit(geometry: ConvGeometry) -> None:
    padded = [
        size + low + high
        for size, (low, high) in zip(geometry.input_size, geometry.padding, strict=True)
    ]
    spans = geometry.effective_kernel_size
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


def _plain(sizes: Sequence[int]) -> Any:
    return sizes[0] if len(sizes) == 1 or len(set(sizes)) == 1 else tuple(sizes)

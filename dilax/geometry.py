"""Where a convolution's numbers come from: plain integers, no arrays, no JAX.

Along one axis of ``n`` inputs, a kernel of ``k`` taps at dilation ``d`` covers
``d (k - 1) + 1`` inputs, its *effective* size. With ``low + high`` padded entries and a stride of
``s`` it fits ``floor((n + low + high - d (k - 1) - 1) / s) + 1`` times. Everything here is that
sentence, made canonical once so that the rest of the library meets only tuples of integers.

Sources: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), for the
arithmetic; ``jax.lax.padtype_to_pads`` for the meaning of SAME.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from typing import Any

from dilax._checks import LONGEST, entries, integer, shown

__all__ = [
    "AxisPadding",
    "ConvGeometry",
    "PaddingLike",
    "canonical_tuple",
    "effective_kernel_size",
    "exact_padding",
    "output_size",
    "resolve_padding",
]

AxisPadding = tuple[int, int]
PaddingLike = str | int | Sequence[int | Sequence[int]]

_PADDING_NAMES = ("SAME", "SAME_LOWER", "VALID", "CAUSAL")
_MOST_AXES = 64


def effective_kernel_size(kernel_size: int, dilation: int) -> int:
    """Inputs that a dilated kernel spans along one axis, ``d (k - 1) + 1``.

    Raises:
        TypeError: if an argument is no integer.
        ValueError: if one is below 1.

    >>> effective_kernel_size(3, dilation=2)
    5
    """
    kernel_size = integer(kernel_size, "kernel_size", minimum=1)
    dilation = integer(dilation, "dilation", minimum=1)
    return dilation * (kernel_size - 1) + 1


def output_size(
    input_size: int, kernel_size: int, stride: int, dilation: int, padding: AxisPadding
) -> int:
    """Outputs along one axis, ``floor((n + low + high - d (k - 1) - 1) / s) + 1``, at least 0.

    Raises:
        TypeError: if an argument is not made of integers.
        ValueError: if a size is negative, or kernel_size, stride or dilation below 1.

    >>> output_size(224, kernel_size=3, stride=1, dilation=2, padding=(2, 2))
    224
    """
    room = integer(input_size, "input_size", minimum=0) + sum(_axis_padding(padding))
    room -= effective_kernel_size(kernel_size, dilation)
    return max(room // integer(stride, "stride", minimum=1) + 1, 0)


def exact_padding(
    input_size: int, output_size: int, kernel_size: int, stride: int, dilation: int, low: int
) -> AxisPadding:
    """Padding of an axis at whose end its last window ends: ``low``, and what that leaves.

    The high end is ``s (m - 1) + d (k - 1) + 1 - n - low`` for ``m`` outputs; negative, it crops.

    Raises:
        TypeError: if an argument is no integer.
        ValueError: if a size is negative, or kernel_size, stride or dilation below 1.

    >>> exact_padding(9, output_size=3, kernel_size=3, stride=2, dilation=2, low=1)
    (1, -1)
    """
    input_size = integer(input_size, "input_size", minimum=0)
    stride, low = integer(stride, "stride", minimum=1), integer(low, "low")
    last = stride * (integer(output_size, "output_size", minimum=0) - 1)
    return low, last + effective_kernel_size(kernel_size, dilation) - input_size - low


def canonical_tuple(
    value: int | Sequence[int], rank: int, name: str, *, minimum: int = 1
) -> tuple[int, ...]:
    """One integer for every window axis, from an integer or a sequence of them.

    Raises:
        TypeError: if an entry is no integer.
        ValueError: if there are not ``rank`` entries, or one is below ``minimum`` or too large for
            32 bits.

    >>> canonical_tuple(2, 3, "strides")
    (2, 2, 2)
    """
    rank = integer(rank, "rank", minimum=0, maximum=_MOST_AXES)
    minimum = integer(minimum, "minimum")
    given = tuple(value) if isinstance(value, Sequence) else (value,) * rank
    if len(given) != rank:
        raise ValueError(
            f"{name} has {len(given)} entries, got {shown(value)}; there are {rank} window axes, "
            f"as many as the kernel (or window_shape) has: give one integer, or one for each axis."
        )
    integers = tuple(_integer(entry, name) for entry in given)
    if min(integers, default=minimum) < minimum:
        raise ValueError(f"{name} must be at least {minimum} on every axis, got {shown(value)}.")
    if max(integers, default=0) > LONGEST:
        raise ValueError(f"{name} must be at most {LONGEST} on every axis, got {shown(value)}.")
    return integers


def resolve_padding(
    padding: PaddingLike,
    input_size: Sequence[int],
    kernel_size: Sequence[int],
    strides: Sequence[int],
    kernel_dilation: Sequence[int],
) -> tuple[AxisPadding, ...]:
    """The ``(low, high)`` padding of each window axis.

    ``"SAME"`` gives ``ceil(n / s)`` outputs, its odd entry at the high end (``"SAME_LOWER"``: at
    the low end); ``"VALID"`` pads nothing; ``"CAUSAL"`` puts ``d (k - 1)`` entries at the low end
    of every axis, so that no output looks ahead. An integer pads both ends of every axis, a
    sequence gives each axis its integer or its pair.

    Raises:
        TypeError: if an entry is no integer.
        ValueError: for an unknown name, or a sequence that does not match the axes.

    >>> resolve_padding("SAME", (28, 28), (3, 3), (2, 1), (1, 4))
    ((0, 1), (4, 4))
    """
    rank = len(entries(kernel_size, "kernel_size", "integers"))
    kernel_size = canonical_tuple(kernel_size, rank, "kernel_size")
    input_size = canonical_tuple(input_size, rank, "input_size", minimum=0)
    strides = canonical_tuple(strides, rank, "strides")
    kernel_dilation = canonical_tuple(kernel_dilation, rank, "kernel_dilation")
    if isinstance(padding, str):
        axes = zip(input_size, kernel_size, strides, kernel_dilation, strict=True)
        return tuple(_named_padding(padding, *axis) for axis in axes)
    given: Any = padding if isinstance(padding, Sequence) else (padding,) * rank
    if len(given) != rank:
        raise ValueError(
            f"padding has {len(given)} entries, got {shown(padding)}; there are {rank} "
            f"window axes, as many as the kernel (or window_shape) has: give one integer or "
            f"(low, high) pair for each."
        )
    return tuple(_axis_padding(entry) for entry in given)


def _named_padding(name: str, size: int, kernel: int, stride: int, dilation: int) -> AxisPadding:
    reach = effective_kernel_size(kernel, dilation) - 1
    match name.upper():
        case "VALID":
            return (0, 0)
        case "CAUSAL":
            return (reach, 0)
        case "SAME" | "SAME_LOWER":
            outputs = math.ceil(size / stride)
            total = max((outputs - 1) * stride + reach + 1 - size, 0)
            smaller, larger = total // 2, total - total // 2
            return (smaller, larger) if name.upper() == "SAME" else (larger, smaller)
    raise ValueError(unknown_padding(name, _PADDING_NAMES))


def unknown_padding(name: str, known: Sequence[str]) -> str:
    """The message for a padding name that nobody knows, with the nearest one."""
    nearest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)[0]
    return (
        f"padding {shown(name)} is not known; it must be one of {list(known)}. Is it {nearest!r}?"
    )


def _axis_padding(entry: int | Sequence[int]) -> AxisPadding:
    pair = tuple(entry) if isinstance(entry, Sequence) else (entry, entry)
    if len(pair) != 2:
        raise ValueError(
            f"padding of one axis must be an integer or (low, high), got {shown(entry)}."
        )
    return (_integer(pair[0], "padding"), _integer(pair[1], "padding"))


def _integer(value: object, name: str) -> int:
    try:
        return integer(value, name)
    except TypeError:
        raise TypeError(f"{name} must be made of integers, got {shown(value)}.") from None


@dataclasses.dataclass(frozen=True)
class ConvGeometry:
    """All the integers of one convolution, resolved: what a algorithm needs beside its arrays.

    One entry for each window axis everywhere. Hashable, so it can be static under ``jax.jit``.

    >>> geometry = ConvGeometry((28, 28), (3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 16)
    >>> geometry.output_size
    (28, 28)
    """

    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[AxisPadding, ...]
    kernel_dilation: tuple[int, ...]
    feature_group_count: int = 1

    @property
    def rank(self) -> int:
        """Number of window axes."""
        return len(self.kernel_size)

    @property
    def taps(self) -> int:
        """Number of kernel positions, the product of the kernel's sizes."""
        return math.prod(self.kernel_size)

    @property
    def effective_kernel_size(self) -> tuple[int, ...]:
        """Inputs that the dilated kernel spans, axis by axis."""
        pairs = zip(self.kernel_size, self.kernel_dilation, strict=True)
        return tuple(effective_kernel_size(size, dilation) for size, dilation in pairs)

    @property
    def output_size(self) -> tuple[int, ...]:
        """Outputs along each window axis."""
        axes = zip(
            self.input_size,
            self.kernel_size,
            self.strides,
            self.kernel_dilation,
            self.padding,
            strict=True,
        )
        return tuple(output_size(*axis) for axis in axes)

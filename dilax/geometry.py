"""Sizes and padding of a convolution, computed from plain integers without JAX.

Along one axis of ``n`` inputs, a kernel of ``k`` taps at dilation ``d`` covers
``d (k - 1) + 1`` inputs, its *effective* size. With ``low + high`` padded entries and a stride of
``s`` it fits ``floor((n + low + high - d (k - 1) - 1) / s) + 1`` times. The functions here compute
such numbers, and convert the arguments of convolutions and pools to tuples of integers.

Sources: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), for the
arithmetic; ``jax.lax.padtype_to_pads`` for the meaning of SAME.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from functools import cached_property

from dilax._checks import LONGEST, as_python, entries, integer, shown

__all__ = [
    "AxisPadding",
    "ConvGeometry",
    "PaddingLike",
    "canonical_geometry",
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
    """Compute the number of inputs that a dilated kernel spans along an axis, ``d (k - 1) + 1``.

    Raises:
        TypeError: An argument is not an integer.
        ValueError: An argument is below 1.

    >>> effective_kernel_size(3, dilation=2)
    5
    """
    kernel_size = integer(kernel_size, "kernel_size", minimum=1)
    return _span(kernel_size, integer(dilation, "dilation", minimum=1))


def output_size(
    input_size: int, kernel_size: int, stride: int, dilation: int, padding: AxisPadding
) -> int:
    """Compute the size of the output, ``floor((n + low + high - d (k - 1) - 1) / s) + 1``.

    It is 0 if the kernel does not fit.

    Raises:
        TypeError: An argument is not made of integers.
        ValueError: A size is negative, or kernel_size, stride or dilation is below 1.

    >>> output_size(224, kernel_size=3, stride=1, dilation=2, padding=(2, 2))
    224
    """
    input_size = integer(input_size, "input_size", minimum=0)
    span = effective_kernel_size(kernel_size, dilation)
    stride = integer(stride, "stride", minimum=1)
    return _outputs(input_size, span, stride, _axis_padding(padding))


def exact_padding(
    input_size: int, output_size: int, kernel_size: int, stride: int, dilation: int, low: int
) -> AxisPadding:
    """Compute the padding with which the last window ends exactly at the end of the padded input.

    It is ``(low, s (m - 1) + d (k - 1) + 1 - n - low)`` for ``m`` outputs; a negative entry crops.

    Raises:
        TypeError: An argument is not an integer.
        ValueError: A size is negative, or kernel_size, stride or dilation is below 1.

    >>> exact_padding(9, output_size=3, kernel_size=3, stride=2, dilation=2, low=1)
    (1, -1)
    """
    input_size = integer(input_size, "input_size", minimum=0)
    output_size = integer(output_size, "output_size", minimum=0)
    kernel_size = integer(kernel_size, "kernel_size", minimum=1)
    stride = integer(stride, "stride", minimum=1)
    dilation = integer(dilation, "dilation", minimum=1)
    low = integer(low, "low")
    return _exact_padding(input_size, output_size, kernel_size, stride, dilation, low)


def canonical_tuple(
    value: int | Sequence[int], rank: int, name: str, *, minimum: int = 1
) -> tuple[int, ...]:
    """Convert one integer, or a sequence of ``rank`` integers, to a tuple of ``rank`` integers.

    NumPy integers and integer arrays are accepted.

    Raises:
        TypeError: An entry is not an integer.
        ValueError: A sequence has not ``rank`` entries, or an entry is below ``minimum`` or too
            large for 32 bits.

    >>> canonical_tuple(2, 3, "strides")
    (2, 2, 2)
    """
    if type(value) is type(rank) is type(minimum) is int:
        in_bounds = minimum <= value <= LONGEST and 0 <= rank <= _MOST_AXES  # type: ignore[operator]
        if in_bounds:  # the usual case, at once
            return (value,) * rank  # type: ignore[return-value]
    rank = integer(rank, "rank", minimum=0, maximum=_MOST_AXES)
    minimum = integer(minimum, "minimum")
    plain = as_python(value)
    given = tuple(plain) if isinstance(plain, Sequence) else (plain,) * rank
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
    """Compute the ``(low, high)`` padding of each window axis.

    ``"SAME"`` gives ``ceil(n / s)`` outputs; if the padding is odd, the high end gets one more
    entry (with ``"SAME_LOWER"``, the low end). ``"VALID"`` pads nothing. ``"CAUSAL"`` puts
    ``d (k - 1)`` entries at the low end of every axis, so that no output sees later inputs. An
    integer pads both ends of every axis; a sequence has an integer or a pair for each axis.

    Raises:
        TypeError: An entry is not an integer.
        ValueError: A name is unknown, or a sequence does not match the axes.

    >>> resolve_padding("SAME", (28, 28), (3, 3), (2, 1), (1, 4))
    ((0, 1), (4, 4))
    """
    rank = len(entries(kernel_size, "kernel_size", "integers"))
    kernel_size = canonical_tuple(kernel_size, rank, "kernel_size")
    input_size = canonical_tuple(input_size, rank, "input_size", minimum=0)
    strides = canonical_tuple(strides, rank, "strides")
    kernel_dilation = canonical_tuple(kernel_dilation, rank, "kernel_dilation")
    return _padding(padding, input_size, kernel_size, strides, kernel_dilation)


def canonical_geometry(
    input_size: tuple[int, ...],
    kernel_size: tuple[int, ...],
    *,
    strides: int | Sequence[int],
    padding: PaddingLike,
    kernel_dilation: int | Sequence[int],
    feature_group_count: int = 1,
) -> ConvGeometry:
    """Check the arguments of a convolution or pool, and resolve them to a ``ConvGeometry``.

    Raises:
        TypeError: An argument is not made of integers.
        ValueError: An argument does not match the window axes, or the padding is unknown.
    """
    rank = len(kernel_size)
    kernel_size = canonical_tuple(kernel_size, rank, "kernel_size")
    strides = canonical_tuple(strides, rank, "strides")
    dilation = canonical_tuple(kernel_dilation, rank, "kernel_dilation")
    pads = _padding(padding, input_size, kernel_size, strides, dilation)
    return ConvGeometry(input_size, kernel_size, strides, pads, dilation, feature_group_count)


def unknown_padding(name: str, known: Sequence[str]) -> str:
    """Make the error for an unknown name of a padding, which suggests the nearest known one."""
    nearest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)[0]
    return (
        f"padding must be one of {list(known)} or integers, got {shown(name)}; is it {nearest!r}?"
    )


@dataclasses.dataclass(frozen=True)
class ConvGeometry:
    """The integers of a convolution: its sizes, strides, padding, dilation and number of groups.

    All tuples have one entry for each window axis. A geometry is hashable, so it can be a static
    argument of ``jax.jit``. The constructor checks nothing; ``canonical_geometry`` checks arguments
    and makes a geometry from them.

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

    @cached_property
    def taps(self) -> int:
        """Number of taps of the kernel, the product of its sizes."""
        return math.prod(self.kernel_size)

    @cached_property
    def effective_kernel_size(self) -> tuple[int, ...]:
        """Number of inputs that the dilated kernel spans along each window axis."""
        return tuple(map(_span, self.kernel_size, self.kernel_dilation))

    @cached_property
    def output_size(self) -> tuple[int, ...]:
        """Size of the output along each window axis."""
        spans = self.effective_kernel_size
        return tuple(map(_outputs, self.input_size, spans, self.strides, self.padding))

    @cached_property
    def padded_size(self) -> tuple[int, ...]:
        """Size of the padded input along each window axis."""
        return tuple(n + sum(edges) for n, edges in zip(self.input_size, self.padding, strict=True))

    @property
    def axes(self) -> tuple[tuple[int, int, int, int, int, int], ...]:
        """Input size, output size, kernel size, stride, dilation and low padding of each axis."""
        lows = [low for low, _ in self.padding]
        sizes = self.input_size, self.output_size, self.kernel_size
        return tuple(zip(*sizes, self.strides, self.kernel_dilation, lows, strict=True))

    @property
    def non_overlapping(self) -> bool:
        """Whether neighbouring windows touch without overlap, as in a patch embedding."""
        return self.kernel_size == self.strides and max(self.kernel_dilation) == 1


def _span(kernel_size: int, dilation: int) -> int:
    return dilation * (kernel_size - 1) + 1


def _exact_padding(
    input_size: int, output_size: int, kernel_size: int, stride: int, dilation: int, low: int
) -> AxisPadding:
    return low, stride * (output_size - 1) + _span(kernel_size, dilation) - input_size - low


def _outputs(input_size: int, span: int, stride: int, padding: AxisPadding) -> int:
    outputs = (input_size + padding[0] + padding[1] - span) // stride + 1
    return max(outputs, 0) if isinstance(outputs, int) else outputs  # symbolic: taken to fit


def _padding(
    padding: PaddingLike,
    input_size: tuple[int, ...],
    kernel_size: tuple[int, ...],
    strides: tuple[int, ...],
    kernel_dilation: tuple[int, ...],
) -> tuple[AxisPadding, ...]:
    """Compute the padding of ``resolve_padding`` from tuples that are already checked."""
    if isinstance(padding, str):
        spans = map(_span, kernel_size, kernel_dilation)
        axes = zip(input_size, spans, strides, strict=True)
        return tuple(_named_padding(padding, *axis) for axis in axes)
    rank, plain = len(kernel_size), as_python(padding)
    if not isinstance(plain, Sequence):
        return (_axis_padding(plain),) * rank
    if len(plain) != rank:
        raise ValueError(
            f"padding has {len(plain)} entries, got {shown(padding)}; there are {rank} window "
            f"axes, as many as the kernel (or window_shape) has: give one integer or (low, high) "
            f"pair for each."
        )
    return tuple(_axis_padding(entry) for entry in plain)


def _named_padding(padding: str, input_size: int, span: int, stride: int) -> AxisPadding:
    name = padding.upper()
    if name == "VALID":
        return (0, 0)
    if name == "CAUSAL":
        return (span - 1, 0)
    if name not in _PADDING_NAMES:
        raise ValueError(unknown_padding(padding, _PADDING_NAMES))
    total = _same_padding(input_size, span, stride)
    less, more = total // 2, total - total // 2
    return (less, more) if name == "SAME" else (more, less)


def _same_padding(input_size: int, span: int, stride: int) -> int:
    """The padding of SAME, ``max(span - 1 - r, 0)`` if the last window starts ``r`` before the end.

    A symbolic size has no maximum: then one is counted for each of ``1 <= i < span`` above ``r``.
    """
    rest = (input_size - 1) % stride
    if isinstance(rest, int):
        return max(span - 1 - rest, 0)
    if span >= stride:
        return span - 1 - rest
    return sum(1 - (rest + stride - i) // stride for i in range(1, span))


def _axis_padding(entry: int | Sequence[int]) -> AxisPadding:
    plain = as_python(entry)
    pair = tuple(plain) if isinstance(plain, Sequence) else (plain, plain)
    if len(pair) != 2:
        raise ValueError(
            f"padding of one axis must be an integer or (low, high), got {shown(entry)}."
        )
    return (_integer(pair[0], "padding"), _integer(pair[1], "padding"))


def _integer(value: object, name: str) -> int:
    if type(value) is int:
        return value
    try:
        return integer(value, name)
    except TypeError:
        raise TypeError(f"{name} must be made of integers, got {shown(value)}.") from None

"""The receptive field of a stack of layers in closed form: plain integers, no arrays, no JAX.

A layer of ``k`` taps with dilation ``d``, stride ``s`` and ``low`` entries of padding follows a
stack whose outputs lie ``j`` inputs apart and see ``r`` inputs each, the first of them from input
``b`` on. Along each axis it makes of these numbers

    r <- r + (k - 1) d j        b <- b - low j        j <- j s

from ``r = j = 1`` and ``b = 0``.

Source: Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks"
(Distill, 2019), with dilation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from dilax._checks import as_python, check_instance, entries
from dilax.geometry import AxisPadding, PaddingLike, canonical_tuple, resolve_padding

__all__ = ["AxisLayer", "Layer", "StackField", "layers_of_axes", "stack_receptive_field"]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution or a pool: an integer for all window axes, or one for each of them.

    ``padding`` is what ``dilax.conv`` takes. With strides it must be given in integers, because
    ``"SAME"`` then depends on the size of the image.

    >>> Layer(3, strides=2, padding=1)
    Layer(kernel_size=3, strides=2, kernel_dilation=1, padding=1)
    """

    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    kernel_dilation: int | Sequence[int] = 1
    padding: PaddingLike = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))

    @property
    def rank(self) -> int | None:
        """Number of window axes, if one of the arguments says it."""
        given = (self.kernel_size, self.strides, self.kernel_dilation)
        return next((len(value) for value in given if isinstance(value, tuple)), None)


def _plain(value: Any) -> Any:
    """Integers of Python for those of NumPy, and tuples for arrays and lists."""
    value = as_python(value)
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


@dataclasses.dataclass(frozen=True)
class AxisLayer:
    """A layer along one axis, in integers."""

    kernel_size: int
    stride: int
    kernel_dilation: int
    padding: AxisPadding


@dataclasses.dataclass(frozen=True)
class StackField:
    """The receptive field of a stack's outputs, an entry for each window axis.

    Output ``i`` sees the inputs from ``start + stride i`` on, ``size`` of them from first to last.
    ``padding`` is how far the field of the first output reaches before the input, and how far that
    of the last reaches beyond its end, if no layer drops a remainder.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    start: tuple[int, ...]
    padding: tuple[AxisPadding, ...]


def stack_receptive_field(layers: Sequence[Layer]) -> StackField:
    """Compute the receptive field of layers that follow one another, the first named first.

    Args:
        layers: At least one ``Layer``; all have the same number of window axes.

    Raises:
        ValueError: There is no layer, the numbers of window axes differ, or ``"SAME"`` comes
            with strides.

    The basic context module of Yu and Koltun, "Multi-scale context aggregation by dilated
    convolutions" (arXiv:1511.07122):

    >>> dilations = (1, 1, 2, 4, 8, 16, 1, 1)
    >>> sizes = (3, 3, 3, 3, 3, 3, 3, 1)
    >>> stack = [Layer((k, k), kernel_dilation=d) for k, d in zip(sizes, dilations)]
    >>> stack_receptive_field(stack).size
    (67, 67)
    """
    axes = [_follow(axis) for axis in layers_of_axes(layers)]
    size, stride, start, padding = zip(*axes, strict=True)
    return StackField(size, stride, start, padding)


def _follow(layers: Sequence[AxisLayer]) -> tuple[int, int, int, AxisPadding]:
    size = stride = 1
    low = high = 0
    for layer in layers:
        size += (layer.kernel_size - 1) * layer.kernel_dilation * stride
        low += layer.padding[0] * stride
        high += layer.padding[1] * stride
        stride *= layer.stride
    return size, stride, -low, (low, high)


def layers_of_axes(layers: Sequence[Layer]) -> list[list[AxisLayer]]:
    """The layers along each window axis; errors as of `stack_receptive_field`.

    >>> stack = [Layer((3, 5)), Layer(2, 1, 4)]
    >>> [[layer.kernel_dilation for layer in axis] for axis in layers_of_axes(stack)]
    [[1, 4], [1, 4]]
    """
    layers = entries(layers, "layers", "Layer")
    if not layers:
        raise ValueError("layers must hold at least one Layer, got none.")
    for layer in layers:
        check_instance(layer, Layer, "each of layers")
    ranks = {layer.rank for layer in layers} - {None}
    if len(ranks) > 1:
        raise ValueError(
            f"layers must all have the same number of window axes, got "
            f"{sorted(filter(None, ranks))}; an integer stands for every axis."
        )
    rank = ranks.pop() if ranks else 1
    return [list(axis) for axis in zip(*(_axes(layer, rank or 1) for layer in layers), strict=True)]


def _axes(layer: Layer, rank: int) -> list[AxisLayer]:
    sizes = canonical_tuple(layer.kernel_size, rank, "kernel_size")
    strides = canonical_tuple(layer.strides, rank, "strides")
    dilations = canonical_tuple(layer.kernel_dilation, rank, "kernel_dilation")
    if str(layer.padding).upper().startswith("SAME") and max(strides) > 1:
        raise ValueError(
            f"padding must be integers or (low, high) pairs where strides are above 1, got "
            f"{layer.padding!r} with strides {layer.strides}, which depends on the size of the "
            f"image. See dilax.geometry.resolve_padding."
        )
    # Without strides every name gives the same padding, whatever the size of the input.
    padding = resolve_padding(layer.padding, (1,) * rank, sizes, strides, dilations)
    columns = zip(sizes, strides, dilations, padding, strict=True)
    return [AxisLayer(*column) for column in columns]

"""Which inputs a stack of dilated kernels touches in its field, and dilations that touch all.

Along an axis a layer of ``k`` taps that lie ``d j`` inputs apart (``d`` is its dilation, and ``j``
the product of the strides below it) is the polynomial ``1 + z^(dj) + ... + z^((k-1)dj)``. In the
product of a stack's polynomials, the coefficient of ``z^n`` is the number of paths from an output
to the input at offset ``n``: how often that is touched. Where it is zero inside of the field, the
output does not see the input: that is *gridding*, as equal dilations cause it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from dilax._checks import integer
from dilax.analysis._layers import AxisLayer, Layer, layers_of_axes, stack_receptive_field

__all__ = ["Coverage", "coverage", "hybrid_dilation"]

MOST_COUNTED = 10**8
"""Largest product of a field's size and its taps that `coverage` goes through."""

DEEPEST, WIDEST = 100, 100_000
"""Largest number of layers, and largest receptive field, of a schedule of `hybrid_dilation`."""

EXAMINED = 2_000
"""Largest number of schedules that `hybrid_dilation` compares."""


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How often each offset of a receptive field is touched, axis by axis.

    In two dimensions an offset ``(n, m)`` is touched ``counts[0][n] counts[1][m]`` times, which
    ``array`` gives as a table.
    """

    start: tuple[int, ...]
    """The input at which the field of output 0 begins, for each axis."""
    counts: tuple[tuple[int, ...], ...]
    """For each axis, how often each of its offsets is touched."""

    @property
    def size(self) -> tuple[int, ...]:
        """Number of offsets from the first to the last, for each axis."""
        return tuple(len(axis) for axis in self.counts)

    @property
    def touched(self) -> int:
        """Number of offsets of the field that are touched at all."""
        return math.prod(sum(count > 0 for count in axis) for axis in self.counts)

    @property
    def share(self) -> float:
        """Share of the field that is touched, ``touched / prod(size)``; 1 without gridding."""
        return self.touched / math.prod(self.size)

    @property
    def unevenness(self) -> float:
        """Coefficient of variation of the counts over the field, ``std(counts) / mean(counts)``.

        0 where every offset is touched equally often.
        """
        ratios = (len(axis) * sum(c * c for c in axis) / sum(axis) ** 2 for axis in self.counts)
        return math.sqrt(max(math.prod(ratios) - 1, 0.0))

    def array(self) -> np.ndarray:
        """Give the counts of all offsets, float64 of shape ``size`` (they outgrow integers)."""
        axes = [np.asarray(axis, np.float64) for axis in self.counts]
        table = axes[0]
        for axis in axes[1:]:
            table = np.multiply.outer(table, axis)
        return table


def coverage(layers: Sequence[Layer]) -> Coverage:
    """Count how often one output of a stack touches each input in its receptive field.

    Args:
        layers: At least one ``Layer``, the first named first.

    Raises:
        ValueError: There is no layer, the numbers of window axes differ, ``"SAME"`` comes with
            strides, or the field is too large to count in.

    Three kernels of 3 taps with dilation 2 see every second input of 13; with 1, 2, 3 they see all:

    >>> equal = coverage([Layer(3, kernel_dilation=2)] * 3)
    >>> equal.touched, equal.size
    (7, (13,))
    >>> coverage([Layer(3, kernel_dilation=d) for d in (1, 2, 3)]).share
    1.0
    """
    field, axes = stack_receptive_field(layers), layers_of_axes(layers)
    taps = max(sum(layer.kernel_size for layer in axis) for axis in axes)
    if max(field.size) * taps > MOST_COUNTED:
        raise ValueError(
            f"layers must see a field of which the size times the taps is at most {MOST_COUNTED}, "
            f"got {field.size} and {taps}; stack_receptive_field gives the size alone."
        )
    return Coverage(field.start, tuple(_counts(axis) for axis in axes))


def _counts(layers: Sequence[AxisLayer]) -> tuple[int, ...]:
    """Coefficients of the product of the layers' polynomials; Python integers cannot overflow."""
    counts, jump = [1], 1
    for layer in layers:
        apart = layer.kernel_dilation * jump
        product = [0] * (len(counts) + (layer.kernel_size - 1) * apart)
        for shift in range(0, layer.kernel_size * apart, apart):
            for place, count in enumerate(counts, shift):
                product[place] += count
        counts = product
        jump *= layer.stride
    return tuple(counts)


def hybrid_dilation(
    kernel_size: int, depth: int, target: int, *, most: int = 5
) -> tuple[tuple[int, ...], ...]:
    """Find schedules of dilations that touch every input of their receptive field.

    A schedule has one dilation for each layer, in rising order. All those given have the least
    field that reaches ``target``; the most even come first, at most ``most`` of them. A rising
    schedule touches everything exactly if no dilation is larger than the receptive field below it.
    So ``1, k, k^2, ...`` sees farthest, ``k^depth`` inputs. Every schedule is checked by
    ``coverage`` all the same.

    (The test of hybrid dilated convolution, ``M_2 <= k``, lets dilations 2, 2, 2 pass, which touch
    7 offsets of 13.)

    Args:
        kernel_size: Taps of each layer along the axis.
        depth: Number of layers, all of stride 1.
        target: Receptive field that is wanted, at least.
        most: How many schedules to give.

    Returns:
        Schedules, each a tuple of ``depth`` dilations.

    Raises:
        ValueError: No schedule of ``depth`` layers reaches ``target``, or an argument is not
            positive, or too large to search.

    Source: Wang et al., "Understanding convolution for semantic segmentation" (arXiv:1702.08502);
    Yu and Koltun, "Multi-scale context aggregation by dilated convolutions" (arXiv:1511.07122).

    >>> hybrid_dilation(3, 3, 17)
    ((1, 2, 5), (1, 3, 4))
    """
    kernel_size = integer(kernel_size, "kernel_size", minimum=1, maximum=WIDEST)
    depth = integer(depth, "depth", minimum=1, maximum=DEEPEST)
    target = integer(target, "target", minimum=1, maximum=WIDEST)
    most = integer(most, "most", minimum=1)
    largest = kernel_size**depth
    if target > largest:
        raise ValueError(
            f"target must be at most {largest}, the most that {depth} layers of kernel_size "
            f"{kernel_size} see without holes, got {target}; use a larger kernel_size or depth."
        )
    total = max(depth, math.ceil((target - 1) / max(kernel_size - 1, 1)))
    schedules = itertools.islice(_rising(kernel_size, (1,), depth, total), EXAMINED)
    found = {dilations: _coverage_of(dilations, kernel_size) for dilations in schedules}
    whole = [dilations for dilations, one in found.items() if one.share == 1]
    return tuple(sorted(whole, key=lambda d: (found[d].unevenness, d))[:most])


def _rising(
    kernel_size: int, dilations: tuple[int, ...], depth: int, total: int
) -> Iterator[tuple[int, ...]]:
    """Rising schedules without holes that begin with ``dilations`` and whose sum is ``total``."""
    left, missing = depth - len(dilations), total - sum(dilations)
    if not left:
        if not missing:
            yield dilations
        return
    field = 1 + (kernel_size - 1) * sum(dilations)
    for dilation in range(dilations[-1], min(field, missing // left) + 1):
        after = field + (kernel_size - 1) * dilation
        # Those that follow add most if each is as large as the field below it.
        most = dilation + after * (kernel_size ** (left - 1) - 1) // max(kernel_size - 1, 1)
        if most >= missing or kernel_size == 1:
            yield from _rising(kernel_size, (*dilations, dilation), depth, total)


def _coverage_of(dilations: Sequence[int], kernel_size: int) -> Coverage:
    return coverage([Layer(kernel_size, kernel_dilation=dilation) for dilation in dilations])

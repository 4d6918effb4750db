"""What a stack of dilated kernels really touches in its receptive field, and rates that touch all.

Along an axis a layer of ``k`` taps, ``d j`` inputs apart (``j`` is the stride of what is below it),
is the polynomial ``1 + z^(dj) + ... + z^((k-1)dj)``. The product of a stack's polynomials has, at
``z^n``, the number of paths from an output to the input at offset ``n``: how often it is touched.
Where that is zero in the middle of the field, the stack is blind: the *gridding* of equal rates.
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
"""Entries of a field times taps that `coverage` goes through."""

DEEPEST, WIDEST = 100, 100_000
"""Layers of a schedule of `hybrid_dilation`, and the field that it may reach."""

EXAMINED = 2_000
"""Schedules that `hybrid_dilation` compares at most."""


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How often each offset of a receptive field is touched, axis by axis.

    In two dimensions an offset ``(n, m)`` is touched ``counts[0][n] counts[1][m]`` times: `array`.
    """

    start: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> tuple[int, ...]:
        """The receptive field, first to last offset."""
        return tuple(len(axis) for axis in self.counts)

    @property
    def touched(self) -> int:
        """Offsets of the field that are touched at all."""
        return math.prod(sum(count > 0 for count in axis) for axis in self.counts)

    @property
    def share(self) -> float:
        """The share of the field that is touched, ``touched / prod(size)``; 1 without gridding."""
        return self.touched / math.prod(self.size)

    @property
    def unevenness(self) -> float:
        """Coefficient of variation of the counts over the field, ``std(counts) / mean(counts)``.

        0 where every offset is touched equally often.
        """
        ratios = (len(axis) * sum(c * c for c in axis) / sum(axis) ** 2 for axis in self.counts)
        return math.sqrt(max(math.prod(ratios) - 1, 0.0))

    def array(self) -> np.ndarray:
        """The counts of every offset, an array of shape ``size``; float64, for they grow fast."""
        axes = [np.asarray(axis, np.float64) for axis in self.counts]
        table = axes[0]
        for axis in axes[1:]:
            table = np.multiply.outer(table, axis)
        return table


def coverage(layers: Sequence[Layer]) -> Coverage:
    """Which offsets one output of a stack touches in its receptive field, and how often.

    Raises:
        ValueError: as `stack_receptive_field`.

    Three kernels of 3 at dilation 2 see every second input of 13; at 1, 2, 3 they see all:

    >>> equal = coverage([Layer(3, kernel_dilation=2)] * 3)
    >>> equal.touched, equal.size
    (7, (13,))
    >>> coverage([Layer(3, kernel_dilation=rate) for rate in (1, 2, 3)]).share
    1.0
    """
    field, axes = stack_receptive_field(layers), layers_of_axes(layers)
    taps = max(sum(layer.kernel_size for layer in axis) for axis in axes)
    if max(field.size) * taps > MOST_COUNTED:
        raise ValueError(
            f"layers see a field of {field.size} by {taps} taps, too many paths to count; use "
            f"stack_receptive_field for its size alone."
        )
    return Coverage(field.start, tuple(_counts(axis) for axis in axes))


def _counts(layers: Sequence[AxisLayer]) -> tuple[int, ...]:
    """Coefficients of the product of the layers' polynomials; Python integers cannot overflow."""
    counts, jump = [1], 1
    for layer in layers:
        apart = layer.dilation * jump
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
    """Schedules of dilation rates, one a layer, that touch every input of their receptive field.

    Each schedule reaches ``target`` and no more than it must, and rises; the most even come first,
    ``most`` of them. With rates in rising order, a schedule touches everything exactly if each rate
    is at most the receptive field below it: the longest one is ``1, k, k^2, ...``, whose field is
    ``k^depth``. Every schedule is checked by `coverage` all the same.

    (The test of hybrid dilated convolution, ``M_2 <= k``, lets rates 2, 2, 2 pass, which touch 7
    offsets of 13.)

    Args:
        kernel_size: taps of each layer along the axis.
        depth: number of layers, all of stride 1.
        target: receptive field that is wanted, at least.
        most: how many schedules to give.

    Raises:
        ValueError: if no schedule of ``depth`` layers reaches ``target``, or an argument is not
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
            f"target {target} cannot be reached: {depth} layers of kernel_size {kernel_size} that "
            f"leave no hole see {largest} at most; required: a larger kernel_size or depth."
        )
    total = max(depth, math.ceil((target - 1) / max(kernel_size - 1, 1)))
    found = itertools.islice(_rising(kernel_size, (1,), depth, total), EXAMINED)
    measured = [(_coverage_of(rates, kernel_size), rates) for rates in found]
    whole = sorted((one.unevenness, rates) for one, rates in measured if one.share == 1)
    return tuple(rates for _, rates in whole[: min(most, EXAMINED)])


def _rising(
    kernel_size: int, rates: tuple[int, ...], depth: int, total: int
) -> Iterator[tuple[int, ...]]:
    """Every rising schedule that begins with ``rates``, has no hole, and whose sum is ``total``."""
    left, missing = depth - len(rates), total - sum(rates)
    if not left:
        if not missing:
            yield rates
        return
    field = 1 + (kernel_size - 1) * sum(rates)
    for rate in range(rates[-1], min(field, missing // left) + 1):
        after = field + (kernel_size - 1) * rate
        # The rates after this one can add no more than if each were the field below it.
        most = rate + after * (kernel_size ** (left - 1) - 1) // max(kernel_size - 1, 1)
        if most >= missing or kernel_size == 1:
            yield from _rising(kernel_size, (*rates, rate), depth, total)


def _coverage_of(rates: Sequence[int], kernel_size: int) -> Coverage:
    return coverage([Layer(kernel_size, kernel_dilation=rate) for rate in rates])

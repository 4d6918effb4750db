"""One table of convolutions, small and asymmetric on purpose, that every algorithm has to meet.

Sizes, strides, dilations and pads differ from axis to axis and from end to end, so that no swap of
two of them can pass unseen.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests import reference

Pads = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Case:
    """A convolution of ``x`` (batch, *input_size, in_features) with a kernel of ``kernel_size``."""

    id: str
    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Pads
    kernel_dilation: tuple[int, ...]
    in_features: int
    out_features: int
    feature_group_count: int = 1
    batch: int = 2

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, *self.input_size, self.in_features)

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        return (*self.kernel_size, self.in_features // self.feature_group_count, self.out_features)

    @property
    def g_shape(self) -> tuple[int, ...]:
        axes = zip(
            self.input_size,
            self.kernel_size,
            self.strides,
            self.kernel_dilation,
            self.padding,
            strict=True,
        )
        sizes = (
            len(range(-low, size + high - dilation * (taps - 1), stride))
            for size, taps, stride, dilation, (low, high) in axes
        )
        return (self.batch, *sizes, self.out_features)

    @property
    def window(self) -> dict[str, object]:
        """The keyword arguments that the reference takes."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "kernel_dilation": self.kernel_dilation,
            "feature_group_count": self.feature_group_count,
        }


@dataclasses.dataclass(frozen=True)
class Answer:
    """A case with float64 operands, and the results of the reference."""

    x: np.ndarray
    kernel: np.ndarray
    g: np.ndarray
    output: np.ndarray
    input_gradient: np.ndarray
    kernel_gradient: np.ndarray


def draw(*shapes: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    """Normal float64 arrays."""
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in shapes]


def sixteenths(*arrays: np.ndarray) -> list[np.ndarray]:
    """The arrays rounded to sixteenths, so that half precision holds them and float32 their sums.

    Of such operands every product is a multiple of 1/256, and sums below 65,536 are exact in
    float32 in any order: a result in half precision has no error but that of its one rounding.
    """
    return [np.round(array * 16) / 16 for array in arrays]


def answer(case: Case, x: np.ndarray, kernel: np.ndarray, g: np.ndarray) -> Answer:
    """Run the reference on a case with these operands."""
    return Answer(
        x,
        kernel,
        g,
        reference.conv(x, kernel, **case.window),
        reference.input_gradient(g, kernel, input_size=case.input_size, **case.window),
        reference.kernel_gradient(x, g, kernel_size=case.kernel_size, **case.window),
    )


@functools.cache
def solve(case: Case, *, exact: bool = False) -> Answer:
    """Run the reference on a case, once for all the algorithms that will be compared with it.

    With ``exact`` the operands are in sixteenths.
    """
    operands = draw(case.x_shape, case.kernel_shape, case.g_shape)
    return answer(case, *(sixteenths(*operands) if exact else operands))


# fmt: off
CASES = (
    # One window axis.
    Case("1d_plain", (9,), (3,), (1,), ((0, 0),), (1,), 2, 3),
    Case("1d_even_kernel", (10,), (4,), (1,), ((1, 2),), (1,), 3, 2),
    Case("1d_causal_dilation_3", (11,), (3,), (1,), ((6, 0),), (3,), 2, 5),
    Case("1d_stride_over_kernel", (17,), (2,), (5,), ((1, 0),), (1,), 3, 4),
    Case("1d_31_taps", (40,), (31,), (2,), ((15, 14),), (1,), 2, 3),
    Case("1d_31_taps_depthwise", (37,), (31,), (1,), ((30, 3),), (2,), 3, 6, 3),
    Case("1d_70_taps_depthwise", (75,), (70,), (2,), ((8, 3),), (1,), 2, 4, 2),
    Case("1d_depthwise", (12,), (3,), (1,), ((2, 1),), (2,), 5, 5, 5),
    Case("1d_dilation_wider_than_image", (4,), (3,), (1,), ((9, 8),), (8,), 3, 3, 3),
    Case("1d_one_input", (1,), (3,), (1,), ((1, 1),), (1,), 2, 3),
    Case("1d_cut_low", (12,), (3,), (2,), ((-2, 1),), (2,), 3, 4),
    Case("1d_cut_both_depthwise", (13,), (2,), (3,), ((-1, -3),), (4,), 2, 6, 2),
    Case("1d_non_overlapping", (13,), (3,), (3,), ((-1, 2),), (1,), 2, 3),
    # Two window axes, dense.
    Case("2d_plain", (6, 7), (3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 3, 4),
    Case("2d_same_dilated", (7, 9), (3, 3), (1, 1), ((2, 2), (3, 3)), (2, 3), 2, 3),
    Case("2d_all_unequal", (9, 10), (4, 5), (2, 1), ((1, 2), (2, 0)), (1, 2), 3, 2),
    Case("2d_strided_dilated", (11, 8), (3, 2), (3, 2), ((2, 1), (0, 3)), (2, 4), 2, 5),
    Case("2d_pointwise", (4, 5), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 17, 3),
    Case("2d_pointwise_strided_padded", (5, 6), (1, 1), (2, 3), ((1, 2), (0, 1)), (3, 2), 3, 4),
    Case("2d_row_kernel", (5, 9), (1, 4), (1, 2), ((0, 0), (3, 1)), (1, 2), 3, 3),
    Case("2d_column_kernel", (9, 3), (5, 1), (2, 1), ((2, 2), (0, 0)), (1, 1), 1, 4),
    Case("2d_big_pads", (3, 2), (2, 3), (1, 2), ((5, 7), (8, 4)), (2, 1), 2, 3),
    Case("2d_cut", (9, 8), (3, 2), (1, 2), ((-1, 2), (0, -3)), (2, 1), 2, 3),
    Case("2d_11x11", (13, 12), (11, 11), (2, 3), ((5, 4), (6, 5)), (1, 1), 1, 2),
    Case("2d_17_channels", (5, 4), (2, 1), (1, 1), ((1, 0), (0, 0)), (2, 1), 17, 1),
    Case("2d_batch_0", (6, 5), (3, 2), (1, 2), ((1, 0), (0, 1)), (2, 1), 3, 4, 1, 0),
    Case("2d_batch_1", (6, 5), (2, 3), (2, 1), ((0, 1), (1, 0)), (1, 2), 3, 4, 1, 1),
    Case("2d_dilation_wider_than_image", (3, 4), (3, 3), (1, 1), ((7, 7), (9, 9)), (7, 9), 2, 2),
    Case("2d_non_overlapping", (9, 10), (2, 3), (2, 3), ((1, -1), (0, 1)), (1, 1), 3, 4),
    # Groups, between one and the number of channels.
    Case("1d_groups_33", (5,), (2,), (2,), ((1, 1),), (2,), 66, 33, 33),
    Case("2d_groups_non_overlapping", (7, 6), (3, 2), (3, 2), ((0, 2), (1, 0)), (1, 1), 4, 6, 2),
    Case("2d_groups_2", (6, 5), (3, 2), (1, 1), ((1, 1), (0, 1)), (1, 2), 4, 6, 2),
    Case("2d_groups_3_fewer_outputs", (7, 6), (2, 3), (2, 1), ((1, 0), (2, 2)), (2, 2), 6, 3, 3),
    Case("2d_textbook_groups_6", (8, 9), (3, 3), (1, 1), ((0, 0), (0, 0)), (2, 2), 12, 12, 6),
    # Two window axes, depthwise.
    Case("2d_depthwise", (7, 6), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 5, 5, 5),
    Case("2d_depthwise_dilated", (8, 9), (3, 2), (1, 1), ((2, 3), (1, 4)), (2, 3), 3, 3, 3),
    Case("2d_depthwise_strided", (9, 8), (3, 4), (2, 3), ((0, 1), (2, 1)), (1, 1), 3, 3, 3),
    Case("2d_multiplier_2", (7, 8), (2, 3), (1, 2), ((1, 0), (1, 2)), (3, 1), 3, 6, 3),
    Case("2d_multiplier_3", (6, 7), (3, 3), (2, 1), ((2, 2), (0, 3)), (2, 2), 2, 6, 2),
    Case("2d_multiplier_3_one_channel", (5, 6), (3, 2), (1, 1), ((1, 1), (0, 1)), (1, 1), 1, 3),
    Case("2d_depthwise_17_channels", (4, 5), (3, 3), (1, 1), ((1, 1), (2, 2)), (1, 2), 17, 17, 17),
    Case("2d_depthwise_cut", (8, 9), (2, 3), (2, 1), ((1, -2), (-1, 3)), (1, 2), 4, 4, 4),
    Case("2d_depthwise_11x11", (12, 9), (11, 11), (1, 2), ((5, 5), (6, 4)), (1, 1), 2, 2, 2),
    Case("2d_depthwise_1x1", (4, 5), (1, 1), (2, 1), ((0, 0), (0, 0)), (1, 1), 3, 6, 3),
    Case("2d_depthwise_batch_0", (5, 4), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3, 3, 3, 0),
    Case("2d_depthwise_batch_1", (5, 7), (3, 2), (2, 2), ((2, 1), (1, 1)), (2, 1), 3, 6, 3, 1),
    Case("2d_depthwise_wide_stride", (11, 9), (2, 1), (5, 4), ((0, 0), (0, 0)), (2, 1), 3, 3, 3),
    # So many channels that a sum of few terms reads the array as it is.
    Case("1d_depthwise_24", (9,), (7,), (1,), ((4, 5),), (2,), 24, 24, 24),
    Case("2d_depthwise_24", (6, 5), (3, 3), (1, 1), ((2, 3), (-1, 4)), (2, 1), 24, 24, 24),
    Case("2d_two_a_group_24", (5, 4), (2, 2), (1, 1), ((1, 0), (-1, 2)), (1, 2), 48, 24, 24),
    Case("2d_multiplier_2_24", (4, 5), (2, 2), (1, 1), ((0, 2), (1, 1)), (2, 1), 24, 48, 24),
    # Three window axes.
    Case("3d_plain", (4, 5, 3), (2, 3, 2), (1, 1, 1), ((0, 0), (1, 1), (0, 1)), (1, 1, 1), 2, 3),
    Case("3d_deep", (18, 3, 4), (17, 2, 1), (1, 1, 2), ((0, 0), (1, 0), (0, 0)), (1, 1, 1), 2, 3),
    Case("3d_batch_0", (3, 4, 5), (2, 2, 2), (2, 1, 1), ((1, 0),) * 3, (1, 1, 1), 2, 3, 1, 0),
    Case("3d_all_unequal", (5, 6, 7), (3, 2, 3), (1, 2, 3), ((1, 0), (2, 1), (0, 3)), (1, 3, 2),
         2, 2),
    Case("3d_depthwise", (4, 5, 6), (3, 3, 2), (2, 1, 1), ((1, 1), (2, 2), (0, 1)), (1, 2, 1),
         3, 3, 3),
    Case("3d_multiplier_2_cut", (5, 4, 6), (2, 2, 3), (1, 1, 2), ((-1, 1), (0, 2), (1, -1)),
         (2, 1, 1), 2, 4, 2),
    Case("3d_groups_2", (4, 3, 5), (2, 1, 3), (1, 2, 1), ((1, 0), (0, 0), (1, 1)), (1, 1, 2),
         4, 2, 2),
)
# fmt: on


def thinned(rows: Sequence[Sequence[Any]], every: int) -> list[Any]:
    """Rows as parameters of a test: one of every few, or all with ``--long``."""
    return [
        pytest.param(
            *row,
            id="-".join(map(_name, row)),
            marks=pytest.mark.long if place % every else (),
        )
        for place, row in enumerate(rows)
    ]


def crossed(
    values: Sequence[Any], rows: Sequence[Any] = CASES, *, turns: int | None = None
) -> list[Any]:
    """Every row with every value, as parameters of a test; ``--long`` runs all pairs.

    By default the values take turns, so that no row and no value is left out: each row meets one of
    them, or one of every ``turns``.
    """
    pairs = itertools.product(enumerate(rows), enumerate(values))
    turns = turns or min(len(rows), len(values))
    return [
        pytest.param(
            row,
            value,
            id=f"{_name(row)}-{_name(value)}",
            marks=() if (place - turn) % turns == 0 else pytest.mark.long,
        )
        for (place, row), (turn, value) in pairs
    ]


def _name(entry: Any) -> str:
    names = (getattr(entry, name, None) for name in ("id", "name", "__name__"))
    return str(next((name for name in names if name), entry))

"""Which algorithm computes which pass where: the one table, read top to bottom.

Each row holds a platform, a pass, a condition on the convolution and the algorithm to use; the
first row that fits is taken, and where none fits, `lax`, so a platform that nobody has measured
runs what lax runs. The rows rest on a measurement of every algorithm in every case,
`experiments/results/algorithms.json`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

from dilax.algorithms import _im2col
from dilax.algorithms._algorithm import Algorithm
from dilax.algorithms._im2col import im2col
from dilax.algorithms._lax import lax
from dilax.algorithms._live_taps import LiveTaps
from dilax.algorithms._per_group import per_group
from dilax.algorithms._phases import few_phases
from dilax.algorithms._shift_and_add import shift_and_add
from dilax.geometry import ConvGeometry

PassName = Literal["conv", "input_gradient", "kernel_gradient"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a choice may depend on: the integers of a convolution and its channels."""

    geometry: ConvGeometry
    in_features: int
    out_features: int

    @property
    def members(self) -> int:
        """Input channels that each output channel sees."""
        return self.in_features // self.geometry.feature_group_count

    @property
    def kernel_entries(self) -> int:
        """Weights, all together."""
        return self.geometry.taps * self.members * self.out_features


class Row(NamedTuple):
    """One line of the table; ``None`` stands for every pass."""

    platform: str
    pass_name: PassName | None
    condition: Callable[[Problem], bool]
    algorithm: Algorithm


def few_members(problem: Problem) -> bool:
    """Depthwise, also of one channel, or a grouped convolution that is nearly so."""
    depthwise = grouped(problem) or problem.out_features == 1
    return depthwise and problem.members <= 4


def two_members(problem: Problem) -> bool:
    """The same of one input channel or two: more make the kernel's gradient slow."""
    return few_members(problem) and problem.members <= 2


def pointwise(problem: Problem) -> bool:
    """A dense kernel of size one: a matrix product, whatever the strides."""
    return problem.geometry.taps == 1 and not grouped(problem)


def non_overlapping(problem: Problem) -> bool:
    """Dense windows that lie side by side, as in the first layer of a vision transformer."""
    return _im2col.non_overlapping(problem.geometry) and not grouped(problem)


def volumes(problem: Problem) -> bool:
    """Three window axes; lax takes many times as long as plane by plane."""
    return problem.geometry.rank == 3


def strided_planes(problem: Problem) -> bool:
    """Strides of one axis or two."""
    return strided(problem) and not volumes(problem)


def grouped(problem: Problem) -> bool:
    """Several groups, of any number of channels."""
    return problem.geometry.feature_group_count > 1


def every(problem: Problem) -> bool:
    """All the rest."""
    del problem
    return True


def stem(problem: Problem) -> bool:
    """The first layer of a network: dense, few input channels, a small kernel or few outputs."""
    taps = 27 if volumes(problem) else 9
    small = problem.geometry.taps <= taps or problem.kernel_entries <= 512
    return problem.geometry.feature_group_count == 1 and problem.members <= 4 and small


def wide_stem(problem: Problem) -> bool:
    """The same without strides, with a small kernel and many outputs."""
    small = (problem.geometry.taps <= 9 or volumes(problem)) and not strided(problem)
    return stem(problem) and small and problem.out_features >= 32


def wide_volume_stem(problem: Problem) -> bool:
    """The same of volumes."""
    return wide_stem(problem) and volumes(problem)


def strided(problem: Problem) -> bool:
    """The windows of neighbouring outputs start apart."""
    return max(problem.geometry.strides) > 1


def strided_in_phases(problem: Problem) -> bool:
    """The same by few phases, whose kernel is small or has few input channels."""
    small = problem.geometry.taps <= 32 or problem.members <= 4
    return few_phases(problem.geometry) and small


def deep(problem: Problem) -> bool:
    """Dense, past the first layer, with a small kernel of two axes or three."""
    rank = problem.geometry.rank
    small = rank > 1 and problem.geometry.taps <= 3**rank
    return small and not grouped(problem) and problem.members > 4


TABLE = (
    Row("cpu", "conv", few_members, shift_and_add),
    Row("cpu", "input_gradient", few_members, shift_and_add),
    Row("cpu", "kernel_gradient", two_members, shift_and_add),
    Row("cpu", None, pointwise, im2col),
    Row("cpu", None, non_overlapping, im2col),
    Row("cpu", "conv", wide_volume_stem, im2col),
    Row("cpu", "conv", stem, shift_and_add),
    Row("cpu", "kernel_gradient", wide_stem, im2col),
    Row("cpu", "conv", grouped, per_group),
    Row("cpu", "conv", volumes, per_group),
    Row("cpu", "input_gradient", stem, im2col),
    Row("cpu", "input_gradient", strided_in_phases, im2col),
    Row("cpu", "input_gradient", strided_planes, lax),
    Row("cpu", "input_gradient", every, per_group),
    Row("cpu", "kernel_gradient", deep, im2col),
    Row("cpu", "kernel_gradient", every, per_group),
)


def choose(platform: str, pass_name: PassName, problem: Problem) -> Algorithm:
    """The algorithm of the first row that fits, or `lax`."""
    problem = dataclasses.replace(problem, geometry=LiveTaps.of(problem.geometry).geometry)
    for row in TABLE:
        fits = row.platform == platform and row.pass_name in (None, pass_name)
        if fits and row.condition(problem):
            return row.algorithm
    return lax

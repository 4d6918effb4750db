"""Phases of a strided convolution: every tap belongs to one phase, and no zeros are inserted."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax import algorithms
from dilax._choice import Problem, _few_phases, choose
from dilax.algorithms._phases import Phases
from dilax.geometry import ConvGeometry
from tests import cases
from tests.algorithms.test_passes import geometry_of

SPLIT = [case for case in cases.CASES if _few_phases(geometry_of(case)) and case.batch]
split_cases = pytest.mark.parametrize("case", SPLIT, ids=lambda case: case.id)


def test_some_cases_are_split() -> None:
    assert len(SPLIT) > 5


@split_cases
def test_each_tap_stands_in_one_phase(case: cases.Case) -> None:
    geometry = geometry_of(case)
    kernel = np.arange(geometry.taps).reshape(geometry.kernel_size)
    phases = [phase for phase in Phases.of(geometry, split=True).found if phase]
    found = [int(tap) for phase in phases for tap in kernel[phase.taps].ravel()]
    assert sorted(found) == list(range(geometry.taps))


@split_cases
def test_phases_have_no_strides_and_the_outputs_of_the_whole(case: cases.Case) -> None:
    geometry = geometry_of(case)
    for phase in Phases.of(geometry, split=True).found:
        if phase:
            assert set(phase.geometry.strides) == {1}
            assert phase.geometry.output_size == geometry.output_size


@pytest.mark.parametrize("stride, spread", [(4, False), (5, True)])
@pytest.mark.parametrize("algorithm", [algorithms.shift_and_add, algorithms.im2col], ids=repr)
def test_zeros_are_put_in_only_where_phases_are_many(algorithm, stride, spread) -> None:
    geometry = ConvGeometry((20, 20), (3, 3), (stride, stride), ((1, 1), (1, 1)), (1, 1), 2)
    g, kernel = jnp.zeros((1, *geometry.output_size, 2)), jnp.zeros((3, 3, 1, 2))
    settings = choose("cpu", "input_gradient", Problem(geometry, 2, 2, 1), algorithm).settings
    run = jax.jit(lambda g, kernel: algorithm.input_gradient(g, kernel, geometry, **settings))
    pads = re.findall(r"interior = \[([\d, ]+)\]", run.lower(g, kernel).as_text())
    gaps = [int(gap) for pad in pads for gap in pad.split(",")]
    assert gaps and (max(gaps) > 0) == spread

"""The table of lowerings: what is taken where, for the convolutions that people use."""

import pytest

from dilax import lowerings
from dilax.geometry import ConvGeometry
from dilax.lowerings._choice import Problem, choose

# kernel, groups, in-features, out-features, stride: forward, input gradient, kernel gradient
ON_CPU = {
    "depthwise": ((3, 3), 32, 32, 32, 1, "taps taps taps"),
    "depthwise_strided": ((3, 3), 32, 32, 32, 2, "taps taps taps"),
    "multiplier_2": ((3, 3), 32, 32, 64, 1, "taps taps taps"),
    "two_a_group": ((3, 3), 16, 32, 32, 1, "taps taps taps"),
    "four_a_group": ((3, 3), 8, 32, 32, 1, "taps taps dense"),
    "one_channel": ((3, 3), 1, 1, 1, 1, "taps taps taps"),
    "three_to_one": ((3, 3), 1, 3, 1, 1, "taps taps dense"),
    "sixteen_a_group": ((3, 3), 2, 32, 32, 1, "dense dense dense"),
    "sixteen_strided": ((3, 3), 2, 32, 32, 2, "dense patches dense"),
    "dense": ((3, 3), 1, 32, 32, 1, "direct dense patches"),
    "dense_strided": ((3, 3), 1, 32, 32, 2, "direct patches patches"),
    "widening": ((3, 3), 1, 32, 64, 2, "direct patches patches"),
    "large_window": ((5, 5), 1, 32, 32, 1, "direct dense dense"),
    "sequence": ((3,), 1, 32, 32, 1, "direct dense dense"),
    "wide_and_strided": ((7, 7), 1, 32, 32, 2, "direct direct dense"),
    "pointwise": ((1, 1), 1, 32, 32, 1, "patches patches patches"),
    "grey_stem": ((3, 3), 1, 1, 16, 1, "taps patches dense"),
    "colour_stem": ((3, 3), 1, 3, 32, 1, "taps patches patches"),
    "strided_stem": ((3, 3), 1, 3, 32, 2, "taps patches dense"),
    "large_stem": ((7, 7), 1, 3, 64, 1, "direct dense dense"),
    "large_strided_stem": ((7, 7), 1, 3, 64, 2, "direct patches dense"),
    "many_phases": ((17, 17), 1, 3, 64, 16, "direct direct dense"),
    "side_by_side": ((16, 16), 1, 3, 64, 16, "patches patches patches"),
    "groups_side_by_side": ((2, 2), 2, 32, 32, 2, "dense patches dense"),
    "volume": ((3, 3, 3), 1, 32, 32, 1, "dense dense patches"),
    "strided_volume": ((3, 3, 3), 1, 32, 32, 2, "dense patches patches"),
    "volume_stem": ((3, 3, 3), 1, 3, 16, 1, "taps patches dense"),
    "wide_volume_stem": ((3, 3, 3), 1, 3, 32, 1, "patches patches patches"),
    "large_volume_strided": ((7, 7, 7), 1, 32, 32, 2, "dense dense dense"),
    "depthwise_volume": ((3, 3, 3), 32, 32, 32, 1, "taps taps taps"),
    "large_kernel": ((31, 31), 32, 32, 32, 1, "taps taps taps"),
}


@pytest.mark.parametrize("name", ON_CPU)
def test_each_pass_on_cpu(name: str) -> None:
    kernel, groups, inputs, outputs, stride, wanted = ON_CPU[name]
    rank = len(kernel)
    axes = (64,) * rank, kernel, (stride,) * rank, ((0, 0),) * rank, (1,) * rank
    problem = Problem(ConvGeometry(*axes, groups), inputs, outputs)
    chosen = [
        choose("cpu", pass_name, problem)
        for pass_name in ("conv", "input_gradient", "kernel_gradient")
    ]
    assert chosen == [getattr(lowerings, name) for name in wanted.split()]


def test_a_platform_that_nobody_measured_runs_lax() -> None:
    geometry = ConvGeometry((64, 64), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1), 32)
    chosen = choose("elsewhere", "kernel_gradient", Problem(geometry, 32, 32))
    assert chosen is lowerings.direct

"""The table of algorithms: what is taken where, for the convolutions that people use."""

import inspect

import pytest

from dilax import algorithms
from dilax._choice import Problem, choose
from dilax.geometry import ConvGeometry

# kernel, groups, in-features, out-features, stride: forward, input gradient, kernel gradient
ON_CPU = {
    "depthwise": ((3, 3), 32, 32, 32, 1, "shift_and_add shift_and_add shift_and_add"),
    "depthwise_strided": ((3, 3), 32, 32, 32, 2, "shift_and_add shift_and_add shift_and_add"),
    "multiplier_2": ((3, 3), 32, 32, 64, 1, "shift_and_add shift_and_add shift_and_add"),
    "two_a_group": ((3, 3), 16, 32, 32, 1, "shift_and_add shift_and_add shift_and_add"),
    "four_a_group": ((3, 3), 8, 32, 32, 1, "shift_and_add shift_and_add per_group"),
    "one_channel": ((3, 3), 1, 1, 1, 1, "shift_and_add shift_and_add shift_and_add"),
    "three_to_one": ((3, 3), 1, 3, 1, 1, "shift_and_add shift_and_add per_group"),
    "sixteen_a_group": ((3, 3), 2, 32, 32, 1, "per_group per_group per_group"),
    "sixteen_strided": ((3, 3), 2, 32, 32, 2, "per_group im2col per_group"),
    "dense": ((3, 3), 1, 32, 32, 1, "lax per_group im2col"),
    "dense_strided": ((3, 3), 1, 32, 32, 2, "lax im2col im2col"),
    "widening": ((3, 3), 1, 32, 64, 2, "lax im2col im2col"),
    "large_window": ((5, 5), 1, 32, 32, 1, "lax per_group per_group"),
    "sequence": ((3,), 1, 32, 32, 1, "lax per_group per_group"),
    "wide_and_strided": ((7, 7), 1, 32, 32, 2, "lax lax per_group"),
    "pointwise": ((1, 1), 1, 32, 32, 1, "im2col im2col im2col"),
    "grey_stem": ((3, 3), 1, 1, 16, 1, "shift_and_add im2col per_group"),
    "colour_stem": ((3, 3), 1, 3, 32, 1, "shift_and_add im2col im2col"),
    "strided_stem": ((3, 3), 1, 3, 32, 2, "shift_and_add im2col per_group"),
    "large_stem": ((7, 7), 1, 3, 64, 1, "lax per_group per_group"),
    "large_strided_stem": ((7, 7), 1, 3, 64, 2, "lax im2col per_group"),
    "many_phases": ((17, 17), 1, 3, 64, 16, "lax lax per_group"),
    "non_overlapping": ((16, 16), 1, 3, 64, 16, "im2col im2col im2col"),
    "groups_non_overlapping": ((2, 2), 2, 32, 32, 2, "per_group im2col per_group"),
    "volume": ((3, 3, 3), 1, 32, 32, 1, "per_plane per_plane im2col"),
    "strided_volume": ((3, 3, 3), 1, 32, 32, 2, "per_plane im2col im2col"),
    "volume_stem": ((3, 3, 3), 1, 3, 16, 1, "shift_and_add im2col per_plane"),
    "wide_volume_stem": ((3, 3, 3), 1, 3, 32, 1, "im2col im2col im2col"),
    "large_volume_strided": ((7, 7, 7), 1, 32, 32, 2, "per_plane per_plane per_plane"),
    "depthwise_volume": ((3, 3, 3), 32, 32, 32, 1, "shift_and_add shift_and_add shift_and_add"),
    "large_kernel": ((31, 31), 32, 32, 32, 1, "shift_and_add shift_and_add shift_and_add"),
}


@pytest.mark.parametrize("name", ON_CPU)
def test_each_pass_on_cpu(name: str) -> None:
    kernel, groups, inputs, outputs, stride, wanted = ON_CPU[name]
    rank = len(kernel)
    axes = (64,) * rank, kernel, (stride,) * rank, ((0, 0),) * rank, (1,) * rank
    problem = Problem(ConvGeometry(*axes, groups), inputs, outputs, batch=16)
    chosen = [
        choose("cpu", pass_name, problem).algorithm
        for pass_name in ("conv", "input_gradient", "kernel_gradient")
    ]
    assert chosen == [getattr(algorithms, name) for name in wanted.split()]


@pytest.mark.parametrize(
    "batch, edge, features, wanted",
    [
        (8, 28, 64, "per_group"),  # few windows
        (12, 28, 32, "per_group"),  # many windows of few channels
        (16, 28, 32, "im2col"),
        (16, 14, 256, "per_group"),
        (8, 32, 64, "im2col"),
    ],
)
def test_dense_kernel_gradients_of_few_windows_are_left_to_lax(
    batch: int, edge: int, features: int, wanted: str
) -> None:
    geometry = ConvGeometry((edge, edge), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1), 1)
    problem = Problem(geometry, features, features, batch)
    chosen = choose("cpu", "kernel_gradient", problem)
    assert chosen.algorithm is getattr(algorithms, wanted)


def test_a_platform_that_nobody_measured_runs_lax() -> None:
    geometry = ConvGeometry((64, 64), (3, 3), (1, 1), ((0, 0),) * 2, (1, 1), 32)
    chosen = choose("elsewhere", "kernel_gradient", Problem(geometry, 32, 32, 1))
    assert chosen.algorithm is algorithms.lax and not chosen.settings


@pytest.mark.parametrize(
    "stride, dilation, padding, wanted",
    [
        (1, 1, (2, 0), "lax lax lax"),
        (2, 1, (1, 1), "lax lax lax"),
        (1, 2, (2, 2), "lax lax space_to_batch"),
        (1, 2, (4, 0), "pad_first pad_first space_to_batch"),
        (2, 2, (2, 2), "lax space_to_batch space_to_batch"),
        (3, 2, (1, 2), "pad_first space_to_batch space_to_batch"),
    ],
)
def test_each_pass_on_nvidia_gpus(stride, dilation, padding, wanted) -> None:
    axes = (64, 64), (3, 1), (stride,) * 2, (padding, (0, 0)), (dilation,) * 2
    problem = Problem(ConvGeometry(*axes, 8), 32, 32, 4)
    for platform in ("cuda", "gpu"):
        chosen = [
            choose(platform, pass_name, problem).algorithm
            for pass_name in ("conv", "input_gradient", "kernel_gradient")
        ]
        assert chosen == [getattr(algorithms, name) for name in wanted.split()]


def test_an_algorithm_given_by_value_gets_the_settings_that_fit_it() -> None:
    geometry = ConvGeometry((64, 64), (3, 3), (2, 2), ((0, 0),) * 2, (1, 1), 32)
    given = choose("cpu", "conv", Problem(geometry, 32, 32, 1), algorithms.per_group)
    assert given.algorithm is algorithms.per_group and given.settings == {"unrolled_groups": 32}
    elsewhere = choose("elsewhere", "conv", Problem(geometry, 32, 32, 1), algorithms.shift_and_add)
    assert elsewhere == choose("cpu", "conv", Problem(geometry, 32, 32, 1))


def test_every_setting_is_one_that_its_pass_takes() -> None:
    geometry = ConvGeometry((64, 64), (3, 3), (2, 2), ((0, 0),) * 2, (1, 1), 32)
    problem = Problem(geometry, 32, 32, 8)
    for name in algorithms.__all__:
        for pass_name in ("conv", "input_gradient", "kernel_gradient"):
            algorithm = getattr(algorithms, name)
            if algorithm is not algorithms.Algorithm:
                settings = choose("cpu", pass_name, problem, algorithm).settings
                assert set(settings) <= set(
                    inspect.signature(getattr(algorithm, pass_name)).parameters
                )

"""Every algorithm meets every case: forward and both gradients, against the NumPy reference.

Float64 goes through the whole table, the algorithms taking turns (``--long`` runs all of them on
every case); the other types through a few rows of it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax import algorithms
from dilax._choice import Problem, choose
from dilax.algorithms import Algorithm
from dilax.geometry import ConvGeometry
from tests import cases

ALGORITHMS = [
    algorithms.im2col,
    algorithms.lax,
    algorithms.pad_first,
    algorithms.per_group,
    algorithms.per_plane,
    algorithms.shift_and_add,
    algorithms.space_to_batch,
]
PASSES = ("conv", "input_gradient", "kernel_gradient")
TOLERANCE = {jnp.float32: 1e-5, jnp.float64: 1e-13}
SOME = (
    "1d_70_taps_depthwise",
    "1d_cut_low",
    "2d_pointwise",
    "2d_strided_dilated",
    "2d_batch_0",
    "2d_groups_3_fewer_outputs",
    "2d_multiplier_2",
    "2d_depthwise_17_channels",
    "3d_depthwise",
)
SOME_CASES = [case for case in cases.CASES if case.id in SOME]
every_algorithm = pytest.mark.parametrize(
    "algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name
)


def geometry_of(case: cases.Case) -> ConvGeometry:
    return ConvGeometry(
        case.input_size,
        case.kernel_size,
        case.strides,
        case.padding,
        case.kernel_dilation,
        case.feature_group_count,
    )


def problem_of(case: cases.Case) -> Problem:
    return Problem(geometry_of(case), case.in_features, case.out_features, case.batch)


def chosen_settings(algorithm: Algorithm, case: cases.Case) -> dict[str, dict]:
    return {
        name: dict(choose("cpu", name, problem_of(case), algorithm).settings) for name in PASSES
    }


def all_passes(algorithm: Algorithm, case: cases.Case, dtype, *operands: np.ndarray, **settings):
    """Output, input gradient and kernel gradient, in one compilation."""
    geometry = geometry_of(case)
    settings = settings or chosen_settings(algorithm, case)

    @jax.jit
    def run(x, kernel, g):
        return (
            algorithm.conv(x, kernel, geometry, **settings["conv"]),
            algorithm.input_gradient(g, kernel, geometry, **settings["input_gradient"]),
            algorithm.kernel_gradient(x, g, geometry, **settings["kernel_gradient"]),
        )

    return run(*(jnp.asarray(operand, dtype) for operand in operands))


def assert_close(results, expected: cases.Answer, dtype) -> None:
    wanted = (expected.output, expected.input_gradient, expected.kernel_gradient)
    for result, want in zip(results, wanted, strict=True):
        assert result.dtype == dtype
        tolerance = TOLERANCE[dtype] * np.abs(want).max(initial=1)
        np.testing.assert_allclose(result, want, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case, algorithm", cases.crossed(ALGORITHMS))
def test_float64_equals_the_reference(
    case: cases.Case, algorithm: Algorithm, double, compile_quickly
) -> None:
    expected = cases.solve(case)
    results = all_passes(algorithm, case, jnp.float64, expected.x, expected.kernel, expected.g)
    assert_close(results, expected, jnp.float64)


@pytest.mark.parametrize("case, algorithm", cases.crossed(ALGORITHMS, SOME_CASES))
def test_float32_equals_the_reference(algorithm: Algorithm, case: cases.Case) -> None:
    expected = cases.solve(case)
    results = all_passes(algorithm, case, jnp.float32, expected.x, expected.kernel, expected.g)
    assert_close(results, expected, jnp.float32)


UNUSUAL = {
    "padded": (algorithms.shift_and_add, {"padded": True}, {"padded": True}),
    "as it is": (algorithms.shift_and_add, {"padded": False}, {"padded": False, "by_phase": True}),
    "unrolled": (algorithms.shift_and_add, {"unrolled_taps": 99}, {"unrolled_outputs": 99}),
    "by phase": (algorithms.im2col, {}, {"by_phase": True}),
    "spread": (algorithms.im2col, {}, {"by_phase": False}),
    "in a loop": (algorithms.per_group, {"unrolled_groups": 1}, {"unrolled_groups": 1}),
}


@pytest.mark.parametrize("case, name", cases.crossed(list(UNUSUAL), SOME_CASES, turns=3))
def test_settings_change_no_answer(name: str, case: cases.Case, double, compile_quickly) -> None:
    """Settings that would not be chosen here, as all the others that are left out."""
    algorithm, forward, backward = UNUSUAL[name]
    if backward.get("by_phase") and max(case.strides) == 1:
        backward = {**backward, "by_phase": False}
    settings = {"conv": forward, "input_gradient": backward, "kernel_gradient": {}}
    expected = cases.solve(case)
    operands = expected.x, expected.kernel, expected.g
    assert_close(
        all_passes(algorithm, case, jnp.float64, *operands, **settings), expected, jnp.float64
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("case, algorithm", cases.crossed(ALGORITHMS, SOME_CASES))
def test_half_precision_is_rounded_once(
    case: cases.Case, algorithm: Algorithm, dtype, compile_quickly
) -> None:
    expected = cases.solve(case, exact=True)
    results = all_passes(algorithm, case, dtype, expected.x, expected.kernel, expected.g)
    wanted = (expected.output, expected.input_gradient, expected.kernel_gradient)
    for result, want in zip(results, wanted, strict=True):
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, want.astype(dtype))


@every_algorithm
def test_half_precision_can_give_its_float32_sum(algorithm: Algorithm, compile_quickly) -> None:
    case = next(case for case in cases.CASES if case.id == "2d_groups_2")
    expected = cases.solve(case, exact=True)
    x, kernel, g = (
        jnp.asarray(operand, jnp.bfloat16) for operand in (expected.x, expected.kernel, expected.g)
    )
    wide = {"geometry": geometry_of(case), "preferred_element_type": jnp.float32}

    @jax.jit
    def run(x, kernel, g):
        return (
            algorithm.conv(x, kernel, **wide),
            algorithm.input_gradient(g, kernel, **wide),
            algorithm.kernel_gradient(x, g, **wide),
        )

    results = run(x, kernel, g)
    wanted = (expected.output, expected.input_gradient, expected.kernel_gradient)
    for result, want in zip(results, wanted, strict=True):
        assert result.dtype == jnp.float32
        np.testing.assert_array_equal(result, want)

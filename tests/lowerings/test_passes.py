"""Every lowering meets every case: forward and both gradients, against the NumPy reference.

Float64 goes through the whole table; the other types through a few rows of it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax import lowerings
from dilax.geometry import ConvGeometry
from dilax.lowerings import Lowering
from tests import cases

LOWERINGS = [lowerings.dense, lowerings.direct, lowerings.taps, lowerings.patches]
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
some_cases = pytest.mark.parametrize(
    "case", [case for case in cases.CASES if case.id in SOME], ids=lambda case: case.id
)
every_case = pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.id)
every_lowering = pytest.mark.parametrize("lowering", LOWERINGS, ids=lambda lowering: lowering.name)


def geometry_of(case: cases.Case) -> ConvGeometry:
    return ConvGeometry(
        case.input_size,
        case.kernel_size,
        case.strides,
        case.padding,
        case.kernel_dilation,
        case.feature_group_count,
    )


def all_passes(lowering: Lowering, case: cases.Case, dtype, *operands: np.ndarray):
    """Output, input gradient and kernel gradient, in one compilation."""
    geometry = geometry_of(case)

    @jax.jit
    def run(x, kernel, g):
        return (
            lowering.conv(x, kernel, geometry),
            lowering.input_gradient(g, kernel, geometry),
            lowering.kernel_gradient(x, g, geometry),
        )

    return run(*(jnp.asarray(operand, dtype) for operand in operands))


def assert_close(results, expected: cases.Answer, dtype) -> None:
    wanted = (expected.output, expected.input_gradient, expected.kernel_gradient)
    for result, want in zip(results, wanted, strict=True):
        assert result.dtype == dtype
        tolerance = TOLERANCE[dtype] * np.abs(want).max(initial=1)
        np.testing.assert_allclose(result, want, rtol=0, atol=tolerance)


@every_lowering
@every_case
def test_float64_equals_the_reference(
    lowering: Lowering, case: cases.Case, double, compile_quickly
) -> None:
    expected = cases.solve(case)
    results = all_passes(lowering, case, jnp.float64, expected.x, expected.kernel, expected.g)
    assert_close(results, expected, jnp.float64)


@every_lowering
@some_cases
def test_float32_equals_the_reference(lowering: Lowering, case: cases.Case) -> None:
    expected = cases.solve(case)
    results = all_passes(lowering, case, jnp.float32, expected.x, expected.kernel, expected.g)
    assert_close(results, expected, jnp.float32)


@every_lowering
@some_cases
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
def test_half_precision_is_rounded_once(
    lowering: Lowering, case: cases.Case, dtype, compile_quickly
) -> None:
    expected = cases.solve(case, exact=True)
    results = all_passes(lowering, case, dtype, expected.x, expected.kernel, expected.g)
    wanted = (expected.output, expected.input_gradient, expected.kernel_gradient)
    for result, want in zip(results, wanted, strict=True):
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, want.astype(dtype))


@every_lowering
def test_half_precision_can_give_its_float32_sum(lowering: Lowering) -> None:
    case = next(case for case in cases.CASES if case.id == "2d_groups_2")
    expected = cases.solve(case, exact=True)
    x, kernel, g = (
        jnp.asarray(operand, jnp.bfloat16) for operand in (expected.x, expected.kernel, expected.g)
    )
    window, wide = geometry_of(case), {"preferred_element_type": jnp.float32}
    results = (
        lowering.conv(x, kernel, window, **wide),
        lowering.input_gradient(g, kernel, window, **wide),
        lowering.kernel_gradient(x, g, window, **wide),
    )
    wanted = (expected.output, expected.input_gradient, expected.kernel_gradient)
    for result, want in zip(results, wanted, strict=True):
        assert result.dtype == jnp.float32
        np.testing.assert_array_equal(result, want)

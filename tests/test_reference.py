"""The reference itself, against what needs no convolution to say."""

import numpy as np
import pytest

from tests import cases, reference

_PLAIN = {"strides": (1,), "padding": ((0, 0),), "kernel_dilation": (1,), "feature_group_count": 1}


def test_dense_equals_numpy_correlate() -> None:
    x, kernel = cases.draw((9,), (4,))
    result = reference.conv(x[None, :, None], kernel[:, None, None], **_PLAIN)
    np.testing.assert_allclose(result[0, :, 0], np.correlate(x, kernel, "valid"), rtol=1e-13)


def test_dilation_is_a_kernel_with_zeros_between_its_taps() -> None:
    x, kernel = cases.draw((2, 11, 3), (3, 3, 4))
    spread = np.zeros((7, 3, 4))
    spread[::3] = kernel
    dilated = reference.conv(x, kernel, **_PLAIN | {"kernel_dilation": (3,)})
    np.testing.assert_array_equal(dilated, reference.conv(x, spread, **_PLAIN))


def test_groups_are_separate_convolutions_side_by_side() -> None:
    x, kernel = cases.draw((2, 8, 6), (3, 2, 9))
    grouped = reference.conv(x, kernel, **_PLAIN | {"feature_group_count": 3})
    parts = [
        reference.conv(x[..., 2 * i : 2 * i + 2], kernel[..., 3 * i : 3 * i + 3], **_PLAIN)
        for i in range(3)
    ]
    np.testing.assert_array_equal(grouped, np.concatenate(parts, axis=-1))


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.id)
def test_gradients_are_the_transposes_of_the_forward_pass(case: cases.Case) -> None:
    answer = cases.solve(case)
    expected = np.vdot(answer.output, answer.g)
    np.testing.assert_allclose(np.vdot(answer.x, answer.input_gradient), expected, rtol=1e-11)
    np.testing.assert_allclose(np.vdot(answer.kernel, answer.kernel_gradient), expected, rtol=1e-11)


def test_cases_have_distinct_ids_and_outputs_to_compare() -> None:
    assert len({case.id for case in cases.CASES}) == len(cases.CASES)
    empty = [case.id for case in cases.CASES if not cases.solve(case).output.size]
    assert empty == ["2d_batch_0", "2d_depthwise_batch_0", "3d_batch_0"]

"""Branches of several dilations, and one kernel that does what all of them do."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import dilax
from dilax import degridding
from tests import cases
from tests.degridding import answers

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def test_hierarchical_fusion_concatenates_running_sums():
    branches = cases.draw((2, 5, 4), (2, 5, 4), (2, 5, 4))
    fused = degridding.hierarchical_fusion(branches)
    assert fused.shape == (2, 5, 12)
    for place in range(3):
        expected = sum(np.asarray(branch, np.float32) for branch in branches[: place + 1])
        np.testing.assert_allclose(fused[..., 4 * place : 4 * place + 4], expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"one shape .* got shapes \[\(2,\), \(3,\)\]"):
        degridding.hierarchical_fusion([jnp.ones(2), jnp.ones(3)])
    with pytest.raises(ValueError, match=r"branches must be at least one .* got shapes \[\]"):
        degridding.hierarchical_fusion([])


@st.composite
def branches(draw):
    rank = draw(st.integers(1, 2))
    sizes = st.lists(st.sampled_from([1, 3, 5]), min_size=rank, max_size=rank)
    dilations = st.lists(st.integers(1, 4), min_size=rank, max_size=rank)
    count = draw(st.integers(1, 3))
    return [(tuple(draw(sizes)), tuple(draw(dilations))) for _ in range(count)]


def test_the_merged_kernel_does_what_the_branches_do(long):
    @hypothesis.settings(max_examples=100 if long else 6)
    @hypothesis.given(branches(), st.integers(1, 2), st.integers(0, 1000))
    def check(branches, strides, seed):
        sizes, dilations = zip(*branches, strict=True)
        shapes = [(*size, 1, 6) for size in sizes]
        x, *kernels = cases.draw((2, *(7, 9)[: len(sizes[0])], 3), *shapes, seed=seed)
        x, *kernels = (np.asarray(a, np.float32) for a in cases.sixteenths(x, *kernels))
        apart = degridding.parallel_depthwise_conv(
            x, kernels, kernel_dilation=dilations, strides=strides
        )
        merged = degridding.merge_kernels(kernels, kernel_dilation=dilations)
        np.testing.assert_array_equal(merged, answers.merged(kernels, dilations))
        edges = [(size // 2, size // 2) for size in merged.shape[:-2]]
        together = dilax.depthwise_conv(x, merged, padding=edges, strides=strides)
        np.testing.assert_array_equal(apart, together)

    check()


def test_merging_has_gradients():
    kernels = cases.draw((3, 1, 2), (3, 1, 2))

    def total(kernels):
        return jnp.sum(degridding.merge_kernels(kernels, kernel_dilation=np.array([1, 3])))

    for gradient in jax.jit(jax.grad(total))(kernels):
        np.testing.assert_array_equal(gradient, np.ones((3, 1, 2)))


@pytest.mark.parametrize("act", [degridding.merge_kernels, degridding.parallel_depthwise_conv])
def test_kernels_that_do_not_fit(act):
    operands = [] if act is degridding.merge_kernels else [jnp.ones((2, 9, 9, 4))]
    with pytest.raises(ValueError, match=r"odd effective size.* got \(4, 3\) for \(4, 3\)"):
        act(*operands, [jnp.ones((4, 3, 1, 4))], kernel_dilation=[1])
    with pytest.raises(ValueError, match="equally many entries, at least one, got 1 and 2"):
        act(*operands, [jnp.ones((3, 3, 1, 4))], kernel_dilation=[1, 2])
    with pytest.raises(ValueError, match="one number of window axes, one I and one O, got"):
        act(*operands, [jnp.ones((3, 1, 4)), jnp.ones((3, 1, 5))], kernel_dilation=(1, 2))


def test_a_folded_norm_is_the_norm_after():
    x, kernel, *fields = cases.draw((2, 9, 4), (3, 1, 4), (4,), (4,), (4,), (4,))
    norm = dilax.BatchNormParams(*(np.abs(field) + 0.5 for field in fields))
    expected, _ = dilax.batch_norm(
        dilax.depthwise_conv(x, kernel), norm, use_running_average=True, epsilon=1e-3
    )
    folded, bias = degridding.fold_batch_norm(kernel, norm, epsilon=1e-3)
    found = dilax.depthwise_conv(x, folded, bias=bias)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"norm\.scale"):
        degridding.fold_batch_norm(jnp.ones((3, 1, 5)), norm)

"""Branches of several rates, and one kernel that does what all of them do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dilax
from dilax import degridding
from tests import cases

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def test_hierarchical_fusion_is_running_sums_side_by_side():
    branches = cases.draw((2, 5, 4), (2, 5, 4), (2, 5, 4))
    fused = degridding.hierarchical_fusion(branches)
    assert fused.shape == (2, 5, 12)
    for place in range(3):
        expected = sum(np.asarray(branch, np.float32) for branch in branches[: place + 1])
        np.testing.assert_allclose(fused[..., 4 * place : 4 * place + 4], expected, rtol=1e-5)


def test_fusion_of_unequal_shapes_is_an_error():
    with pytest.raises(ValueError, match=r"branches have shapes \[\(2,\), \(3,\)\]"):
        degridding.hierarchical_fusion([jnp.ones(2), jnp.ones(3)])
    with pytest.raises(ValueError, match=r"branches have shapes \[\]; required: at least one"):
        degridding.hierarchical_fusion([])


@st.composite
def branches(draw):
    rank = draw(st.integers(1, 2))
    sizes = st.lists(st.sampled_from([1, 3, 5]), min_size=rank, max_size=rank)
    rates = st.lists(st.integers(1, 4), min_size=rank, max_size=rank)
    count = draw(st.integers(1, 4))
    return [(tuple(draw(sizes)), tuple(draw(rates))) for _ in range(count)]


@settings(deadline=None, max_examples=40)
@given(branches(), st.integers(1, 2), st.integers(0, 1000))
def test_the_merged_kernel_does_what_the_branches_do(branches, strides, seed):
    rank = len(branches[0][0])
    sizes, rates = [size for size, _ in branches], [rate for _, rate in branches]
    shapes = [(*size, 1, 6) for size in sizes]
    x, *kernels = cases.sixteenths(*cases.draw((2, *(7, 9)[:rank], 3), *shapes, seed=seed))
    x, *kernels = (jnp.asarray(array, jnp.float32) for array in (x, *kernels))
    apart = degridding.parallel_depthwise_conv(x, kernels, kernel_dilation=rates, strides=strides)
    merged = degridding.merge_kernels(kernels, kernel_dilation=rates)
    edges = [(size // 2, size // 2) for size in merged.shape[:-2]]
    together = dilax.depthwise_conv(x, merged, padding=edges, strides=strides)
    np.testing.assert_array_equal(apart, together)


def test_merging_is_linear_and_has_gradients(key):
    kernels = [jax.random.normal(key, (3, 1, 2)), jax.random.normal(key, (3, 1, 2))]

    def total(kernels):
        return jnp.sum(degridding.merge_kernels(kernels, kernel_dilation=(1, 3)))

    for gradient in jax.grad(total)(kernels):
        np.testing.assert_array_equal(gradient, jnp.ones((3, 1, 2)))


@pytest.mark.parametrize("act", [degridding.merge_kernels, degridding.parallel_depthwise_conv])
def test_an_even_kernel_has_no_centre(act):
    operands = [] if act is degridding.merge_kernels else [jnp.ones((2, 9, 9, 4))]
    with pytest.raises(ValueError, match=r"effective size \(4, 3\), which has no centre"):
        act(*operands, [jnp.ones((4, 3, 1, 4))], kernel_dilation=[1])
    with pytest.raises(ValueError, match="1 kernels and 2 rates"):
        act(*operands, [jnp.ones((3, 3, 1, 4))], kernel_dilation=[1, 2])


def test_kernels_of_other_features_do_not_merge():
    with pytest.raises(ValueError, match="as many window axes, in-features and out-features"):
        degridding.merge_kernels([jnp.ones((3, 1, 4)), jnp.ones((3, 1, 5))], kernel_dilation=(1, 2))


def test_a_folded_norm_is_the_norm_after(key):
    keys = jax.random.split(key, 6)
    norm = dilax.BatchNormParams(
        *(jax.random.uniform(k, (4,), minval=0.5, maxval=2.0) for k in keys[:4])
    )
    x = jax.random.normal(keys[4], (2, 9, 4))
    kernel = jax.random.normal(keys[5], (3, 1, 4))
    expected, _ = dilax.batch_norm(dilax.depthwise_conv(x, kernel), norm, epsilon=1e-3)
    folded, bias = degridding.fold_batch_norm(kernel, norm, epsilon=1e-3)
    found = dilax.depthwise_conv(x, folded, bias=bias)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"norm.scale is for features of shape \(4,\)"):
        degridding.fold_batch_norm(jnp.ones((3, 1, 5)), norm)

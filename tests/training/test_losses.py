"""Losses against their formulas, and mixup: shares, pairs and blends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dilax.training import blend, correct, cross_entropy, draw_shares, swap_pairs

LOGITS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * 3
LABELS = np.array([0, 3, 2, 2, 1], np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_equals_its_formula_in_float64(smoothing):
    logits = LOGITS.astype(np.float64)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = (1 - smoothing) * np.eye(4)[LABELS] + smoothing / 4
    losses = cross_entropy(jnp.array(LOGITS), jnp.array(LABELS), label_smoothing=smoothing)
    np.testing.assert_allclose(losses, -(targets * log_softmax).sum(axis=1), rtol=1e-5)


def test_cross_entropy_of_enormous_logits_is_finite():
    logits = jnp.array([[1e30, -1e30, 0.0]])
    assert float(cross_entropy(logits, jnp.array([0]))[0]) == 0.0


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(ValueError, match=r"label_smoothing must be (in \[0, 1\)|finite), got"):
        cross_entropy(jnp.array(LOGITS), jnp.array(LABELS), label_smoothing=smoothing)


def test_correct_is_argmax_equal_to_label():
    labels = np.argmax(LOGITS, axis=1)
    labels[::2] = (labels[::2] + 1) % 4
    assert correct(jnp.array(LOGITS), jnp.array(labels)).tolist() == [False, True] * 2 + [False]


@pytest.fixture(scope="module")
def drawn():
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = jax.jit(lambda keys, alpha: draw_shares(keys, alpha=alpha), static_argnums=1)
    return lambda alpha: np.asarray(draw(keys, alpha))


def test_shares_of_a_pair_are_one_draw_from_the_beta_distribution(drawn):
    shares = drawn(0.2)
    np.testing.assert_array_equal(shares[::2], shares[1::2])
    assert stats.kstest(shares[::2], stats.beta(0.2, 0.2).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("alpha", "kept"), [(1e-40, {0, 1}), pytest.param(1e300, {0.5}, marks=pytest.mark.long)]
)
def test_extreme_shares_are_those_of_the_limits(drawn, alpha, kept):
    assert set(np.round(drawn(alpha), 4).tolist()) == kept


def test_neighbours_are_swapped_and_blended():
    images = jnp.arange(4.0).reshape(4, 1, 1, 1)
    assert swap_pairs(images).ravel().tolist() == [1, 0, 3, 2]
    mixed = blend(images, swap_pairs(images), jnp.array([0.75, 0.75, 0.5, 0.5]))
    assert mixed.ravel().tolist() == [0.25, 0.75, 2.5, 2.5]


def test_an_odd_batch_cannot_be_paired(key):
    with pytest.raises(ValueError, match="must be even"):
        draw_shares(jax.random.split(key, 7), alpha=0.2)

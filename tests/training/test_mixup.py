"""Blends of neighbours: what they are made of, and that a step learns from both labels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from dilax.training.losses import cross_entropy
from dilax.training.mixup import blend, draw_shares, swap
from tests.training.network import labelled_images, prepare, training

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

BATCH = labelled_images(8)


def plain(key, images, step):
    return prepare(images)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_drawn_from_the_beta_distribution(key, alpha):
    shares = np.asarray(
        jax.jit(lambda keys: draw_shares(keys, alpha=alpha))(jax.random.split(key, 4000))
    )
    np.testing.assert_array_equal(shares[::2], shares[1::2])
    assert stats.kstest(shares[::2], stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("alpha", "kept"), [(1e-40, {0, 1}), (2**31, {0.5}), (1e300, {0.5})])
def test_extreme_shares_are_those_of_the_limits(key, alpha, kept):
    shares = np.asarray(draw_shares(jax.random.split(key, 64), alpha=alpha))
    assert set(np.round(shares, 4).tolist()) == kept


def test_neighbours_are_swapped_and_blended():
    images = jnp.arange(4.0).reshape(4, 1, 1, 1)
    assert swap(images).ravel().tolist() == [1, 0, 3, 2]
    mixed = blend(images, swap(images), jnp.array([0.75, 0.75, 0.5, 0.5]))
    assert mixed.ravel().tolist() == [0.25, 0.75, 2.5, 2.5]


def test_a_step_descends_on_both_labels_of_each_blend(key):
    state, train_step, apply = training(
        optimizer=optax.sgd(0.5), augment=plain, mixup=1.0, normalise=False
    )
    images_key, _ = jax.random.split(key)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(images_key, jnp.arange(8))
    shares = draw_shares(keys, alpha=1.0)
    images, labels = prepare(BATCH.images), np.asarray(BATCH.labels)
    others = labels.reshape(-1, 2)[:, ::-1].ravel()

    def loss(params):
        part = shares[:, None, None, None]
        mixed = part * images + (1 - part) * swap(images)
        logits, _ = apply(params, state.batch_stats, mixed, train=True)
        each = [cross_entropy(logits, jnp.asarray(these)) for these in (labels, others)]
        return (shares * each[0] + (1 - shares) * each[1]).mean()

    new_state, _ = jax.jit(train_step)(state, BATCH, key)
    moved = jax.tree.map(lambda p, g: p - 0.5 * g, state.params, jax.grad(loss)(state.params))
    for actual, wanted in zip(
        jax.tree.leaves(new_state.params), jax.tree.leaves(moved), strict=True
    ):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)


def test_the_last_steps_blend_nothing(key):
    steps = [
        jax.jit(training(augment=plain, prepare=prepare, augmented_steps=0, mixup=mixup)[1])
        for mixup in (0.0, 1.0)
    ]
    state = training()[0]
    losses = [float(step(state, BATCH, key)[1].loss) for step in steps]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_an_odd_batch_cannot_be_paired(key):
    state, train_step, _ = training(augment=plain, mixup=0.2)
    odd = jax.tree.map(lambda array: array[:7], BATCH)
    with pytest.raises(ValueError, match="must be even"):
        train_step(state, odd, key)

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax.training.epoch import make_evaluate, make_train_steps, shuffled_batches
from dilax.training.losses import cross_entropy
from dilax.training.step import Batch, Totals, make_eval_step
from tests.training.network import assert_equal_trees, labelled_images, prepare, training

DATA = labelled_images(22)


def test_shuffled_batches_are_full_and_take_no_image_twice(key):
    batches = shuffled_batches(key, num_images=22, batch_size=4)
    assert batches.shape == (5, 4)
    assert len(set(batches.ravel().tolist())) == 20
    assert batches.min() >= 0 and batches.max() < 22
    other = shuffled_batches(jax.random.key(1), num_images=22, batch_size=4)
    assert (batches != other).any()


def test_scan_over_steps_is_a_python_loop_of_steps(key):
    state, train_step, _ = training(optimizer=optax.sgd(0.1))
    batches = shuffled_batches(key, num_images=22, batch_size=4)
    scanned, totals = jax.jit(make_train_steps(train_step))(state, Totals.zero(), DATA, batches)
    one_step = jax.jit(train_step)
    expected = Totals.zero()
    for rows in np.asarray(batches):
        batch = Batch(DATA.images[rows], DATA.labels[rows])
        state, step_totals = one_step(state, batch, state.step_key())
        expected = expected + step_totals
    assert int(scanned.step) == 5
    assert int(totals.correct) == int(expected.correct)
    np.testing.assert_allclose(totals.loss, expected.loss, rtol=1e-5)
    for actual, wanted in zip(
        jax.tree.leaves(scanned.weights("ema")), jax.tree.leaves(state.weights("ema")), strict=True
    ):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-6)


def test_an_epoch_in_pieces_is_the_epoch_bit_for_bit(key):
    state, train_step, _ = training()
    batches = shuffled_batches(key, num_images=22, batch_size=4)[:4]
    train_steps = jax.jit(make_train_steps(train_step))
    whole = train_steps(state, Totals.zero(), DATA, batches)
    pieces = (state, Totals.zero())
    for start in (0, 2):
        pieces = train_steps(*pieces, DATA, batches[start : start + 2])
    assert_equal_trees(pieces, whole)


@pytest.mark.parametrize("batch_size", [1, 5, 11, 22, 100])
def test_evaluation_counts_every_image_once_whatever_the_batch(batch_size):
    state, _, apply = training()
    logits, _ = apply(*state.weights("final"), prepare(DATA.images), train=False)
    evaluate = make_evaluate(make_eval_step(apply, prepare=prepare), batch_size=batch_size)
    totals, evaluated = jax.jit(evaluate)(state.weights("final"), DATA)
    np.testing.assert_allclose(evaluated, logits, rtol=1e-4, atol=1e-5)
    assert int(totals.examples) == 22
    assert int(totals.correct) == int((jnp.argmax(logits, -1) == DATA.labels).sum())
    np.testing.assert_allclose(totals.loss, cross_entropy(logits, DATA.labels).sum(), rtol=1e-5)

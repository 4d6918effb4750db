"""Plans, and many steps in one call."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax.training import (
    Classification,
    Plan,
    Totals,
    cross_entropy,
    make_eval_step,
    make_evaluate,
    make_train_steps,
    shuffled_batches,
)
from tests.training.network import labelled_images, prepare, training

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

DATA = labelled_images(22)
TASK = Classification()


def test_shuffled_batches_are_full_and_use_no_image_twice(key):
    batches = shuffled_batches(key, num_examples=22, batch_size=4)
    assert batches.shape == (5, 4)
    assert len(set(batches.ravel().tolist())) == 20
    assert batches.min() >= 0 and batches.max() < 22
    other = shuffled_batches(jax.random.key(1), num_examples=22, batch_size=4)
    assert (batches != other).any()


def test_chunks_are_equal_and_begin_at_the_step(key):
    plan = Plan(num_examples=60, batch_size=5, epochs=1, max_chunks=5)
    assert (plan.steps_per_epoch, plan.chunk_steps) == (12, 3)
    whole = np.concatenate(list(plan.chunks(key, step=0)))
    rest = np.concatenate(list(plan.chunks(key, step=6)))
    np.testing.assert_array_equal(rest, whole[6:])
    # A prime number of steps is one chunk.
    assert Plan(num_examples=13, batch_size=1, epochs=1).chunk_steps == 13


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 51}, r"batch_size must be from 1 to .* \(num_examples=50\), got 51"),
        ({"batch_size": 0}, "batch_size must be from 1 to"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"max_chunks": 0}, "max_chunks must be at least 1, got 0"),
        ({"num_examples": 0}, "num_examples must be at least 1, got 0"),
    ],
)
def test_an_impossible_plan_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Plan(**{"num_examples": 50, "batch_size": 8, "epochs": 2, **fields})


def test_a_scan_in_pieces_is_a_python_loop_of_steps(key):
    state, train_step, _ = training(optimizer=optax.sgd(0.1))
    batches = shuffled_batches(key, num_examples=22, batch_size=4)[:4]
    train_steps = jax.jit(make_train_steps(train_step))
    pieces = (state, Totals.zero(TASK))
    for start in (0, 2):
        pieces = train_steps(*pieces, DATA, batches[start : start + 2])
    one_step, expected = jax.jit(train_step), Totals.zero(TASK)
    for rows in np.asarray(batches):
        batch = DATA.take(rows)
        state, step_totals = one_step(state, batch, state.step_key())
        expected = expected + step_totals
    scanned, totals = pieces
    assert int(scanned.step) == 4
    assert int(totals.counts["correct"]) == int(expected.counts["correct"])
    np.testing.assert_allclose(totals.loss, expected.loss, rtol=1e-5)
    for actual, wanted in zip(
        jax.tree.leaves(scanned.weights("ema")), jax.tree.leaves(state.weights("ema")), strict=True
    ):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size", [5, 100])
def test_evaluation_counts_every_image_once_whatever_the_batch(batch_size):
    state, _, apply = training()
    logits, _ = apply(*state.weights("final"), prepare(DATA.inputs), train=False)
    evaluate = make_evaluate(make_eval_step(apply, prepare=prepare), batch_size=batch_size)
    totals, evaluated = jax.jit(evaluate)(state.weights("final"), DATA)
    np.testing.assert_allclose(evaluated, logits, rtol=1e-4, atol=1e-5)
    assert int(totals.examples) == 22
    assert int(totals.counts["correct"]) == int((jnp.argmax(logits, -1) == DATA.targets).sum())
    np.testing.assert_allclose(totals.loss, cross_entropy(logits, DATA.targets).sum(), rtol=1e-5)

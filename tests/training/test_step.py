import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax.training.losses import cross_entropy
from dilax.training.state import create_state
from dilax.training.step import Batch, Fault, Totals, make_eval_step, make_train_step
from tests.training.network import CLASSES, jitter, labelled_images, prepare, training

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

RATE = 0.5
BATCH = labelled_images(8)


def plain(key, images, step):
    return prepare(images)


def test_a_step_of_gradient_descent_moves_params_by_the_gradient_of_the_mean_loss(key):
    state, train_step, apply = training(optimizer=optax.sgd(RATE), augment=plain)

    def loss(params):
        logits, _ = apply(params, state.batch_stats, prepare(BATCH.images), train=True)
        return cross_entropy(logits, BATCH.labels).mean()

    new_state, totals = jax.jit(train_step)(state, BATCH, key)
    expected = jax.tree.map(
        lambda p, g: p - RATE * g, state.params, jax.jit(jax.grad(loss))(state.params)
    )
    for actual, wanted in zip(
        jax.tree.leaves(new_state.params), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)
    assert int(new_state.step) == 1
    assert totals.means()["loss"] == pytest.approx(float(loss(state.params)), rel=1e-5)
    assert int(totals.examples) == 8


def test_batch_statistics_and_average_move_too(key):
    state, train_step, _ = training()
    new_state, _ = jax.jit(train_step)(state, BATCH, key)
    assert (new_state.batch_stats["norm"]["mean"] != state.batch_stats["norm"]["mean"]).any()
    # After one step the unbiased average is that step's value.
    for mean, value in zip(
        jax.tree.leaves(new_state.ema), jax.tree.leaves(new_state.weights("final")), strict=True
    ):
        np.testing.assert_allclose(mean, value, rtol=1e-5, atol=1e-7)


def test_a_step_is_pure_and_uses_its_key(key):
    state, train_step, _ = training()
    train_step = jax.jit(train_step)
    once, again = train_step(state, BATCH, key)[1], train_step(state, BATCH, key)[1]
    other = train_step(state, BATCH, jax.random.key(1))[1]
    assert float(once.loss) == float(again.loss) != float(other.loss)


def test_label_smoothing_raises_the_loss_of_a_sure_network(key):
    losses = []
    for smoothing in (0.0, 0.5):
        state, train_step, _ = training(augment=plain, label_smoothing=smoothing)
        train_step = jax.jit(train_step)
        for _ in range(20):
            state, totals = train_step(state, BATCH, key)
        losses.append(float(totals.loss))
    assert losses[0] < losses[1]


def linear(params, batch_stats, images, *, train, key=None):
    return images.reshape(images.shape[0], -1) @ params["kernel"], batch_stats


def over_devices(batch, key, *, augment):
    """One step of a linear network with the batch split over the leading axis."""
    optimizer = optax.sgd(RATE)
    params = {"kernel": jnp.linspace(-1, 1, 64 * CLASSES).reshape(64, CLASSES)}
    state = create_state(key, params, {}, optimizer)
    step = make_train_step(linear, optimizer, augment=augment, axis_name="devices")
    mapped = jax.vmap(lambda batch: step(state, batch, key), axis_name="devices")
    return jax.jit(mapped)(batch)


def test_over_a_device_axis_a_step_is_that_of_the_whole_batch(key):
    states, totals = {}, {}
    for devices in (1, 2):
        parts = jax.tree.map(lambda array: array.reshape(devices, -1, *array.shape[1:]), BATCH)  # noqa: B023
        states[devices], totals[devices] = over_devices(parts, key, augment=plain)
    whole, split = (states[n].params["kernel"] for n in (1, 2))
    np.testing.assert_array_equal(split[0], split[1])
    np.testing.assert_allclose(split[0], whole[0], rtol=1e-5, atol=1e-6)
    assert totals[2].correct.tolist() == totals[1].correct.tolist() * 2
    assert totals[2].examples.tolist() == [8, 8]


def test_over_a_device_axis_images_are_augmented_as_in_the_whole_batch(key):
    losses = []
    for devices in (1, 2):
        parts = jax.tree.map(lambda array: array.reshape(devices, -1, *array.shape[1:]), BATCH)  # noqa: B023
        _, totals = over_devices(parts, key, augment=jitter)
        losses.append(float(totals.loss[0]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_each_image_is_augmented_by_a_draw_of_its_own(key):
    seen = []

    def augment(key, images, step):
        jax.debug.callback(lambda draw: seen.append(float(draw)), jax.random.uniform(key))
        return prepare(images)

    state, train_step, _ = training(augment=augment)
    jax.block_until_ready(jax.jit(train_step)(state, BATCH, key))
    jax.effects_barrier()
    assert len(set(seen)) == 8


@pytest.mark.parametrize(
    ("grads", "loss", "expected"),
    [
        ({"a": [1.0, 2.0], "b": [0.0]}, 1.0, (-1, -1, 0)),
        ({"a": [1.0, 2.0], "b": [np.inf]}, 1.0, (7, 1, 1)),
        ({"a": [np.nan, 2.0], "b": [np.nan]}, 1.0, (7, 0, 2)),
        ({"a": [1.0, 2.0], "b": [0.0]}, np.nan, (7, -1, 0)),
    ],
)
def test_a_fault_says_the_step_and_where(grads, loss, expected):
    grads = jax.tree.map(jnp.asarray, grads, is_leaf=lambda leaf: isinstance(leaf, list))
    fault = Fault.find(jnp.asarray(7), jnp.asarray(loss), grads)
    assert tuple(map(int, fault)) == expected


def test_totals_keep_the_first_fault():
    well, first, second = (
        dataclasses.replace(Totals.zero(), fault=Fault(*map(jnp.int32, fault)))
        for fault in ((-1, -1, 0), (3, 1, 2), (4, 0, 1))
    )
    assert tuple(map(int, (well + first + second).fault)) == (3, 1, 2)
    assert tuple(map(int, (well + well).fault)) == (-1, -1, 0)


def test_eval_step_leaves_masked_examples_out():
    state, _, apply = training()
    eval_step = make_eval_step(apply, prepare=prepare)
    mask = jnp.array([True, True, False, True, False, False, True, True])
    totals, logits = eval_step(state.weights("final"), BATCH, mask)
    kept = Batch(BATCH.images[mask], BATCH.labels[mask])
    expected, kept_logits = eval_step(state.weights("final"), kept, jnp.ones(5, bool))
    assert int(totals.examples) == 5
    assert int(totals.correct) == int(expected.correct)
    np.testing.assert_allclose(totals.loss, expected.loss, rtol=1e-5)
    np.testing.assert_allclose(logits[mask], kept_logits, rtol=1e-5, atol=1e-6)


def test_totals_add_up():
    total = Totals(jnp.float32(3), jnp.int32(1), jnp.int32(2), Fault.none()) + Totals(
        jnp.float32(1), jnp.int32(2), jnp.int32(2), Fault.none()
    )
    assert total.means() == {"loss": 1.0, "accuracy": 0.75}


def test_no_parts_are_refused():
    with pytest.raises(ValueError, match="accumulate must be at least 1, got 0"):
        make_train_step(linear, optax.sgd(0.1), augment=plain, accumulate=0)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"ema_decay must be in \[0, 1\), received"):
        make_train_step(None, optax.sgd(0.1), augment=plain, ema_decay=decay)


def test_the_last_steps_can_do_without_augmentation(key):
    """Random images in the first two steps, the same ones in the third, whatever the key."""
    state, train_step, _ = training(prepare=prepare, augmented_steps=2)
    for step, same in ((0, False), (1, False), (2, True)):
        at = dataclasses.replace(state, step=jnp.asarray(step, jnp.int32))
        losses = [float(train_step(at, BATCH, one)[1].loss) for one in jax.random.split(key)]
        assert (losses[0] == losses[1]) is same

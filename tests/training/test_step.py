"""One step of training and of evaluation, against the same step written out."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax.training import (
    Batch,
    Classification,
    Fault,
    Totals,
    TrainOptions,
    create_state,
    cross_entropy,
    draw_shares,
    early_decay,
    make_eval_step,
    make_train_step,
    swap_pairs,
)
from tests.training.network import (
    CLASSES,
    assert_close_trees,
    assert_equal_trees,
    jitter,
    labelled_images,
    plain,
    prepare,
    training,
)

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

RATE = 0.5
TASK = Classification()
BATCH = labelled_images(8)


@pytest.fixture(scope="module")
def adam_step():
    """A state, its compiled step with default options, and the network."""
    state, train_step, apply = training()
    return state, jax.jit(train_step), apply


def test_a_step_of_gradient_descent_follows_the_gradient_of_the_mean_loss(key):
    state, train_step, apply = training(optimizer=optax.sgd(RATE), augment=plain, ema_decay=0.0)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        logits, _ = apply(params, state.batch_stats, prepare(BATCH.inputs), train=True)
        return cross_entropy(logits, BATCH.targets).mean()

    new_state, totals = jax.jit(train_step)(state, BATCH, key)
    value, grads = loss(state.params)
    assert_close_trees(
        new_state.params, jax.tree.map(lambda p, g: p - RATE * g, state.params, grads)
    )
    assert int(new_state.step) == 1
    assert totals.means(TASK)["loss"] == pytest.approx(float(value), rel=1e-5)
    assert int(totals.examples) == 8
    assert_equal_trees(new_state.ema, new_state.weights("final"))  # without decay


def test_the_average_is_the_weighted_mean_of_all_steps(adam_step, key):
    """Of step i with weight i (i + 1) ... (i + 8) at first: polynomial-decay averaging."""
    state, train_step, _ = adam_step
    seen = []
    for number in range(1, 4):
        state, _ = train_step(state, BATCH, jax.random.fold_in(key, number))
        seen.append(state.weights("final"))
        shares = np.array([math.comb(step + 8, 9) for step in range(1, number + 1)], float)
        shares /= shares.sum()
        expected = jax.tree.map(lambda *leaves: sum(map(np.multiply, shares, leaves)), *seen)  # noqa: B023
        assert_close_trees(state.weights("ema"), expected)
    assert (seen[0].batch_stats["norm"]["mean"] != seen[1].batch_stats["norm"]["mean"]).any()


@pytest.mark.parametrize("updates", [90, 1000])
def test_later_a_moving_average_keeps_its_decay(updates):
    np.testing.assert_array_equal(early_decay(0.9, updates), np.float32(0.9))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_running_statistics_are_the_weighted_mean_of_those_of_all_batches(key, accumulate):
    """Weighted like the average of the weights; of accumulated parts, each is a batch."""
    state, train_step, apply = training(augment=plain, accumulate=accumulate)
    state = dataclasses.replace(state, batch_stats=jax.tree.map(lambda x: x + 7, state.batch_stats))
    own = jax.jit(functools.partial(apply, train=True, updates=0))
    step, seen = jax.jit(train_step), []
    for number in range(3):
        batch = labelled_images(8, seed=number)
        for part in range(accumulate):
            images = prepare(batch.inputs[part::accumulate])
            seen.append(own(state.params, state.batch_stats, images)[1])
        state, _ = step(state, batch, key)
        shares = np.array([math.comb(place + 8, 9) for place in range(1, len(seen) + 1)], float)
        shares /= shares.sum()
        expected = jax.tree.map(lambda *leaves: sum(map(np.multiply, shares, leaves)), *seen)  # noqa: B023
        assert_close_trees(state.batch_stats, expected)


def test_weights_are_final_or_ema(adam_step):
    state = adam_step[0]
    assert state.weights("final").params is state.params
    assert state.weights("ema") is state.ema
    with pytest.raises(ValueError, match='must be "final" or "ema", got \'best\''):
        state.weights("best")


def test_keys_of_steps_and_epochs_all_differ_and_derive_from_the_counters(adam_step):
    state = adam_step[0]
    later = dataclasses.replace(state, step=jnp.int32(1))
    keys = [state.step_key(), later.step_key(), state.order_key(0), state.order_key(1)]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 4
    assert later.order_key(1) == state.order_key(1)


def test_create_state_copies_the_arrays():
    params = {"kernel": jnp.ones(3)}
    state = create_state(jax.random.key(0), params, {}, optax.sgd(0.1, momentum=0.9))
    jax.jit(lambda state: jax.tree.map(lambda leaf: leaf, state), donate_argnums=0)(state)
    assert params["kernel"].tolist() == [1, 1, 1]


def test_a_step_is_pure_and_uses_its_key(adam_step, key):
    state, train_step, _ = adam_step
    once, again = train_step(state, BATCH, key)[1], train_step(state, BATCH, key)[1]
    other = train_step(state, BATCH, jax.random.key(1))[1]
    assert float(once.loss) == float(again.loss) != float(other.loss)


def test_parts_of_a_batch_and_a_loss_scale_leave_the_gradient_unchanged(key):
    """Without batch normalisation, which would see a part."""
    states, totals = [], []
    for options in ({}, {"accumulate": 4, "loss_scale": 1024.0}):
        state, step, _ = training(normalise=False, optimizer=optax.sgd(0.1), **options)
        state, total = jax.jit(step)(state, BATCH, key)
        states.append(state)
        totals.append(dataclasses.replace(total, loss=jnp.round(total.loss, 4)))
    assert_close_trees(states[1].params, states[0].params)
    assert_equal_trees(totals[1], totals[0])


def linear(params, batch_stats, images, *, train, key=None, updates=None):
    return images.reshape(images.shape[0], -1) @ params["kernel"], batch_stats


def over_devices(devices, key):
    """One step of a linear network with the batch split over a mapped axis."""
    optimizer = optax.sgd(RATE)
    params = {"kernel": jnp.linspace(-1, 1, 64 * CLASSES).reshape(64, CLASSES)}
    state = create_state(key, params, {}, optimizer)
    step = make_train_step(linear, optimizer, augment=jitter, axis_name="devices")
    parts = jax.tree.map(lambda array: array.reshape(devices, -1, *array.shape[1:]), BATCH)
    mapped = jax.vmap(lambda batch: step(state, batch, key), axis_name="devices")
    return jax.jit(mapped)(parts)


def test_over_a_device_axis_a_step_is_that_of_the_whole_batch(key):
    """Also in what each image draws."""
    (whole, total), (split, totals) = (over_devices(devices, key) for devices in (1, 2))
    kernel = split.params["kernel"]
    np.testing.assert_array_equal(kernel[0], kernel[1])
    np.testing.assert_allclose(kernel[0], whole.params["kernel"][0], rtol=1e-5, atol=1e-6)
    assert totals.counts["correct"].tolist() == total.counts["correct"].tolist() * 2
    assert totals.examples.tolist() == [8, 8]
    assert float(totals.loss[0]) == pytest.approx(float(total.loss[0]), rel=1e-5)


def test_each_image_is_augmented_by_a_draw_of_its_own(key):
    seen = []

    def augment(key, batch, step):
        jax.debug.callback(lambda draw: seen.append(float(draw)), jax.random.uniform(key))
        return plain(key, batch, step)

    state, train_step, _ = training(augment=augment)
    jax.block_until_ready(jax.jit(train_step)(state, BATCH, key))
    jax.effects_barrier()
    assert len(set(seen)) == 8


def test_mixup_descends_on_both_labels_and_smoothing_on_all(key):
    state, train_step, apply = training(
        optimizer=optax.sgd(RATE),
        augment=plain,
        mixup=1.0,
        normalise=False,
        task=Classification(label_smoothing=0.2),
    )
    images_key, _ = jax.random.split(key)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(images_key, jnp.arange(8))
    shares = draw_shares(keys, alpha=1.0)
    images, labels = prepare(BATCH.inputs), np.asarray(BATCH.targets)
    others = labels.reshape(-1, 2)[:, ::-1].ravel()

    @jax.jit
    @jax.grad
    def grads(params):
        part = shares[:, None, None, None]
        mixed = part * images + (1 - part) * swap_pairs(images)
        logits, _ = apply(params, state.batch_stats, mixed, train=True)
        log = jax.nn.log_softmax(logits)
        each = [
            -0.8 * log[jnp.arange(8), these] - 0.2 * log.mean(axis=-1) for these in (labels, others)
        ]
        return (shares * each[0] + (1 - shares) * each[1]).mean()

    new_state, _ = jax.jit(train_step)(state, BATCH, key)
    expected = jax.tree.map(lambda p, g: p - RATE * g, state.params, grads(state.params))
    assert_close_trees(new_state.params, expected)


def test_the_last_steps_neither_augment_nor_blend(key):
    """Random images in the first two steps, the prepared ones in the third, whatever the key."""
    state, train_step, _ = training(prepare=prepare, augmented_steps=2, mixup=1.0)
    train_step = jax.jit(train_step)
    for step, same in ((1, False), (2, True)):
        at = dataclasses.replace(state, step=jnp.asarray(step, jnp.int32))
        losses = [float(train_step(at, BATCH, one)[1].loss) for one in jax.random.split(key)]
        assert (losses[0] == losses[1]) is same


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


def test_totals_add_up_and_keep_the_first_fault():
    first, second = (Fault(*map(jnp.int32, fault)) for fault in ((3, 1, 2), (4, 0, 1)))
    one = Totals(jnp.float32(3), {"correct": jnp.int32(1)}, jnp.int32(2), first)
    other = Totals(jnp.float32(1), {"correct": jnp.int32(2)}, jnp.int32(2), second)
    assert (one + other).means(TASK) == {"loss": 1.0, "accuracy": 0.75}
    assert tuple(map(int, (Totals.zero(TASK) + one + other).fault)) == (3, 1, 2)
    assert tuple(map(int, (Totals.zero(TASK) + Totals.zero(TASK)).fault)) == (-1, -1, 0)


def test_eval_step_leaves_masked_examples_out(adam_step):
    state, _, apply = adam_step
    eval_step = jax.jit(make_eval_step(apply, prepare=prepare))
    mask = jnp.array([True, True, False, True, False, False, True, True])
    totals, logits = eval_step(state.weights("final"), BATCH, mask)
    expected = cross_entropy(logits[mask], BATCH.targets[mask])
    assert int(totals.examples) == 5
    assert int(totals.counts["correct"]) == int((logits.argmax(-1) == BATCH.targets)[mask].sum())
    np.testing.assert_allclose(totals.loss, expected.sum(), rtol=1e-5)
    kept = Batch(BATCH.inputs[mask], BATCH.targets[mask])
    unmasked, _ = apply(*state.weights("final"), prepare(kept.inputs), train=False)
    np.testing.assert_allclose(logits[mask], unmasked, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"ema_decay": -0.1}, r"ema_decay must be in \[0, 1\), got"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\), got"),
        ({"mixup": -1.0}, "mixup must be 0 or more, got"),
        ({"augmented_steps": -1}, "augmented_steps must be at least 0, got"),
        ({"loss_scale": 0.0}, "loss_scale must be positive, got"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainOptions(**options)

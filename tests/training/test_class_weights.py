"""Weights of classes in the loss: whole batches, parts of them, several devices, mixup."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax.training import (
    Classification,
    TrainOptions,
    balanced_class_weights,
    create_state,
    cross_entropy,
    draw_shares,
    make_train_step,
    swap_pairs,
)
from tests.training.network import CLASSES, assert_close_trees, labelled_images, plain, prepare

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

WEIGHTS = (0.25, 3.0, 1.0)
BATCH = labelled_images(8, seed=1)
OPTIMIZER = optax.sgd(0.5)
PARAMS = {"kernel": jnp.linspace(-1, 1, 64 * CLASSES).reshape(64, CLASSES)}


def linear(params, batch_stats, images, **_):
    return images.reshape(images.shape[0], -1) @ params["kernel"], batch_stats


def after_a_step(devices=1, **options):
    """The parameters after one step, and its totals, with the batch split over devices."""
    state = create_state(jax.random.key(0), PARAMS, {}, OPTIMIZER)
    step = make_train_step(
        linear,
        OPTIMIZER,
        task=Classification(class_weights=WEIGHTS),
        augment=plain,
        options=TrainOptions(**options),
        axis_name="devices",
    )
    parts = jax.tree.map(lambda array: array.reshape(devices, -1, *array.shape[1:]), BATCH)
    mapped = jax.vmap(lambda batch: step(state, batch, jax.random.key(0)), axis_name="devices")
    state, totals = jax.jit(mapped)(parts)
    return state.params["kernel"][0], float(totals.loss[0])


def weighted_loss(params, batch=BATCH):
    """The mean loss of a batch, written out."""
    losses = cross_entropy(linear(params, {}, prepare(batch.inputs), train=True)[0], batch.targets)
    return (jnp.asarray(WEIGHTS)[batch.targets] * losses).sum() / len(batch.targets)


def test_a_step_follows_the_gradient_of_the_weighted_mean():
    kernel, loss = after_a_step()
    value, grads = jax.value_and_grad(weighted_loss)(PARAMS)
    assert_close_trees(kernel, PARAMS["kernel"] - 0.5 * grads["kernel"])
    assert loss == pytest.approx(8 * float(value), rel=1e-5)
    assert len(set(np.bincount(BATCH.targets).tolist())) > 1  # the classes are not of one size


@pytest.mark.parametrize(
    "way", [{"accumulate": 4}, {"devices": 2}, {"devices": 2, "accumulate": 2}]
)
def test_parts_of_a_batch_and_devices_give_the_same_step(way):
    """Each part has other classes, so the sums of their weights differ."""
    (kernel, loss), (whole, total) = after_a_step(**way), after_a_step()
    assert_close_trees(kernel, whole)
    assert loss == pytest.approx(total, rel=1e-5)


def test_mixup_weighs_each_label_of_a_blend():
    kernel, _ = after_a_step(mixup=1.0)
    images_key, _ = jax.random.split(jax.random.key(0))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(images_key, jnp.arange(8))
    shares, images = draw_shares(keys, alpha=1.0), prepare(BATCH.inputs)

    def loss(params):
        part = shares[:, None, None, None]
        logits, _ = linear(params, {}, part * images + (1 - part) * swap_pairs(images), train=True)
        each = [
            jnp.asarray(WEIGHTS)[labels] * cross_entropy(logits, labels)
            for labels in (BATCH.targets, swap_pairs(BATCH.targets))
        ]
        return (shares * each[0] + (1 - shares) * each[1]).mean()

    assert_close_trees(kernel, PARAMS["kernel"] - 0.5 * jax.grad(loss)(PARAMS)["kernel"])


def test_balanced_weights_give_each_class_the_same_share():
    labels = np.repeat([0, 1, 3], [70, 20, 10])
    weights = balanced_class_weights(labels, classes=4)
    shares = np.bincount(labels, np.asarray(weights)[labels])
    np.testing.assert_allclose(shares, [100 / 3, 100 / 3, 0, 100 / 3])


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1, 2], 2, "labels must be at least one integer in .0, classes=2"),
        ([-1, 1], 2, "labels must be at least one integer"),
        ([], 2, "labels must be"),
        ([0.0, 1.0], 2, "labels must be integers"),
        ([0, 1], 0, "classes must be at least 1"),
    ],
)
def test_weights_need_labels(labels, classes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        balanced_class_weights(np.array(labels), classes=classes)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0, -1.0, 1.0), "class_weights must be 0 or more, got -1"),
        ((1.0, float("nan"), 1.0), "each of class_weights must be finite"),
        (2.0, "class_weights must be a sequence of numbers, got 2.0"),
        ("balanced", "class_weights must be a sequence of numbers, got 'balanced'"),
    ],
)
def test_impossible_weights_are_refused(weights, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Classification(class_weights=weights)


def test_weights_of_another_number_of_classes_are_refused():
    task = Classification(class_weights=(1.0, 2.0))
    step = make_train_step(linear, OPTIMIZER, task=task, augment=plain)
    state = create_state(jax.random.key(0), PARAMS, {}, OPTIMIZER)
    with pytest.raises(ValueError, match=r"an entry for each of the 3 classes .*, got 2"):
        jax.eval_shape(step, state, BATCH, jax.random.key(0))

"""Tasks: their losses and metrics against references, and every way to train with each of them."""

import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from rich.console import Console

from dilax.models._super_resolution import pixel_shuffle
from dilax.training import (
    Batch,
    Checkpoints,
    Classification,
    Jit,
    Plan,
    Pmap,
    ResidentLoader,
    Restoration,
    Segmentation,
    StreamingLoader,
    Tagging,
    TagScores,
    Totals,
    create_state,
    fit,
    functional,
    intersection_over_union,
    luma,
    make_eval_step,
    make_evaluate,
    make_train_step,
    make_train_steps,
    psnr,
    ssim,
    unreplicate,
)
from tests.training.network import assert_equal_trees, labelled_images, plain, prepare

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

SEGMENTATION = Segmentation(classes=3, void=255)
PLAN = Plan(num_examples=24, batch_size=8, epochs=3, max_chunks=3)


class Pixels(nnx.Module):
    """A class for each pixel, from its row."""

    def __init__(self, *, rngs):
        self.rows = nnx.Param(0.1 * jax.random.normal(rngs.params(), (8, 1, 3)))
        self.head = nnx.Linear(1, 3, rngs=rngs)

    def __call__(self, images):
        return self.head(images) + self.rows[...][None]


class Whole(nnx.Module):
    """A class for each image."""

    def __init__(self, *, rngs):
        self.head = nnx.Linear(64, 3, rngs=rngs)

    def __call__(self, images):
        return self.head(images.reshape(images.shape[0], -1))


class Larger(nnx.Module):
    """Images of twice the size."""

    def __init__(self, *, rngs):
        self.head = nnx.Linear(1, 4, rngs=rngs)

    def __call__(self, images):
        return pixel_shuffle(self.head(images), 2)


def shrunk_images(count):
    """Images, and larger ones with twice their contrast."""
    images, _ = labelled_images(count)
    larger = np.asarray(images).repeat(2, axis=1).repeat(2, axis=2) // 2
    return Batch(images, jnp.asarray(larger))


def labelled_pixels(count):
    """Images whose bright row belongs to class 1 or 2; the last column has no label."""
    images, labels = labelled_images(count)
    masks = np.zeros((count, 8, 8), np.uint8)
    rows, values = 2 * np.asarray(labels) + 1, 1 + np.asarray(labels) % 2
    masks[np.arange(count), rows] = values[:, None]
    masks[:, :, -1] = 255
    return Batch(images, jnp.asarray(masks))


class Rows(nnx.Module):
    """A label for each row of an image, as a chain."""

    def __init__(self, *, rngs):
        self.transitions = nnx.Param(0.1 * jax.random.normal(rngs.params(), (3, 3)))
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, images):
        scores = self.head(images[..., 0])
        transitions = jnp.broadcast_to(self.transitions[...], (len(images), 3, 3))
        return TagScores(scores, transitions, jnp.ones(scores.shape[:2], bool))


def labelled_rows(count):
    """Images whose bright row has a label of its own; in some, the last rows have none."""
    images, labels = labelled_images(count)
    rows = np.zeros((count, 8), np.int32)
    rows[np.arange(count), 2 * np.asarray(labels) + 1] = 1 + np.asarray(labels) % 2
    rows[::3, 6:] = -1
    return Batch(images, jnp.asarray(rows))


KINDS = {
    "classification": (Classification(), Whole, labelled_images),
    "segmentation": (SEGMENTATION, Pixels, labelled_pixels),
    "tagging": (Tagging(classes=3), Rows, labelled_rows),
    "restoration": (Restoration(border=2), Larger, shrunk_images),
}
each_task = pytest.mark.parametrize("kind", KINDS)


def parts_of(kind, parallelism):
    """A fresh state, and the compiled steps of a task."""
    task, make, examples = KINDS[kind]
    apply, params, batch_stats = functional(make(rngs=nnx.Rngs(0)))
    optimizer = optax.adam(1e-2)
    state = create_state(jax.random.key(0), params, batch_stats, optimizer)
    step = make_train_step(
        apply, optimizer, task=task, augment=plain, axis_name=parallelism.axis_name
    )
    steps = parallelism.wrap(make_train_steps(step))
    return state, steps, jax.tree.map(np.asarray, examples(24)), apply


def train(folder, kind, *, parallelism=None, loader=ResidentLoader, plan=PLAN, validate=None):
    parallelism = parallelism or Jit(jax.devices()[:1])
    state, steps, examples, _ = parts_of(kind, parallelism)
    folder.mkdir(exist_ok=True)
    return fit(
        state,
        loader(examples, parallelism),
        train_steps=steps,
        task=KINDS[kind][0],
        parallelism=parallelism,
        plan=plan,
        folder=folder,
        config={},
        learning_rate=optax.constant_schedule(1e-2),
        validate=validate,
        read_best=validate is not None,
        console=Console(file=io.StringIO()),
    )


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind, marks=() if kind in ("classification", "segmentation") else pytest.mark.long
        )
        for kind in KINDS
    ],
)
def test_every_way_to_train_gives_the_same_run(tmp_path, kind):
    one = train(tmp_path / "one", kind)
    two = jax.devices()[:2]
    ways = {
        "streamed": {"loader": StreamingLoader},
        "jit": {"parallelism": Jit(two)},
        "pmap": {"parallelism": Pmap(two), "loader": StreamingLoader},
    }
    for name, way in ways.items():
        other = train(tmp_path / name, kind, **way)
        for mine, its in zip(one.history, other.history, strict=True):
            for metric in (key for key in mine if key.startswith("train_")):
                assert its[metric] == pytest.approx(mine[metric], rel=1e-5), (name, metric)
        for a, b in zip(*(jax.tree.leaves(run.state.params) for run in (one, other)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@each_task
def test_a_run_that_goes_on_is_the_uninterrupted_one(tmp_path, kind):
    whole = train(tmp_path / "whole", kind)
    folder = tmp_path / "parts"
    train(folder, kind, plan=dataclasses.replace(PLAN, epochs=1))
    resumed = train(folder, kind)
    assert_equal_trees(resumed.state, whole.state)
    score = f"train_{KINDS[kind][0].score}"
    assert [line[score] for line in resumed.history] == [line[score] for line in whole.history]


@each_task
def test_the_best_epoch_is_that_of_the_highest_score(tmp_path, kind):
    task = KINDS[kind][0]
    scores = iter([0.5, 0.75, 0.25])
    fitted = train(tmp_path, kind, validate=lambda state: {"loss": 1.0, task.score: next(scores)})
    assert int(fitted.best.step) == 6
    with Checkpoints(tmp_path / "checkpoints", config={}) as checkpoints:
        assert checkpoints.restore(None).notes["score"] == task.score
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line[f"validation_{task.score}"] for line in lines] == [0.5, 0.75, 0.25]


@each_task
@pytest.mark.parametrize("batch_size", [5, 100])
def test_an_evaluation_is_that_of_all_examples_at_once(kind, batch_size):
    task, _, _ = KINDS[kind]
    state, _, examples, apply = parts_of(kind, Jit(jax.devices()[:1]))
    step = make_eval_step(apply, task=task, prepare=prepare)
    evaluate = jax.jit(make_evaluate(step, task=task, batch_size=batch_size))
    totals, decoded = evaluate(state.weights("final"), examples)
    outputs, _ = apply(*state.weights("final"), prepare(examples.inputs), train=False)
    losses = task.losses(outputs, examples.targets)
    expected = Totals.of(task, losses, outputs, examples.targets)
    assert totals.means(task) == pytest.approx(expected.means(task), rel=1e-5)
    np.testing.assert_allclose(decoded, task.decode(outputs), rtol=1e-5, atol=1e-6)
    assert int(totals.examples) == 24


def reference(logits, labels, classes, void):
    """Loss of each image, mean intersection over union and accuracy, pixel by pixel."""
    confusion, losses = np.zeros((classes, classes)), []
    for image, mask in zip(np.asarray(logits, np.float64), labels, strict=True):
        found = []
        for row, column in np.argwhere(mask != void):
            z, label = image[row, column], mask[row, column]
            found.append(np.log(np.exp(z).sum()) - z[label])
            confusion[label, z.argmax()] += 1
        losses.append(np.mean(found) if found else 0)
    each = []
    for c in range(classes):
        union = confusion[c].sum() + confusion[:, c].sum() - confusion[c, c]
        each += [confusion[c, c] / union] if union else []
    return losses, np.mean(each), np.trace(confusion) / confusion.sum()


def some_pixels():
    random = np.random.default_rng(0)
    logits = random.normal(size=(4, 5, 6, 4)).astype(np.float32)
    labels = random.integers(0, 3, (4, 5, 6))  # nothing belongs to class 3
    labels[random.random(labels.shape) < 0.2] = 255
    labels[3] = 255
    return jnp.asarray(logits), labels.astype(np.uint8)


def test_segmentation_is_judged_as_pixel_by_pixel():
    logits, labels = some_pixels()
    task = Segmentation(classes=4, void=255)
    losses = task.losses(logits, jnp.asarray(labels))
    totals = Totals.of(task, losses, logits, jnp.asarray(labels))
    each, mean_iou, accuracy = reference(logits, labels, 4, 255)
    np.testing.assert_allclose(losses, each, rtol=1e-5)
    means = totals.means(task)
    assert means["mean_iou"] == pytest.approx(mean_iou)
    assert means["pixel_accuracy"] == pytest.approx(accuracy)
    np.testing.assert_array_equal(task.decode(logits), logits.argmax(-1))


def test_pixels_without_a_label_have_no_gradient():
    logits, labels = some_pixels()
    task = Segmentation(classes=4, void=255)
    grads = jax.grad(lambda z: task.losses(z, jnp.asarray(labels)).sum())(logits)
    assert not np.asarray(grads)[labels == 255].any()
    assert np.isfinite(grads).all() and np.asarray(grads)[labels != 255].any(axis=-1).all()


def test_sums_over_parts_and_devices_are_those_of_the_whole():
    """With examples left out; over a mapped axis as over two batches."""
    logits, labels = some_pixels()
    task, mask = Segmentation(classes=4, void=255), jnp.array([True, False, True, True])

    def totals(logits, labels, mask):
        return Totals.of(task, task.losses(logits, labels), logits, labels, mask)

    whole = totals(logits, jnp.asarray(labels), mask)
    halves = [jnp.stack(jnp.split(jnp.asarray(each), 2)) for each in (logits, labels, mask)]
    summed = jax.vmap(lambda *parts: jax.lax.psum(totals(*parts), "devices"), axis_name="devices")(
        *halves
    )
    assert_equal_trees(unreplicate(jax.tree.map(lambda leaf: leaf[0], summed.counts)), whole.counts)
    added = totals(*(each[0] for each in halves)) + totals(*(each[1] for each in halves))
    assert_equal_trees(added.counts, whole.counts)
    assert int(whole.examples) == 3


def test_intersection_over_union_of_an_absent_class_is_no_number():
    found = intersection_over_union(np.diag([3, 0, 2]) + np.eye(3, k=2))
    np.testing.assert_allclose(found, [3 / 4, np.nan, 2 / 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "classes must be at least 2, got 1"),
        ({"classes": 257}, "classes must be at most 256, got 257"),
        ({"classes": 3, "void": 2}, "void must be no class, which are 0 to 2, got 2"),
        ({"classes": 3, "void": 0.5}, "void must be an integer"),
    ],
)
def test_an_impossible_segmentation_is_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Segmentation(**options)


# --- restoration ----------------------------------------------------------------------------------


def some_images(channels):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, 24, 30, channels)).astype(np.uint8)
    noisy = images + random.normal(0, 12, images.shape)
    return images, np.clip(noisy, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", [0, 2])
def test_restoration_is_measured_as_by_scikit_image(channels, border):
    color = pytest.importorskip("skimage.color")
    metrics = pytest.importorskip("skimage.metrics")
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    images, noisy = some_images(channels)
    for n, pair in enumerate(zip(images, noisy, strict=True)):
        if channels == 3:
            lumas = [color.rgb2ycbcr(each)[..., 0] / 255 for each in pair]
        else:
            lumas = [each[..., 0] / 255 for each in pair]
        np.testing.assert_allclose(luma(images)[n, ..., 0], lumas[0], atol=1e-6)
        inner = slice(border, -border or None)
        cut = [each[inner, inner] for each in lumas]
        expected = metrics.peak_signal_noise_ratio(*cut, data_range=1)
        assert psnr(images, noisy, border=border)[n] == pytest.approx(expected, abs=1e-3)
        expected = metrics.structural_similarity(*cut, data_range=1, **gaussian)
        assert ssim(images, noisy, border=border)[n] == pytest.approx(expected, abs=1e-4)


def test_a_restoration_is_judged_by_8_bits_and_at_most_100_decibels():
    images, noisy = some_images(3)
    task, outputs = Restoration(border=2), jnp.asarray(noisy / np.float32(255))
    losses = task.losses(outputs, jnp.asarray(images))
    expected = np.abs(noisy / 255 - images / 255).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    found = Totals.of(task, losses, outputs + 1e-4, jnp.asarray(images)).means(task)
    assert found["psnr"] == pytest.approx(float(psnr(noisy, images, border=2).mean()))
    np.testing.assert_array_equal(task.decode(outputs * 2 - 0.5).max(), 255)
    np.testing.assert_allclose(psnr(images, images), 100)
    np.testing.assert_allclose(ssim(images, images), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Restoration(border=-1), "border must be at least 0, got -1"),
        (lambda: psnr(np.ones((2, 8, 8, 3)), np.ones((2, 8, 9, 3))), "must have equal shapes"),
        (lambda: psnr(np.ones((8, 8, 3)), np.ones((8, 8, 3))), "images must have shape"),
        (lambda: luma(np.ones((1, 8, 8, 3), np.int32)), "images must be uint8, or floats"),
        (
            lambda: ssim(np.ones((1, 12, 12, 1)), np.ones((1, 12, 12, 1)), border=1),
            "border must leave at least 11 pixels along each axis, got 1",
        ),
    ],
)
def test_an_impossible_restoration_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

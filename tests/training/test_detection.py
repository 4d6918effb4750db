"""Detection: boxes, what is lost, what is found, and how it is counted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax.training import Boxes, Detection, Totals, box_iou, non_maximum_suppression

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

TASK = Detection(classes=3, stride=4, most=6)


def some_boxes(count, *, seed=0, size=40):
    random = np.random.default_rng(seed)
    corner = random.uniform(0, size - 10, (count, 2))
    return np.concatenate([corner, corner + random.uniform(4, 10, (count, 2))], axis=1)


def iou(a, b):
    """By counting cells of a fine grid."""
    grid = np.arange(0, 40, 0.1) + 0.05
    inside = [
        ((grid >= box[0]) & (grid < box[2]))[:, None] & ((grid >= box[1]) & (grid < box[3]))
        for box in (a, b)
    ]
    return (inside[0] & inside[1]).sum() / max((inside[0] | inside[1]).sum(), 1)


def test_iou_is_that_of_areas():
    boxes, others = some_boxes(4), some_boxes(5, seed=1)
    others[0] = boxes[0] + [1, 1, 2, 0]
    found = box_iou(boxes, others)
    for row, a in zip(np.asarray(found), boxes, strict=True):
        np.testing.assert_allclose(row, [iou(a, b) for b in others], atol=0.03)
    assert found[0, 0] > 0.3
    empty = jnp.zeros((1, 4))
    assert box_iou(empty, empty)[0, 0] == 0


def greedy(boxes, scores, labels, limit):
    kept = []
    for place in np.argsort(-scores, kind="stable"):
        alike = [other for other in kept if labels[other] == labels[place]]
        if all(float(box_iou(boxes[[place]], boxes[[o]])[0, 0]) < limit for o in alike):
            kept.append(place)
    return sorted(kept)


@pytest.mark.parametrize("limit", [0.2, 0.5])
def test_suppression_is_the_greedy_one(limit):
    random = np.random.default_rng(3)
    boxes = some_boxes(30, size=22).astype(np.float32)
    scores, labels = random.random(30).astype(np.float32), random.integers(0, 2, 30)
    kept = non_maximum_suppression(boxes, scores, labels, iou=limit)
    assert np.flatnonzero(kept).tolist() == greedy(boxes, scores, labels, limit)
    assert 2 < kept.sum() < 28


def perfect(truth, *, height=10, width=12):
    """Outputs that say exactly what is there."""
    heat = np.full((len(truth.labels), height, width, TASK.classes), -9.0, np.float32)
    size, offset = (np.zeros((len(truth.labels), height, width, 2), np.float32) for _ in range(2))
    for image, place in np.argwhere(truth.labels >= 0):
        box = truth.boxes[image, place] / TASK.stride
        centre = np.asarray(box[:2] + box[2:]) / 2
        row, column = np.floor(centre).astype(int)
        heat[image, row, column, truth.labels[image, place]] = 9.0
        size[image, row, column], offset[image, row, column] = (
            box[2:] - box[:2],
            centre - (row, column),
        )
    return {"heat": jnp.asarray(heat), "size": jnp.asarray(size), "offset": jnp.asarray(offset)}


def some_truth():
    """Two images of 40x48 pixels, the second with one object."""
    boxes = np.zeros((2, 4, 4), np.float32)
    labels = np.full((2, 4), -1, np.int32)
    boxes[0, :3] = [[2, 3, 14, 15], [20, 8, 33, 19], [5, 30, 12, 44]]
    labels[0, :3] = [0, 1, 1]
    boxes[1, 0], labels[1, 0] = [10, 10, 25, 31], 2
    return Boxes(boxes, labels)


def test_perfect_outputs_are_decoded_to_the_boxes():
    truth = some_truth()
    found = TASK.decode(perfect(truth))
    assert (found.scores > 0.5).sum(axis=1).tolist() == [3, 1]
    for image in range(2):
        count = int((truth.labels[image] >= 0).sum())
        order = np.lexsort(np.asarray(found.boxes[image, :count]).T)
        wanted = np.lexsort(truth.boxes[image, :count].T)
        np.testing.assert_allclose(
            found.boxes[image, :count][order], truth.boxes[image, :count][wanted], atol=1e-4
        )
        assert (found.labels[image, :count][order] == truth.labels[image, :count][wanted]).all()


def test_metrics_count_what_is_found_and_what_is_right():
    truth = some_truth()
    outputs = perfect(truth)
    totals = Totals.of(TASK, TASK.losses(outputs, truth), outputs, truth)
    assert totals.means(TASK)["f1"] == 1
    wrong = dict(outputs)
    wrong["heat"] = jnp.roll(outputs["heat"], 1, axis=-1)  # of another class
    counts = TASK.counts(wrong, truth)
    assert counts["found"].tolist() == [0, 0] and counts["detections"].tolist() == [3, 1]
    nothing = TASK.counts(outputs | {"heat": jnp.full_like(outputs["heat"], -9.0)}, truth)
    assert nothing["detections"].tolist() == [0, 0] and nothing["objects"].tolist() == [3, 1]
    sums = {"objects": 4, "found": 3, "detections": 6, "right": 3}
    found = TASK.metrics({name: np.asarray(value) for name, value in sums.items()}, 2)
    assert found == pytest.approx({"recall": 0.75, "precision": 0.5, "f1": 0.6})


def test_the_loss_falls_to_that_of_perfect_outputs():
    """By gradient descent on the outputs themselves, which then are decoded to the boxes."""
    truth = jax.tree.map(jnp.asarray, some_truth())
    outputs = jax.tree.map(lambda leaf: 0 * leaf - 2.0, perfect(truth))
    optimizer = optax.adam(0.3)

    @jax.jit
    def descend(outputs, state):
        loss, grads = jax.value_and_grad(lambda o: TASK.losses(o, truth).sum())(outputs)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(outputs, updates), state, loss

    state, losses = optimizer.init(outputs), []
    for _ in range(200):
        outputs, state, loss = descend(outputs, state)
        losses.append(float(loss))
    assert losses[-1] < 0.05 * losses[0]
    totals = Totals.of(TASK, TASK.losses(outputs, truth), outputs, truth)
    assert totals.means(TASK)["f1"] == 1


def test_an_image_without_objects_has_a_finite_loss_and_gradient():
    truth = Boxes(jnp.zeros((1, 4, 4)), jnp.full((1, 4), -1))
    outputs = {name: leaf[:1] for name, leaf in perfect(some_truth()).items()}
    loss, grads = jax.value_and_grad(lambda o: TASK.losses(o, truth).sum())(outputs)
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert not np.asarray(grads["size"]).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box_iou(np.zeros(4), np.zeros((1, 4))), r"boxes must have shape \(N, 4\), got"),
        (
            lambda: non_maximum_suppression(np.zeros((2, 4)), np.zeros(3), np.zeros(2)),
            r"scores and labels must have shape \(2,\)",
        ),
        (
            lambda: non_maximum_suppression(np.zeros((2, 4)), np.zeros(2), np.zeros(2), iou=0),
            "iou must be above 0 and up to 1, got 0",
        ),
        (lambda: Detection(classes=0, stride=4), "classes must be at least 1, got 0"),
        (lambda: Detection(classes=2, stride=0.5), "stride must be an integer"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()

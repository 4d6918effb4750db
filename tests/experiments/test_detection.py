"""The program that finds objects: a run, its folder, its pictures, and COCO's metric."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax import models
from dilax.training import Boxes, Detections
from tests.data.test_box_folders import write_coco
from tests.processes import ROOT

sys.path.insert(0, str(ROOT / "experiments"))
import detection
from common import boxes

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

QUICK = [
    *("--batch-size", "4", "--epochs", "1", "--test-canvases", "4", "--kernel-dilation", "2"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, module_compiles_quickly):
    """The folder of a run on a few canvases, with held-out ones."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    flags = [*QUICK, "--canvases", "24", "--validation", "8", "--output", str(folder)]
    assert detection.main(flags) == 0
    return folder


def test_a_run_leaves_a_folder_of_results(finished):
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("f1", "recall", "precision", "f1_final", "f1_ema"):
        assert 0 <= summary[f"test_{name}"] <= 1, name
    assert summary["parameters"] == 31_630 and len(summary["classes"]) == 10
    line = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert {"train_f1", "validation_recall", "validation_precision"} <= line.keys()
    for name in ("boxes.png", "learning_curves.png"):
        assert (finished / name).stat().st_size > 5_000


def test_a_finished_run_is_loaded_and_asked(finished, tmp_path):
    model = models.load(finished)
    assert isinstance(model, models.TrainedDetector)
    assert repr(model) == "TrainedDetector(centers_dsdc, 10 classes, 1 channels)"
    found = model.predict([np.zeros((40, 70), np.uint8), np.zeros((20, 20))], least_score=0.0)
    assert len(found.boxes) == 2 and found.boxes[0].shape[1] == 4
    assert (found.boxes[0] <= [40, 70, 40, 70]).all() and (found.boxes[0] >= 0).all()
    assert (np.diff(found.scores[0]) <= 0).all()
    for options in ({"least_score": 2}, {"most": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            model.predict(np.zeros((8, 8)), **options)
    models.save(model, tmp_path / "digits.safetensors")
    again = models.load(tmp_path / "digits.safetensors").predict(
        np.zeros((40, 70), np.uint8), least_score=0.0
    )
    np.testing.assert_array_equal(again.boxes[0], found.boxes[0])


@pytest.mark.long
def test_a_folder_of_pictures_is_learned(tmp_path):
    folder = write_coco(tmp_path / "own", 12)
    output = tmp_path / "run"
    flags = ["--dataset", str(folder), "--size", "16", "--flip", "--no-pictures", "--shift", "2"]
    assert detection.main([*flags, *QUICK, "--output", str(output)]) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert [one["name"] for one in summary["classes"]] == ["ape", "cat"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "nowhere"], "--dataset must be digits, or a folder with annotations.json"),
        (["--most", "0"], "--most must be at least 1, got 0"),
        (["--kernel-dilation", "0"], "--kernel-dilation must be positive integers"),
        (["--shift", "72"], "--shift must be 0 or more, and below 72"),
        (["--canvases", "8", "--validation", "8"], "--validation must leave training images"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, capsys, flags, message):
    output = tmp_path / "run"
    try:
        status = detection.main([*QUICK, *flags, "--output", str(output)])
    except SystemExit as stop:
        status = stop.code
    assert status == 2 and not output.exists()
    assert message in " ".join(capsys.readouterr().err.split())


# --- moving and judging ---------------------------------------------------------------------------


def bright_boxes(count=24, size=16):
    """Images with one bright box each, of random size, in which boxes have two places."""
    random = np.random.default_rng(0)
    images = np.zeros((count, size, size, 1), np.uint8)
    marks, labels = np.zeros((count, 2, 4), np.float32), np.full((count, 2), -1, np.int32)
    for place in range(count):
        top, left = random.integers(0, size - 6, 2)
        height, width = random.integers(3, 7, 2)
        images[place, top : top + height, left : left + width] = 200
        marks[place, 0] = top, left, top + height, left + width
        labels[place, 0] = place % 3
    return images, Boxes(jnp.asarray(marks), jnp.asarray(labels))


@pytest.mark.parametrize("move", ["shift", "flip"])
def test_images_and_boxes_move_together(move):
    images, marks = bright_boxes()
    key = jax.random.key(1)
    if move == "shift":
        moved, found = boxes.shift(key, jnp.asarray(images), marks, pixels=6)
    else:
        moved, found = boxes.flip(key, jnp.asarray(images) / 255, marks)
    kept = 0
    for image, box, label in zip(moved, found.boxes[:, 0], found.labels[:, 0], strict=True):
        rows, columns = np.nonzero(np.asarray(image[..., 0]) > 0.5)
        if label >= 0:
            bright = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            assert box.tolist() == bright
            kept += 1
        else:
            assert not box.any()
    assert kept > 12 and (move == "flip" or kept < 24)
    assert (np.asarray(found.labels[:, 1]) == -1).all() and not found.boxes[:, 1].any()


def test_cocos_metric_is_1_for_what_is_there_and_less_for_what_is_near():
    pytest.importorskip("pycocotools", reason="the extra detection is not installed")
    _, marks = bright_boxes()
    truth = Boxes(*map(np.asarray, marks))
    scores = np.where(truth.labels >= 0, 0.9, 0.0).astype(np.float32)
    exact = boxes.average_precision(truth, Detections(truth.boxes, scores, truth.labels), 3)
    assert exact == pytest.approx({"ap": 1.0, "ap50": 1.0})
    near = Detections(truth.boxes + np.float32([0, 0.6, 0, 0.6]), scores, truth.labels)
    found = boxes.average_precision(truth, near, 3)
    assert found["ap"] < 0.8 and found["ap50"] == pytest.approx(1.0)
    recall = [row["recall"] for row in boxes.by_class(truth, near, ("a", "b", "c"))]
    assert recall == [1, 1, 1]


def test_without_pycocotools_there_is_no_such_row(monkeypatch):
    monkeypatch.setattr(boxes.importlib.util, "find_spec", lambda name: None)
    _, marks = bright_boxes(2)
    assert boxes.average_precision(marks, None, 3) == {}

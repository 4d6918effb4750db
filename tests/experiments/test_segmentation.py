"""The program that finds the class of each pixel: a run, its folder, its pictures."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dilax import models
from tests.data.test_mask_folders import write_set
from tests.processes import ROOT

sys.path.insert(0, str(ROOT / "experiments"))
import predict
import segmentation
from common import segments

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

QUICK = [
    *("--batch-size", "4", "--epochs", "1", "--learning-rate", "1e-3", "--test-canvases", "4"),
    *("--kernel-dilation", "2"),
]


def status(arguments):
    """The exit status, also where tyro ends the program."""
    try:
        return segmentation.main(arguments)
    except SystemExit as stop:
        return stop.code


@pytest.fixture(scope="module")
def finished(tmp_path_factory, module_compiles_quickly):
    """The folder of a run on a few canvases, with held-out ones."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    flags = [*QUICK, "--canvases", "24", "--validation", "8", "--output", str(folder)]
    assert segmentation.main(flags) == 0
    return folder


def test_a_run_leaves_a_folder_of_results(finished):
    summary = json.loads((finished / "summary.json").read_text())
    metrics = ("mean_iou", "loss", "pixel_accuracy", "mean_iou_final", "mean_iou_ema")
    for name in (*metrics, "boundary_iou"):
        assert 0 <= summary[f"test_{name}"] < 5, name
    assert summary["parameters"] == 75_588 and summary["dataset"] == "digits"
    assert [one["name"] for one in summary["classes"]] == ["background", *"0123456789"]
    assert sum(one["images"] for one in summary["classes"][:1]) == 4  # of 4 canvases
    line = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert {"train_mean_iou", "validation_mean_iou", "validation_pixel_accuracy"} <= line.keys()
    for name in ("segments.png", "learning_curves.png"):
        assert (finished / name).stat().st_size > 5_000


def test_a_finished_run_is_loaded_and_asked(finished, tmp_path, capsys):
    model = models.load(finished)
    assert isinstance(model, models.TrainedSegmenter)
    assert model.class_names == ("background", *"0123456789")
    canvas = np.zeros((40, 70), np.uint8)
    assert model.predict(canvas).masks[0].shape == (40, 70)
    picture = tmp_path / "canvas.png"
    Image.fromarray(canvas).save(picture)
    masks, drawn, table = tmp_path / "masks", tmp_path / "drawn.png", tmp_path / "shares.csv"
    flags = ["--masks", str(masks), "--draw", str(drawn), "--csv", str(table)]
    assert predict.main([str(finished), str(picture), *flags]) == 0
    assert capsys.readouterr().out.startswith(f"{picture}  ")
    with Image.open(masks / "canvas.png") as mask:
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), model.predict(canvas).masks[0])
    assert drawn.stat().st_size > 2_000
    assert table.read_text().startswith("picture,class,background,0,1")


@pytest.mark.long
def test_a_resumed_run_is_finished(finished, capsys):
    before = (finished / "metrics.jsonl").read_text()
    assert segmentation.main(["--resume", "--output", str(finished)]) == 0
    assert (finished / "metrics.jsonl").read_text() == before


@pytest.mark.long
def test_a_folder_of_pictures_is_learned(tmp_path, capsys):
    folder = write_set(tmp_path / "own", 12)
    flags = ["--dataset", str(folder), "--size", "16", "--flip", "--no-pictures", "--shift", "2"]
    output = tmp_path / "run"
    assert segmentation.main([*flags, *QUICK, "--output", str(output)]) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert [one["name"] for one in summary["classes"]] == ["class 0", "class 1"]
    assert "20% held out as test (seed 0)" in summary["dataset_source"]
    assert models.load(output).preparation.image_shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "nowhere"], "--dataset must be digits, or a folder with images and masks"),
        (["--canvases", "0"], "--canvases must be at least 1, got 0"),
        (["--canvases", "12", "--validation", "12"], "--validation must leave training images"),
        (["--canvases", "12", "--evaluate", "best"], "--evaluate must be final or ema without"),
        (["--size", "30"], "--size must be at least 42, got 30"),
        (["--model", "mnist_dsdc", "--canvases", "24"], "in_features"),
        (["--shift", "72"], "--shift must be 0 or more, and below 72"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, capsys, flags, message):
    output = tmp_path / "run"
    assert status([*QUICK, *flags, "--output", str(output)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not output.exists()


# --- moving and judging ---------------------------------------------------------------------------


def test_images_and_masks_move_together():
    """What comes in from outside belongs to no class."""
    random = np.random.default_rng(0)
    masks = random.integers(0, 3, (16, 8, 8)).astype(np.uint8)
    images = (80 * masks + 10)[..., None].astype(np.uint8)
    moved, labels = segments.shift(jax.random.key(0), images, masks, pixels=3, void=255)
    assert labels.dtype == jnp.uint8 and (labels == 255).any()
    inside = labels != 255
    np.testing.assert_allclose(
        np.asarray(moved[..., 0])[inside], (80 * labels[inside] + 10) / 255, atol=1e-6
    )
    assert not np.asarray(moved[..., 0])[~inside].any()
    mirrored, turned = segments.flip(jax.random.key(0), jnp.asarray(images), jnp.asarray(masks))
    np.testing.assert_array_equal(mirrored[..., 0], 80 * turned + 10)
    same = (turned == masks).all(axis=(1, 2))
    assert same.any() and not same.all()


def test_a_boundary_lies_within_its_region():
    region = np.zeros((9, 9), bool)
    region[2:7, 2:7] = True
    found = segments.boundary(region, 1)
    assert found.sum() == 16 and not found[3:6, 3:6].any()
    assert segments.boundary(region, 2).sum() == 24


def test_boundary_iou_punishes_a_shift_more_than_iou():
    masks = np.zeros((1, 64, 64), np.uint8)
    masks[:, 16:48, 16:48] = 1
    assert segments.boundary_iou(masks, masks, classes=2) == 1
    shifted = np.roll(masks, 1, axis=2)
    boundary = segments.boundary_iou(masks, shifted, classes=2)
    counts = segments.confusion(masks, shifted, classes=2)
    whole = np.diag(counts)[1] / (counts[1].sum() + counts[0, 1])
    assert boundary < whole < 1
    void = masks.copy()
    void[shifted != masks] = 255
    assert segments.boundary_iou(void, shifted, classes=2) > boundary

"""The program that enlarges photographs: a run, its folder, its pictures."""

import importlib.util
import json
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from dilax import models
from dilax.training import psnr
from tests.processes import ROOT

sys.path.insert(0, str(ROOT / "experiments"))
import predict
import super_resolution
from common import photographs

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

QUICK = ["--patches", "16", "--batch-size", "4", "--epochs", "1", "--small-size", "12"]
SMALL = ["--features", "6", "--kernel-dilation", "1"]


def status(arguments):
    """The exit status, also where tyro ends the program."""
    try:
        return super_resolution.main(arguments)
    except SystemExit as stop:
        return stop.code


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of pictures of several sizes, two of which are for testing."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    sizes = {"train/a": (40, 50), "train/b": (64, 32), "test/c": (33, 45), "test/d": (30, 30)}
    for name, (width, height) in sizes.items():
        noise = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        noise.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pictures, module_compiles_quickly):
    """The folder of a run on a few patches, with a picture held out."""
    folder = tmp_path_factory.mktemp("runs") / "large"
    flags = ["--dataset", str(pictures), "--validation", "1", "--output", str(folder)]
    assert super_resolution.main([*QUICK, *SMALL, *flags]) == 0
    return folder


def test_a_run_leaves_a_folder_of_results(finished, pictures):
    summary = json.loads((finished / "summary.json").read_text())
    assert [one["name"] for one in summary["classes"]] == ["c", "d"]
    for name in ("psnr", "bicubic_psnr", "ssim", "bicubic_ssim"):
        mean = np.mean([one[name] for one in summary["classes"]])
        assert summary[f"test_{name}"] == pytest.approx(mean, rel=1e-5)
    with Image.open(pictures / "test" / "c.png") as image:
        whole = np.asarray(image)[:44, :32]
    plain = photographs.enlarge(photographs.shrink(whole, 2), 2)
    expected = psnr(plain[None], whole[None], border=2)[0]
    assert summary["classes"][0]["bicubic_psnr"] == pytest.approx(expected)
    line = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert {"train_psnr", "validation_psnr"} <= line.keys()
    for name in ("photographs.png", "learning_curves.png"):
        assert (finished / name).stat().st_size > 5_000


def test_a_finished_run_is_loaded_and_asked(finished, pictures, tmp_path, capsys):
    model = models.load(finished)
    assert isinstance(model, models.TrainedSuperResolver)
    picture = pictures / "test" / "d.png"
    with Image.open(picture) as image:
        small = np.asarray(image)
    found = model.predict(small).images[0]
    assert found.shape == (60, 60, 3)
    assert predict.main([str(finished), str(picture), "--images", str(tmp_path / "large")]) == 0
    assert capsys.readouterr().out.strip() == f"{picture}  60x60"
    with Image.open(tmp_path / "large" / "d.png") as image:
        np.testing.assert_array_equal(np.asarray(image), found)
    assert predict.main([str(finished), str(picture), "--masks", str(tmp_path / "masks")]) == 2
    assert "--masks must be left out" in capsys.readouterr().err


@pytest.mark.long
def test_a_resumed_run_is_finished(finished):
    before = (finished / "metrics.jsonl").read_text()
    assert super_resolution.main(["--resume", "--output", str(finished)]) == 0
    assert (finished / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "nowhere"], "--dataset must be photographs, or a folder of pictures"),
        (["--small-size", "7"], "--small-size must be at least 8, got 7"),
        (["--validation", "2"], "--validation must leave photographs to train on, got 2 of 2"),
        (["--evaluate", "best"], "--evaluate must be final or ema without held-out"),
        (["--small-size", "24"], "sides of all pictures, divided by 2, got 24 and, in a, 40x50"),
        (["--patches", "4"], "--patches must be at least 10, got 4"),
        (["--model", "unet_dsdc"], "scale"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, pictures, capsys, flags, message):
    output = tmp_path / "run"
    given = ["--dataset", str(pictures), *QUICK, *flags, "--output", str(output)]
    assert status(given) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not output.exists()


# --- photographs ----------------------------------------------------------------------------------


def test_photographs_for_training_and_testing_differ():
    pytest.importorskip("skimage")
    files = super_resolution.FILES
    assert not set(files["train"]) & set(files["test"])
    found = photographs.of_scikit_image(files)
    assert [*found.test] == ["astronaut", "chelsea", "coffee"]
    assert all(picture.shape[-1] == 3 for picture in found.train.values())


def test_without_scikit_image_the_command_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "dilax-jax\[photographs\]"'):
        photographs.of_scikit_image(super_resolution.FILES)


def test_a_folder_without_splits_is_split(pictures):
    found = photographs.of_folder(pictures / "train")
    assert len(found.train) == len(found.test) == 1 and "20% held out" in found.source


def test_patches_are_pairs_of_one_place():
    """A patch of the small photograph is what becomes of the large one, but for its edges."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    whole = photographs.pair_of(noise[:79, :89], 2)
    assert whole.inputs.shape == (1, 39, 44, 3) and whole.targets.shape == (1, 78, 88, 3)
    found = photographs.cut(np.random.default_rng(1), whole, 5, side=16, scale=2)
    assert found.inputs.shape == (5, 16, 16, 3) and found.targets.shape == (5, 32, 32, 3)
    for small, large in zip(*found, strict=True):
        again = photographs.shrink(large, 2)
        np.testing.assert_array_equal(again[2:-2, 2:-2], small[2:-2, 2:-2])


def test_small_and_large_patches_turn_together():
    large = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    small = large[:, ::2, ::2]  # of every second pixel: turned, of the first or the second one
    seen = set()
    for seed in range(30):
        one, other = photographs.turn(jax.random.key(seed), small, large)
        starts = [(row, column) for row in (0, 1) for column in (0, 1)]
        assert any((np.asarray(other)[:, r::2, c::2] == one).all() for r, c in starts)
        seen.add(np.asarray(other).tobytes())
    assert len(seen) == 8

"""The programs on a folder of the user's own pictures: trained, resumed, restored, refused."""

import json

import cifar_dsdc
import jax
import mnist_dsdc
import numpy as np
import pytest
from common.experiment import make_experiment
from common.program import read_flags
from PIL import Image

from dilax import models, training
from tests.data import files

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

COUNTS = {"train/cat": 40, "train/dog": 24, "test/cat": 8, "test/dog": 8, "validation/dog": 5}


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    return files.write_pictures(tmp_path_factory.mktemp("pictures") / "animals", COUNTS)


def flags(folder, output, *more):
    values = ["--model", "mnist_tutorial", "--epochs", "2", "--batch-size", "16", "--no-pictures"]
    return ["--dataset", str(folder), "--output", str(output), *values, *more]


def read(output, name="summary.json"):
    return json.loads((output / name).read_text())


def test_a_folder_is_trained_on_resumed_and_restored(animals, tmp_path, capsys):
    assert mnist_dsdc.main(flags(animals, tmp_path, "--evaluate", "best")) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all("validation_accuracy" in line for line in lines)
    summary = read(tmp_path)
    assert summary["dataset"] == "animals"
    assert summary["dataset_source"].endswith("to 28x28, grey, transparency on white")
    assert f"data of {summary['dataset_source']}" in capsys.readouterr().err

    resumed = ["--output", str(tmp_path), "--resume"]
    assert mnist_dsdc.main(resumed) == 0
    assert read(tmp_path)["test_accuracy"] == summary["test_accuracy"]
    found = models.load(tmp_path).predict(animals / "test")
    right = [
        path.parent.name == name for path, name in zip(found.paths, found.classes, strict=True)
    ]
    assert np.mean(right) == pytest.approx(summary["test_accuracy"])

    path = animals / "train/cat/0.png"
    original = path.read_bytes()
    try:
        Image.open(path).rotate(180).save(path)
        assert mnist_dsdc.main(resumed) == 2
    finally:
        path.write_bytes(original)
    assert "dataset_sha256 was " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "more", "shape"),
    [
        (mnist_dsdc, [], (28, 28, 1)),
        (mnist_dsdc, ["--size", "40"], (40, 40, 1)),
        (cifar_dsdc, [], (32, 32, 3)),
        (cifar_dsdc, ["--size", "17"], (17, 17, 3)),
    ],
)
def test_pictures_have_the_size_and_colours_of_the_program(animals, program, more, shape):
    config = read_flags(program.Config, ["--dataset", str(animals), *more])
    examples = program.JOB.read(config, None)
    assert examples.train.inputs.shape[1:] == shape


def test_held_out_images_are_the_split_or_the_flag(animals):
    for more, count in (([], 5), (["--validation", "10"], 10)):
        config = read_flags(mnist_dsdc.Config, flags(animals, "runs", *more))
        examples = mnist_dsdc.JOB.read(config, None)
        make_experiment(config, mnist_dsdc.JOB, examples, jax.devices())
        assert examples.held_out.size == count


def test_a_share_that_is_held_out_is_printed_and_recorded(tmp_path, capsys):
    folder = files.write_pictures(tmp_path / "own", {"cat": 20, "dog": 20})
    more = ["--epochs", "1", "--limit", "32"]
    assert mnist_dsdc.main(flags(folder, tmp_path / "run", *more)) == 0
    said = "20% of each class held out as test (seed 0)"
    assert said in capsys.readouterr().err and said in read(tmp_path / "run")["dataset_source"]


def test_classes_of_different_sizes_are_balanced_and_reported(tmp_path, capsys, monkeypatch):
    """Here with wide letters, and with a class of which nothing is tested."""
    make, given = training.make_train_step, []

    def spy(*arguments, task, **others):
        given.append(task.class_weights)
        return make(*arguments, task=task, **others)

    monkeypatch.setattr(training, "make_train_step", spy)
    counts = {"train/猫": 40, "train/dog": 10, "train/emu": 8, "test/猫": 9, "test/dog": 3}
    folder = files.write_pictures(tmp_path / "own", counts)
    more = ["--class-weights", "balanced", "--batch-size", "8"]
    assert mnist_dsdc.main(flags(folder, tmp_path / "run", *more)) == 0
    classes = {one["name"]: one for one in read(tmp_path / "run")["classes"]}
    assert [one["images"] for one in classes.values()] == [3, 0, 9]
    lines = capsys.readouterr().out.splitlines()[-3:]
    share = f"{classes['猫']['accuracy']:.2%}"
    assert lines[0] == "class          accuracy   images"
    assert lines[-1] == f"猫{' ' * 11}  {share:>8}        9"
    assert given == [(58 / 30, 58 / 24, 58 / 120)]  # of dog, emu and cat


def test_another_size_than_that_of_arrays_is_refused(digits, tmp_path, capsys):
    assert mnist_dsdc.main(flags(digits, tmp_path / "run", "--size", "32")) == 2
    message = "--size must be left out with --dataset digits, whose images are 28x28, got 32;"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_damaged_picture_ends_the_program_in_one_line(tmp_path, capsys):
    folder = files.write_pictures(tmp_path / "own", {"cat": 4, "dog": 4})
    (folder / "dog/2.png").write_bytes(b"damaged")
    assert mnist_dsdc.main(flags(folder, tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{folder}/dog/2.png cannot be read as a picture" in error
    assert not (tmp_path / "run").exists()

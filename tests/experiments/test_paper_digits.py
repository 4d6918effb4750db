"""Digits on paper: what is drawn, and a record of how well they are read."""

import json

import numpy as np
import paper_digits
import pytest

from dilax import data, models

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


@pytest.fixture
def digit():
    return data.load("mnist").splits["train"].images[0, ..., 0] / 255


@pytest.mark.parametrize("name", paper_digits.DRAWN)
def test_ink_and_paper_are_apart(digit, name):
    picture = paper_digits.DRAWN[name](digit, np.random.default_rng(0))
    assert picture.dtype == np.uint8 and picture.ndim == 2
    assert np.ptp(picture.astype(int)) > 90
    dark_paper = name in ("as in MNIST", "bright on dark")
    assert (np.median(picture) < 128) == dark_paper


def test_every_font_has_every_digit():
    pictures, labels = paper_digits.printed(np.random.default_rng(0))
    assert len(pictures) == len(labels) >= 100
    assert all(np.ptp(picture.astype(int)) == 255 for picture in pictures)


@pytest.mark.long
def test_a_record_has_both_accuracies_of_each_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paper_digits, "printed", lambda random: ([np.eye(28) * 255.0 > 9], [1]))
    digits = data.load("mnist").splits["train"].images[:200]
    description = models.Description(
        model="mnist_tutorial",
        class_names=tuple("0123456789"),
        preparation=models.Preparation.of_images(digits),
    )
    model = models.TrainedClassifier(description.create(), description)
    models.save(model, tmp_path / "network.safetensors")
    flags = ["--model", str(tmp_path / "network.safetensors"), "--digits", "3"]
    assert paper_digits.main([*flags, "--output", str(tmp_path / "record.json")]) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert [row["name"] for row in record["rows"]] == [*paper_digits.DRAWN, "printed in many fonts"]
    assert all(row["accuracy"].keys() == {"found", "resized"} for row in record["rows"])
    assert "| bright on dark |" in capsys.readouterr().out

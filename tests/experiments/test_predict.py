"""The program that says what pictures show."""

import csv

import numpy as np
import predict
import pytest
from PIL import Image

from dilax import models

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A file of a network, not trained, for pictures of 12x12 pixels."""
    preparation = models.Preparation(height=12, width=12, mean=(0.5,) * 3, std=(0.2,) * 3)
    description = models.Description(
        model="tiniest", class_names=("cat", "dog", "日本"), preparation=preparation
    )
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    models.save(models.TrainedClassifier(description.create(), description), path)
    return path


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_line_for_each_picture_a_table_and_a_drawing(network, pictures, tmp_path, capsys):
    table, drawing = tmp_path / "answers.csv", tmp_path / "answers.png"
    given = [str(network), str(pictures / "2.png"), str(pictures), "--top", "2"]
    assert predict.main([*given, "--csv", str(table), "--draw", str(drawing)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if ".png" in line]
    found = models.load(network).predict([pictures / "2.png", pictures])
    assert len(lines) == 4
    for line, path, answers in zip(lines, found.paths, found.top(2), strict=True):
        words = "  ".join(f"{name} {share:.1%}" for name, share in answers)
        assert line == f"{path}  {words}"
    rows = list(csv.reader(table.read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["picture", "class", "cat", "dog", "日本"]
    assert [row[1] for row in rows[1:]] == found.classes
    np.testing.assert_allclose(
        np.array(rows[1:])[:, 2:].astype(float), found.probabilities, atol=1e-6
    )
    with Image.open(drawing) as drawn:
        assert drawn.format == "PNG" and min(drawn.size) > 100


def test_a_corrupt_picture_is_named_and_the_status_says_so(network, pictures, capsys):
    (pictures / "1.png").write_text("text")
    assert predict.main([str(network), str(pictures)]) == 1
    out, err = capsys.readouterr()
    assert "0.png" in out and "2.png" in out and "1.png" not in out
    assert err.startswith("left out: ") and "1.png cannot be read as a picture" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere", "a.png"], "nowhere does not exist; give the folder of a trained run"),
        (["NETWORK", "nowhere.png"], "nowhere.png does not exist; give a picture"),
        (["NETWORK"], "give at least one picture"),
        (["NETWORK", "a.png", "--top", "0"], "--top must be at least 1, got 0"),
        (["NETWORK", "a.png", "--weights", "ema"], "weights must be left out for a file"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(network, flags, message, capsys):
    given = [str(network) if flag == "NETWORK" else flag for flag in flags]
    try:
        assert predict.main(given) == 2
    except SystemExit as stop:  # of tyro, for a wrong flag
        assert stop.code == 2
    assert message in " ".join(capsys.readouterr().err.split())

"""Pictures of several runs and of all records."""

import json

import compare
import pytest

from dilax.training import METRICS_FILE as METRICS


def make_run(folder, epochs=2):
    folder.mkdir(parents=True)
    lines = [
        {"epoch": n, "train_loss": 1 / n, "train_accuracy": 0.5, "validation_loss": 1.0}
        | {"validation_accuracy": 0.4}
        for n in range(1, epochs + 1)
    ]
    (folder / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def is_picture(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000


def test_curves_of_several_runs(tmp_path, capsys):
    runs = [make_run(tmp_path / name) for name in ("one", "other")]
    output = tmp_path / "curves.png"
    assert compare.main([*map(str, runs), "--output", str(output)]) == 0
    assert is_picture(output) and str(output) in capsys.readouterr().out


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = [make_run(tmp_path / folder / "seed_0") for folder in ("a", "b")]
    assert list(compare.histories(runs)) == [str(run) for run in runs]
    assert list(compare.histories(runs[:1])) == ["seed_0"]


def test_a_folder_without_an_epoch_is_one_clear_line(tmp_path, capsys):
    empty = make_run(tmp_path / "empty", epochs=0)
    for folder in (empty, tmp_path / "none"):
        assert compare.main([str(folder)]) == 2
        assert "must be the folder of a run, got no epoch" in capsys.readouterr().err


def test_the_records_are_drawn_beside_the_published_points(tmp_path):
    output = tmp_path / "points.png"
    assert compare.main(["--output", str(output)]) == 0
    assert is_picture(output)


def test_published_points_have_a_source_and_can_be_so():
    content = json.loads((compare.HERE / "published.json").read_text())
    for point in content["points"]:
        assert point["source"].count("/") == 1
        assert 0.8 < point["accuracy"] < 1 and 1e4 < point["parameters"] < 1e6
        assert point["multiply_adds"] is None or point["multiply_adds"] > point["parameters"]
    assert compare.published()[0].name == content["points"][0]["name"]


@pytest.mark.parametrize("name", ["keras_dilated"])
def test_records_are_found(name):
    assert any(point.name.startswith(name) for point in compare.recorded(compare.RESULTS))

"""Seconds an epoch: the record, and a network that is not there."""

import json

import epoch_speed
import numpy as np


def test_the_record_of_a_race(tmp_path, capsys, compile_quickly, monkeypatch, long):
    if not long:
        monkeypatch.setattr(epoch_speed, "training", lambda *_: lambda: None)
    output = tmp_path / "record.json"
    flags = "--dataset shapes --models keras_separable keras_dilated --batch-size 16"
    flags += " --rounds 2 --steps 2"
    assert epoch_speed.main([*flags.split(), "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    for row in record["seconds_an_epoch"].values():
        assert row["n"] == 2 and 0 < row["quartile_1"] <= row["median"] <= row["quartile_3"]
    assert record["ratio_to"] == "keras_separable"
    assert record["ratio"]["keras_separable"]["median"] == 1
    assert "| `keras_dilated` |" in capsys.readouterr().out


def test_an_epoch_is_of_all_images():
    config = epoch_speed.Config(models=("a", "b"), batch_size=100)
    times = {"a": np.array([1.0, 1.0]), "b": np.array([4.0, 2.0])}
    found = epoch_speed.in_seconds(config, times)
    assert found["seconds_an_epoch"]["a"]["median"] == 0.5
    assert found["ratio"]["b"]["median"] == 3


def test_an_unknown_network_is_one_clear_line(capsys):
    assert epoch_speed.main(["--dataset", "shapes", "--models", "magic"]) == 2
    error = capsys.readouterr().err
    assert "magic" in error and error.count("\n") == 1

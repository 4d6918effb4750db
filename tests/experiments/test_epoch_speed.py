"""The race of networks leaves a record; a network that is not there is one clear line."""

import json

import epoch_speed


def test_the_record_of_a_race(tmp_path, capsys, compile_quickly):
    output = tmp_path / "record.json"
    flags = "--dataset shapes --models keras_separable keras_dilated --batch-size 16"
    flags += " --rounds 2 --steps 2"
    assert epoch_speed.main([*flags.split(), "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    for row in record["seconds_an_epoch"].values():
        assert row["n"] == 2 and 0 < row["quartile_1"] <= row["median"] <= row["quartile_3"]
    assert record["ratio_to"] == "keras_separable"
    assert record["ratio"]["keras_separable"]["median"] == 1
    assert "s an epoch" in capsys.readouterr().out


def test_an_epoch_is_of_all_images(tmp_path):
    config = epoch_speed.Config(models=("a", "b"), batch_size=100)
    record = epoch_speed.make_record(
        config, {"a": [1.0, 1.0], "b": [4.0, 2.0]}, epoch_speed.jax.devices()[0]
    )
    assert record["seconds_an_epoch"]["a"]["median"] == 0.5
    assert record["ratio"]["b"]["median"] == 3


def test_an_unknown_network_is_one_clear_line(capsys):
    assert epoch_speed.main(["--dataset", "shapes", "--models", "magic"]) == 2
    assert "magic" in capsys.readouterr().err

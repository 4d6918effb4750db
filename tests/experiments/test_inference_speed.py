"""The benchmark of forward passes, with the smallest network of the registry."""

import functools
import json

import inference_speed
import pytest

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def test_the_race_leaves_a_record(monkeypatch, tmp_path, capsys):
    small = functools.partial(inference_speed.of_dilax, "mnist_dsdc")
    monkeypatch.setitem(inference_speed.NETWORKS, "mnist_small", small)
    monkeypatch.setattr(inference_speed, "MILLISECONDS", 0.0)
    output = tmp_path / "record.json"
    flags = ["--rounds", "2", "--cases", "mnist_small 2@12", "--output", str(output)]
    assert inference_speed.main(flags) == 0
    record = json.loads(output.read_text())
    (found,) = record["cases"].values()
    assert max(found["largest_relative_difference"]) < 1e-4
    for form in inference_speed.FORMS:
        assert found["milliseconds"][form]["n"] == 2 and found["compile_seconds"][form] > 0
    assert found["ratio"][inference_speed.FORMS[-1]]["median"] == 1
    assert "| mnist_small 2@12 |" in capsys.readouterr().out

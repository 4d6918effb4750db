"""What a program logs beside ``metrics.jsonl``, also when it is stopped and resumed."""

import csv
import importlib.util
import json

import mnist_dsdc
import pytest

from tests.training.event_files import events

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def flags(digits, output):
    values = {"dataset": digits, "output": output, "model": "mnist_tutorial", "batch_size": 64}
    given = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
    return [*given, "--epochs=3", "--tensorboard", "--no-pictures"]


def test_a_resumed_run_logs_each_epoch_once(digits, tmp_path, monkeypatch):
    calls = []

    def stop_in_the_second_epoch(stop):
        calls.append(stop)
        return len(calls) >= 12  # of 8 chunks and an end in each epoch

    with monkeypatch.context() as patch:
        patch.setattr("dilax.training._loop.requested_anywhere", stop_in_the_second_epoch)
        status = mnist_dsdc.main(flags(digits, tmp_path))
    assert status > 128
    assert len(events(tmp_path)["loss/train"]) == 1
    assert mnist_dsdc.main(["--output", str(tmp_path), "--resume"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    steps = [step for step, _ in events(tmp_path)["loss/train"]]
    assert steps == [line["step"] for line in lines] == [8, 16, 24]


def test_without_the_library_the_flag_is_refused(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        mnist_dsdc.main(flags(digits, tmp_path / "run"))
    assert 'pip install "dilax-jax[tensorboard]"' in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()

"""Two processes of the whole program, over gloo, are one process of as many devices."""

import json
import signal
import subprocess
import sys

import jax
import mnist_dsdc
import pytest
from common import run

from tests.processes import ROOT, environment, free_port

FLAGS = [
    *("--model=mnist_tutorial", "--batch-size=32", "--epochs=3", "--learning-rate=0.005"),
    *("--validation=64", "--evaluate=best", "--no-pictures"),
]


def start(devices, *arguments):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "experiments" / "mnist_dsdc.py"), *arguments],
        env=environment(XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_both(*arguments):
    joined = ["--distributed", f"--coordinator=localhost:{free_port()}", "--processes=2"]
    return [start(2, *arguments, *joined, f"--process={number}") for number in range(2)]


def finish(*processes):
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors


def lines(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in found:
        del line["seconds"], line["examples_per_second"]
    return found


@pytest.mark.long
def test_two_processes_are_one_and_a_stopped_pair_goes_on(tmp_path, digits):
    together, alone = tmp_path / "together", tmp_path / "alone"
    flags = [*FLAGS, f"--dataset={digits}"]
    pair = start_both(*flags, f"--output={together}")
    pair[0].stdout.readline()  # of the first epoch
    for process in pair:
        process.send_signal(signal.SIGTERM)
    for process in pair:
        process.communicate(timeout=300)
        assert process.returncode in (0, 128 + signal.SIGTERM)
    finish(*start_both(f"--output={together}", "--resume"))
    finish(start(4, *flags, f"--output={alone}"))
    assert [line["step"] for line in lines(together)] == [14, 28, 42]
    for one, other in zip(lines(together), lines(alone), strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (together, alone)]
    assert [summary["processes"] for summary in summaries] == [2, 1]
    assert [summary["devices"] for summary in summaries] == [4, 4]


def test_the_flags_of_a_process_reach_jax(monkeypatch):
    """And a process that is not the main one writes and prints nothing."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: calls.append(given))
    flags = ["--distributed", "--coordinator=here:1", "--processes=2", "--process=1"]
    assert mnist_dsdc.main([*flags, "--dataset=no such set"]) == 2
    assert calls == [("here:1", 2, 1)]


def test_only_the_main_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    run.write(tmp_path / "summary.json", {})
    assert list(tmp_path.iterdir()) == []

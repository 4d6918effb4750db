"""The benchmark of many devices: who takes part, and a race that leaves a record."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mnist_dsdc
import numpy as np
import pytest
import scaling

from dilax import models
from tests.training.network import Network, jitter, labelled_images

ROOT = Path(__file__).parents[2]
TINY = "--batch-size 4 --rounds 2 --steps 1"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The flag of a set of small images; network and augmentation are stand-ins, too."""
    monkeypatch.setattr(models, "create", lambda name, *, classes, rngs: Network(rngs=rngs))
    monkeypatch.setattr(mnist_dsdc, "augmentation", lambda config, normalise, plan: jitter)
    images, labels = (np.asarray(array) for array in labelled_images(16))
    splits = {f"{name}_images": images for name in ("train", "test")}
    splits |= {f"{name}_labels": labels for name in ("train", "test")}
    np.savez(tmp_path / "small.npz", **splits)
    return f"--dataset={tmp_path / 'small.npz'}"


def run(tmp_path, *flags):
    output = tmp_path / "record.json"
    status = scaling.main([*TINY.split(), "--output", str(output), *map(str, flags)])
    return status, output


@pytest.mark.long
def test_a_race_of_devices_leaves_a_record(
    tmp_path, small, capsys, compile_quickly, monkeypatch, long
):
    ways = ("jit", "pmap") if long else ("jit",)
    monkeypatch.setattr(scaling, "WAYS", ways)
    status, output = run(tmp_path, small)
    assert status == 0
    record = json.loads(output.read_text())
    rows = {(row["scaling"], row["way"], row["devices"]): row for row in record["rows"]}
    assert set(rows) == {("weak", way, n) for way in ways for n in (1, 2)}
    assert [rows["weak", "jit", n]["batch_size"] for n in (1, 2)] == [4, 8]
    for (_, _, devices), row in rows.items():
        assert row["images_per_second"]["n"] == row["efficiency"]["n"] == 2
        assert row["images_per_second"]["median"] > 0
        assert (row["efficiency"]["median"] == 1) or devices == 2
    assert {"program", "config", "device", "versions", "git_commit"} <= record.keys()
    assert record["config"]["rounds"] == 2 and record["devices"] == 2
    # Two devices of a CPU are simulated, whoever made them.
    assert record["simulated"] and record["remark"] == scaling.SIMULATED
    difference = record["difference"]
    assert (difference["steps"], difference["batch_size"]) == (20, 4)
    largest = difference["largest_relative"]
    assert largest["jit"]["1"] == 0
    assert all(0 <= largest[way][n] <= 1e-5 for way in ways for n in ("1", "2"))
    assert 0 < difference["one_rounding"] <= 1e-5
    printed = capsys.readouterr().out
    assert printed == scaling.section(record)
    assert "| 2 | 8 |" in printed and "share the cores" in printed
    record["rows"] += [row | {"scaling": "strong", "batch_size": 6} for row in record["rows"]]
    both = scaling.section(record)
    assert both.endswith(printed.split("\n\n")[1]) and "| 2 | 8 |" in both and "| 2 | 6 |" in both


def test_parameters_that_are_not_finite_are_no_result(tmp_path, small, capsys, monkeypatch):
    monkeypatch.setattr(scaling, "trained", lambda task, weights, steps: np.full(3, np.nan))
    status, output = run(tmp_path, small)
    assert status == 2 and not output.exists()
    assert "must be finite after 20 steps of 4 images" in capsys.readouterr().err


@pytest.mark.long
def test_devices_are_made_of_a_cpu_before_jax_begins():
    code = "import scaling; print(len(scaling.find(scaling.Config(simulated=3))))"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "experiments" / "benchmarks")])
    environment = os.environ | {"PYTHONPATH": paths}
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert found.stdout == "3\n"


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])],
)
def test_powers_of_two_and_all(devices, expected):
    assert scaling.counts(devices) == expected


def test_batches_divide_by_the_devices():
    entries = scaling.line_up(scaling.Config(global_batch=100), 6)
    assert {entry.devices for entry in entries if entry.scaling == "weak"} == {1, 2, 4, 6}
    assert {entry.devices for entry in entries if entry.scaling == "strong"} == {1, 2, 4}
    assert {entry.batch_size for entry in scaling.comparison(scaling.Config(), 6)} == {132}
    for kind, batch_size in (("weak", 128), ("strong", 512)):
        single = scaling.Entry(kind, "jit", 4, 512).on_one_device
        assert (single.devices, single.batch_size) == (1, batch_size)


@pytest.mark.parametrize("flags", [("--rounds", "0"), ("--simulated", "-1")])
def test_a_wrong_flag_is_refused(tmp_path, capsys, flags):
    with pytest.raises(SystemExit):
        run(tmp_path, *flags)
    assert f"{flags[0]} must be at least" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--simulated", "3"], "--simulated must come before JAX has begun"),
        (["--limit", "5"], "batch_size must be from 1 to the number of training examples"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(tmp_path, capsys, flags, message):
    scaling.find(scaling.Config())  # JAX has begun
    status, output = run(tmp_path, *flags)
    assert status == 2 and not output.exists()
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error

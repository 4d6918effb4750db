"""Runs that are killed outright, at random moments, or that find the disk full.

Four kills by default, thirty with --long. Moments count from the end of an epoch on, so that they
fall into training and saving rather than into the start of Python.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dilax.training.checkpoint import Checkpoints
from tests.processes import environment

PROGRAM = Path(__file__).with_name("run_to_be_killed.py")
EPOCHS, STEPS_PER_EPOCH = 40, 4


def start(folder, *arguments):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), *map(str, arguments)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder):
    process = start(folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def killed(folder, epochs, seconds):
    """Whether a run was killed so long after it had ended so many epochs, or ended before."""
    process = start(folder)
    for _ in range(epochs):
        process.stdout.readline()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode < 0


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    return [(line["step"], line["train_loss"], line["train_accuracy"]) for line in lines]


def assert_same_end(folder, unbroken):
    with np.load(folder / "final.npz") as found, np.load(unbroken / "final.npz") as wanted:
        assert list(found) == list(wanted)
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name])
    assert metrics(folder) == metrics(unbroken)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    finish(folder)
    return folder


def test_a_run_survives_every_kill(tmp_path, unbroken, long):
    random = np.random.default_rng(0)
    folders = (tmp_path / f"run_{number}" for number in range(1000))
    folder, kills = next(folders), 0
    while kills < (30 if long else 4):
        if killed(folder, random.integers(1, 6), random.uniform(0, 0.2)):
            kills += 1
        else:
            assert_same_end(folder, unbroken)
            folder = next(folders)
    finish(folder)
    assert_same_end(folder, unbroken)


def test_a_full_disk_ends_the_run_with_one_clear_error_and_all_is_kept(tmp_path, unbroken):
    folder = tmp_path / "run"
    process = start(folder, 15_000)
    _, errors = process.communicate(timeout=300)
    said = errors.strip().splitlines()[-1]
    assert process.returncode == 1
    assert "CheckpointError: checkpoint" in said and "File too large" in said
    with Checkpoints(folder / "checkpoints", config={}) as checkpoints:
        reached = checkpoints.steps[0]
    assert 0 < reached < EPOCHS * STEPS_PER_EPOCH
    finish(folder)
    assert_same_end(folder, unbroken)

import json
import subprocess
from pathlib import Path

import flax
import jax
import numpy
import optax
import pytest

import dilax
from dilax.training.device import describe_device, find_devices
from dilax.training.record import RunRecord, git_commit, versions
from dilax.training.statistics import over_seeds


def a_record(**fields):
    values = {
        "program": "p",
        "config": {"epochs": 1},
        "dataset": "d",
        "dataset_sha256": "0",
        "model": "m",
        "weights": "ema",
        "test_accuracy": 0.5,
        "test_loss": 1.0,
        "test_accuracy_final": 0.25,
        "test_accuracy_ema": 0.5,
        "parameters": 10,
        "multiply_adds": 100,
        "epochs": 1,
        "train_seconds": 2.0,
        "compile_seconds": 1.0,
        "device": "cpu",
        "devices": 1,
        "processes": 1,
        "rollbacks": 0,
        "seed": 0,
    }
    return RunRecord(**values | fields)


def test_a_record_is_json_with_versions_and_commit():
    record = json.loads(json.dumps(a_record().as_json()))
    assert record["versions"] == versions()
    assert record["test_accuracy"] == 0.5 and record["seed"] == 0
    assert "git_commit" in record


def test_versions_are_those_that_run():
    found = versions()
    assert found["jax"] == jax.__version__
    assert found["flax"] == flax.__version__
    assert found["optax"] == optax.__version__
    assert found["numpy"] == numpy.__version__
    assert found["dilax"] == dilax.__version__
    assert found["python"].startswith("3.")


def test_the_commit_is_that_of_the_source_and_says_when_files_differ(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    assert git_commit(tmp_path) is None
    git("init", "-q")
    source = tmp_path / "source.py"
    source.write_text("1")
    assert git_commit(tmp_path) is None  # git does not know the file yet
    git("add", ".")
    git("commit", "-q", "-m", "one")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    source.write_text("2")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"


def test_a_folder_that_is_not_there_has_no_commit():
    assert git_commit(Path("/nonexistent/folder")) is None


def test_devices_are_found_by_kind_or_refused():
    assert find_devices("cpu") == jax.devices("cpu")
    assert find_devices("auto") == jax.devices()
    assert describe_device(find_devices("cpu")[0]).startswith("cpu (")
    with pytest.raises(ValueError, match=r"device must be one that JAX finds here .*'abacus'"):
        find_devices("abacus")


def test_numbers_over_seeds():
    values = [0.99, 0.995, 0.9925]
    summary = over_seeds(values)
    assert summary["mean"] == pytest.approx(sum(values) / 3)
    variance = sum((value - summary["mean"]) ** 2 for value in values) / 2
    assert summary["std"] == pytest.approx(variance**0.5)
    assert (summary["min"], summary["max"], summary["n"]) == (0.99, 0.995, 3)
    assert over_seeds([0.5])["std"] == 0.0
    with pytest.raises(ValueError, match="at least one number"):
        over_seeds([])

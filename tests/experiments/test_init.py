"""A run that starts from the weights of another one."""

import json
import re
import shlex
import shutil

import mnist_dsdc
import numpy as np
import pytest

from dilax import training
from tests.processes import ROOT

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def flags(folder, **values):
    """The command line of a quick run, with `values` on top."""
    values = {"model": "mnist_tutorial", "epochs": 1, "batch_size": 64, "output": folder} | values
    named = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
    return [*named, "--no-pictures"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits, module_compiles_quickly):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert mnist_dsdc.main(flags(folder, dataset=digits, learning_rate=0.005)) == 0
    return folder


def accuracy(folder):
    return json.loads((folder / "summary.json").read_text())["test_accuracy"]


def test_a_new_run_starts_from_a_trained_one(trained, tmp_path, digits, capsys):
    """So slowly that its accuracy stays; and it can be resumed where the first run is gone."""
    first = shutil.copytree(trained, tmp_path / "first")
    given = flags(tmp_path / "new", dataset=digits, learning_rate=1e-9, init=first)
    assert mnist_dsdc.main(given) == 0
    error = capsys.readouterr().err
    assert error == f"note: the run starts from the final weights of {first}, saved after step 8\n"
    assert accuracy(tmp_path / "new") == accuracy(trained) > 0.3
    shutil.rmtree(first)
    assert mnist_dsdc.main(["--resume", "--output", str(tmp_path / "new"), "--no-pictures"]) == 0
    assert capsys.readouterr().err == ""


def test_what_a_run_starts_from_is_read_once(trained, tmp_path, digits, monkeypatch):
    """And a resumed run needs only its own options, so no best epoch, which it may not have yet."""
    asked, read = [], training.read_trained

    def recorded(folder, *, which=None):
        asked.append((folder, which))
        return read(folder, which=which)

    monkeypatch.setattr(training, "read_trained", recorded)
    run = tmp_path / "new"
    given = flags(run, dataset=digits, init=trained, evaluate="best", validation=64)
    assert mnist_dsdc.main(given) == 0
    assert asked == [(trained, None)]
    assert mnist_dsdc.main(["--resume", "--output", str(run), "--no-pictures"]) == 0
    assert asked[1:] == [(run, "final")]


def test_a_head_for_other_classes_is_drawn_at_random_and_named(trained, tmp_path, digits, capsys):
    arrays = dict(np.load(digits))
    for split in ("train", "test"):
        arrays[f"{split}_labels"] = arrays[f"{split}_labels"] % 3
    np.savez(tmp_path / "three.npz", **arrays)
    given = flags(tmp_path / "new", dataset=tmp_path / "three.npz", init=trained)
    assert mnist_dsdc.main(given) == 0
    kept = "head.bias and head.kernel are drawn at random, for another number of classes\n"
    assert capsys.readouterr().err.endswith(kept)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 2},
        pytest.param({"learning_rate": 0.001}, marks=pytest.mark.long),
        pytest.param({"dataset": "mnist"}, marks=pytest.mark.long),
    ],
)
def test_a_finished_run_resumed_otherwise_offers_a_new_one(
    trained, tmp_path, monkeypatch, capsys, change
):
    """And the command that it offers works."""
    folder = shutil.copytree(trained, tmp_path / "first")
    ((name, value),) = change.items()
    flag = f"--{name.replace('_', '-')}"
    assert mnist_dsdc.main(["--output", str(folder), "--resume", flag, str(value)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert (
        f"the run in {folder} is finished, and a resumed run keeps its flags: {flag} was" in error
    )
    command = re.search(r"start a new run from its weights with: python \S+ (.*)$", error).group(1)
    given = [*shlex.split(command), "--limit", "64"]
    assert mnist_dsdc.main(given) == 0
    config = json.loads((tmp_path / "first_2" / "config.json").read_text())
    assert config[name] == value and config["model"] == "mnist_tutorial"
    assert config["init"] == str(folder)


def test_another_network_is_not_offered_the_weights(trained, capsys):
    given = ["--output", str(trained), "--resume", "--model", "mnist_textbook"]
    assert mnist_dsdc.main(given) == 2
    error = capsys.readouterr().err
    assert error.endswith("now is mnist_textbook; start a new run with another --output.\n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "mnist_dsdc"}, "--init .* does not fit --model mnist_dsdc: params must hold"),
        ({"model": "mnist_dsdc"}, "It was trained with --model mnist_tutorial"),
        ({"init": "nowhere"}, "--init: nowhere is no folder; give the folder of a trained run"),
        ({"init": str(ROOT)}, "--init: .* has no checkpoint; train there first"),
    ],
)
def test_a_run_that_does_not_fit_is_refused(trained, tmp_path, digits, capsys, given, message):
    folder = tmp_path / "new"
    assert mnist_dsdc.main(flags(folder, **{"dataset": digits, "init": trained} | given)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not folder.exists()

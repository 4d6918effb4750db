"""What the programs say where something is wrong: with the names of flags, and only once."""

import json
import subprocess
import sys

import cifar_dsdc
import mnist_dsdc
import pytest
from common.flags import in_flags, nearest

from dilax.training import SaveError
from tests.processes import ROOT, environment

PROGRAM = ROOT / "experiments" / "mnist_dsdc.py"
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Runs a program whose files cannot be larger than a number of bytes."""


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--lr", "--learning-rate"),
        ("--bs", "--batch-size"),
        ("--wd", "--weight-decay"),
        ("--rate", "--learning-rate"),
        ("--epoch", "--epochs"),
        ("--optimiser", "--optimizer"),
        ("--smoothing", "--label-smoothing"),
        ("--no-picture", "--pictures"),
        ("--out", "--output"),
    ],
)
def test_an_unknown_flag_is_answered_with_those_that_may_be_meant(given, meant, capsys):
    assert mnist_dsdc.main([given, "0.1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{given} is no flag; did you mean ") and error.count("\n") == 1
    assert meant in error and error.endswith("--help lists all flags.\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--zzz=1"], "--zzz is no flag. --help lists all flags."),
        (["5"], "'5' belongs to no flag. --help lists all flags."),
        (
            ["--pictures", "false"],
            "--pictures takes no value, got 'false'; write --pictures or --no-p",
        ),
        (["--epochs", "3", "4"], "'4' belongs to no flag."),
    ],
)
def test_a_word_that_no_flag_takes_is_named(given, said, capsys):
    assert mnist_dsdc.main(given) == 2
    assert capsys.readouterr().err.startswith(said)


def test_nothing_is_near_to_a_flag_like_no_other():
    assert nearest("--zzz", ["--epochs", "--learning-rate"]) == []


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("batch_size must be 4, got 3.", "--batch-size must be 4, got 3."),
        ("epochs must be at most 2.", "--epochs must be at most 2."),
        ("step 2, epochs 3", "step 2, epochs 3"),
        (
            "reduce learning_rate, or set on_nan='rollback'.",
            "reduce --learning-rate, or set --on-nan rollback.",
        ),
        (
            "name must be the name of a network, got 'x'.",
            "--model must be the name of a network, got 'x'.",
        ),
        (
            "load the files by their path, load('/path/to/...')",
            "load the files by their path, --dataset /path/to/...",
        ),
        ("--batch-size must be 4", "--batch-size must be 4"),
        ("runs/batch_size/x does not exist", "runs/batch_size/x does not exist"),
        ("my_batch_size must be 4", "my_batch_size must be 4"),
    ],
)
def test_arguments_of_functions_are_shown_as_flags(message, shown):
    assert in_flags(message, mnist_dsdc.Config) == shown


def test_a_run_of_another_program_is_not_resumed(tmp_path, capsys):
    config = mnist_dsdc.Config(output=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config.as_json()))
    assert cifar_dsdc.main(["--resume", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "from a run of this program, got --kernel-dilation, --scale, --shear, --shift" in error


@pytest.mark.parametrize(("began", "now"), [(1, 2), (3, 1)])
def test_a_run_of_one_seed_does_not_become_one_of_several(tmp_path, capsys, began, now):
    config = mnist_dsdc.Config(output=tmp_path, seeds=began)
    (tmp_path / "config.json").write_text(json.dumps(config.as_json()))
    assert mnist_dsdc.main(["--resume", "--output", str(tmp_path), "--seeds", str(now)]) == 2
    error = capsys.readouterr().err
    assert f"began with {began}, got {now}; choose another --output" in error


def test_a_checkpoint_that_cannot_be_written_fails_and_says_how_to_resume(
    tmp_path, monkeypatch, capsys, digits
):
    def fail(task):
        raise SaveError("checkpoint 8 could not be written.")

    monkeypatch.setattr("common.program.train_seeds", fail)
    given = ["--model=mnist_tutorial", f"--dataset={digits}", f"--output={tmp_path}"]
    assert mnist_dsdc.main(given) == 1
    error = capsys.readouterr().err
    assert error.startswith("checkpoint 8 could not be written; continue with: python ")
    assert error.endswith(f"--output {tmp_path} --resume\n")


@pytest.mark.long
@pytest.mark.parametrize("most_bytes", [3_000, 100_000, 1_000_000])
def test_a_full_disk_is_told_in_one_line(tmp_path, digits, most_bytes):
    """A limit of the size of each file stands for the space that is left."""
    given = ["--model=mnist_tutorial", "--no-pictures", "--epochs=3", "--batch-size=64"]
    given += [f"--dataset={digits}", f"--output={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(most_bytes), str(PROGRAM), *given],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("checkpoint 8 could not be written to ")
    assert ": File too large; earlier ones are unchanged" in done.stderr

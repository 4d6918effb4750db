"""The whole program, in this process and with the network that compiles fastest."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dilax import data, models
from dilax.training import CheckpointError, DivergenceError, Interrupted
from tests.processes import ROOT, environment

PROGRAM = ROOT / "experiments" / "mnist_dsdc.py"

sys.path.insert(0, str(PROGRAM.parent))
import mnist_dsdc  # noqa: E402

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

PICTURES = {"learning_curves.png", "confusion_matrix.png", "mistakes.png", "feature_maps.png"}
FILES = {"config.json", "metrics.jsonl", "metrics.csv", "summary.json", "checkpoints"}


def flags(folder, **values):
    """The command line of a quick run, with `values` on top."""
    values = {
        "model": "mnist_tutorial",
        "epochs": 2,
        "batch_size": 32,
        "ema_decay": 0.9,
        "learning_rate": 0.005,
        "evaluate": "ema",
        "output": folder,
    } | values
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits, module_compiles_quickly):
    """The folder of a run with held-out images."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert mnist_dsdc.main([*flags(folder, dataset=digits, validation=64)]) == 0
    return folder


def read(folder, name):
    return json.loads((folder / name).read_text())


def lines_without_time(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"], line["examples_per_second"]
    return lines


def accuracies(folder):
    summary = read(folder, "summary.json")
    return {name: value for name, value in summary.items() if name.startswith("test_")}


def test_a_run_leaves_a_folder_of_results(finished):
    assert {path.name for path in finished.iterdir()} == FILES | PICTURES
    for name in PICTURES:
        assert (finished / name).stat().st_size > 5_000
    assert read(finished, "config.json")["validation"] == 64
    lines = lines_without_time(finished)
    assert [line["epoch"] for line in lines] == [1, 2]
    assert [line["step"] for line in lines] == [14, 28]  # 448 images are left, 14 batches of 32
    assert set(lines[0]) == {
        *("epoch", "step", "learning_rate"),
        *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    }


def test_the_record_says_what_was_trained_on_what_and_how_it_did(finished, digits):
    summary = read(finished, "summary.json")
    assert summary["program"] and summary["device"].startswith("cpu (")
    assert summary["dataset_sha256"] == data.load(digits).fingerprint
    assert (summary["model"], summary["epochs"], summary["seed"]) == ("mnist_tutorial", 2, 0)
    # 3x3 depthwise on one channel, 1x1 to 32, and the linear layer; see the network's docstring.
    assert summary["parameters"] == 250_963
    assert summary["multiply_adds"] == 283_024
    assert 0.3 < summary["test_accuracy"] <= 1
    assert summary["weights"] == "ema"
    assert summary["test_accuracy"] == summary["test_accuracy_ema"]
    assert summary["train_seconds"] > 0 and summary["compile_seconds"] > 0
    assert {"python", "jax", "flax", "optax", "numpy", "dilax"} <= set(summary["versions"])


@pytest.mark.parametrize("evaluate", ["ema", "best"])
def test_a_finished_run_gives_its_network_back(finished, tmp_path, digits, evaluate):
    """With the weights that its record reports."""
    folder = finished
    if evaluate == "best":
        folder = tmp_path / "best"
        given = flags(folder, dataset=digits, validation=64, evaluate="best")
        assert mnist_dsdc.main([*given, "--no-pictures"]) == 0
    test = data.load(digits).splits["test"]
    found = models.load(folder).predict(test.images)
    accuracy = np.mean(found.labels == test.labels)
    assert accuracy == pytest.approx(read(folder, "summary.json")["test_accuracy"])


def test_a_folder_without_a_checkpoint_gives_no_network(tmp_path):
    with pytest.raises(CheckpointError, match="has no checkpoint; train there first"):
        models.load(tmp_path)


@pytest.mark.long
def test_several_seeds_have_a_folder_each_and_one_summary(tmp_path, digits, capsys):
    """Streamed, with a replica on each device, and of the best epoch by held-out images."""
    options = {"dataset": digits, "seeds": 2, "seed": 5, "devices": 2, "parallel": "pmap"}
    options |= {"validation": 64, "evaluate": "best", "learning_rate": 0.5}
    assert mnist_dsdc.main([*flags(tmp_path, **options), "--stream", "--no-pictures"]) == 0
    folders = [tmp_path / name for name in ("seed_5", "seed_6")]
    assert {path.name for path in folders[0].iterdir()} == FILES
    each = [read(folder, "summary.json") for folder in folders]
    found = [record["test_accuracy"] for record in each]
    assert [record["config"]["seed"] for record in each] == [5, 6]
    summary = read(tmp_path, "summary.json")
    over = summary["over_seeds"]["test_accuracy"]
    assert over["mean"] == summary["test_accuracy"] == pytest.approx(sum(found) / 2)
    assert (over["min"], over["max"], over["n"]) == (min(found), max(found), 2)
    assert summary["seeds"] == [5, 6]
    assert (summary["devices"], summary["processes"], summary["rollbacks"]) == (2, 1, 0)
    # The second seed takes what was compiled for the first.
    assert each[1]["compile_seconds"] < each[0]["compile_seconds"]
    assert "mean of 2 seeds" in capsys.readouterr().out
    for folder, record in zip(folders, each, strict=True):
        lines = lines_without_time(folder)
        best = max(reversed(lines), key=lambda line: line["validation_accuracy"])
        assert record["weights"] == "best"
        same = record["test_accuracy"] == record["test_accuracy_final"]
        assert same == (best is lines[-1])


@pytest.mark.long
@pytest.mark.parametrize("way", [("jit", "global"), ("pmap", "global"), ("pmap", "device")])
def test_a_run_can_share_its_batches_and_stream_its_images(tmp_path, digits, way):
    ways = dict(zip(("parallel", "batch_statistics"), way, strict=True))
    options = {"dataset": digits, "epochs": 1, "devices": 2, **ways}
    assert mnist_dsdc.main([*flags(tmp_path, **options), "--stream", "--no-pictures"]) == 0
    summary = read(tmp_path, "summary.json")
    assert (summary["devices"], summary["config"]["batch_statistics"]) == (2, way[1])


def test_a_folder_that_holds_a_run_is_left_alone(finished, digits, capsys):
    before = (finished / "metrics.jsonl").read_text()
    assert mnist_dsdc.main(flags(finished, dataset=digits)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is not empty; add --resume" in error
    assert (finished / "metrics.jsonl").read_text() == before


def test_a_finished_run_resumed_gives_the_same_record(finished, capsys):
    before = read(finished, "summary.json")
    assert mnist_dsdc.main(["--output", str(finished), "--resume", "--no-pictures"]) == 0
    after = read(finished, "summary.json")
    for record in (before, after):
        del record["config"]["resume"], record["config"]["pictures"]
        record.pop("git_commit")
    assert after == before
    assert f"results        {finished}" in capsys.readouterr().out


def test_a_resume_with_other_flags_names_the_difference(finished, capsys):
    before = {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    arguments = ["--output", str(finished), "--resume", "--epochs", "5", "--ema-decay", "0.5"]
    assert mnist_dsdc.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert before == {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    assert "flags: --ema-decay was 0.9, now is 0.5; --epochs was 2, now is 5; start a" in error


def test_a_resume_with_other_data_is_refused(finished, digits, tmp_path, capsys):
    arrays = dict(np.load(digits))
    arrays["train_images"][0, 0, 0] ^= 1
    np.savez(tmp_path / "altered.npz", **arrays)
    original = digits.read_bytes()
    try:
        digits.write_bytes((tmp_path / "altered.npz").read_bytes())
        assert mnist_dsdc.main(["--output", str(finished), "--resume"]) == 2
    finally:
        digits.write_bytes(original)
    assert "dataset_sha256 was " in capsys.readouterr().err


def run(*arguments):
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_stopped_run_says_how_to_resume(tmp_path, digits, monkeypatch, capsys):
    def stop(task):
        raise Interrupted(signal.SIGTERM, step=3, total_steps=9, folder=tmp_path)

    monkeypatch.setattr("common.program.train_seeds", stop)
    assert mnist_dsdc.main(flags(tmp_path, dataset=digits)) == 128 + signal.SIGTERM
    error = capsys.readouterr().err
    assert "SIGTERM at step 3 of 9: state saved in " in error
    assert error.endswith(f"--output {tmp_path} --resume\n")


def test_a_run_interrupted_before_its_first_step_has_saved_nothing(
    tmp_path, digits, monkeypatch, capsys
):
    def stop(task):
        raise KeyboardInterrupt

    monkeypatch.setattr("common.program.train_seeds", stop)
    assert mnist_dsdc.main(flags(tmp_path, dataset=digits)) == 130
    assert capsys.readouterr().err == "interrupted before the first step: nothing is saved\n"


@pytest.mark.long
def test_a_closed_output_ends_the_run_in_one_line(tmp_path, digits):
    process = run(*flags(tmp_path, dataset=digits, epochs=4), "--no-pictures")
    assert any(line.startswith("epoch 1/4") for line in iter(process.stdout.readline, ""))
    process.stdout.close()
    with process.stderr:
        error = process.stderr.read()
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    assert error.count("\n") == 1 and "the output was closed; continue with: python" in error


@pytest.mark.parametrize(
    ("error", "expected"),
    [(DivergenceError("step 3"), 1), (OSError("step 3"), 1), (CheckpointError("step 3"), 2)],
)
def test_a_run_that_fails_says_why(tmp_path, digits, monkeypatch, capsys, error, expected):
    def fail(task):
        raise error

    monkeypatch.setattr("common.program.train_seeds", fail)
    assert mnist_dsdc.main(flags(tmp_path, dataset=digits)) == expected
    assert capsys.readouterr().err == "step 3\n"


@pytest.mark.long
def test_a_run_that_diverges_says_when_and_where(tmp_path, digits, capsys):
    options = {"dataset": digits, "epochs": 1, "learning_rate": 1e30, "weight_decay": 1e8}
    assert mnist_dsdc.main([*flags(tmp_path, **options), "--no-pictures"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(r"is not finite in step \d+, learning rate .*; reduce learning_rate", error)


@pytest.mark.long
def test_a_run_stopped_by_ctrl_c_and_resumed_is_the_unbroken_run(tmp_path, digits):
    """The run is a process of its own, stopped amid its long second epoch."""
    options = {"dataset": digits, "epochs": 2, "batch_size": 2, "devices": 1}
    folder = tmp_path / "stopped"
    process = run(*flags(folder, **options), "--no-pictures")
    stop_in_the_second_epoch(process, folder)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "SIGINT at step " in error and " of 512: state saved in " in error
    hint = re.search(r"continue with: python (\S+) (.*)$", error).group(2)

    assert mnist_dsdc.main([*hint.split(), "--no-pictures"]) == 0
    unbroken = tmp_path / "unbroken"
    assert mnist_dsdc.main([*flags(unbroken, **options), "--no-pictures"]) == 0
    assert lines_without_time(folder) == lines_without_time(unbroken)
    assert accuracies(folder) == accuracies(unbroken)


def stop_in_the_second_epoch(process, folder):
    deadline = time.monotonic() + 120
    while not (folder / "metrics.jsonl").is_file() or not lines_without_time(folder):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)


@pytest.mark.long
def test_the_default_network_runs_on_shapes_in_a_process_of_its_own(tmp_path):
    options = {"model": "mnist_dsdc", "dataset": "shapes", "limit": 256, "epochs": 1}
    process = run(*flags(tmp_path, **options))
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert error == ""
    found = dict(re.findall(r"^(\S+(?: \S+)?)  +(.+)$", out, re.MULTILINE))
    assert found["results"] == str(tmp_path)
    assert found["parameters"] == f"{read(tmp_path, 'summary.json')['parameters']:,}"
    assert re.fullmatch(r"[\d,]+ per image", found["multiply-adds"])
    assert re.fullmatch(r"\d+\.\d\d% \(ema weights\)", found["test accuracy"])
    assert (tmp_path / "feature_maps.png").stat().st_size > 5_000


def test_colour_images_become_grey():
    images = np.zeros((1, 2, 2, 3), np.uint8)
    images[0, 0, 0], images[0, 1, 1] = (255, 255, 255), (200, 100, 50)
    split = data.Split(images, np.zeros(1, np.int32))
    turned = mnist_dsdc.grey(data.Dataset("x", {"train": split}, ("a",), source="here"))
    grey = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert turned.splits["train"].images[0, ..., 0].tolist() == [[255, 0], [0, grey]]
    assert turned.source == "here, converted to grey"
    assert mnist_dsdc.grey(turned) is turned

"""The whole program: mostly in this process and with the network that compiles fastest."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax import data
from dilax.training.checkpoint import CheckpointError
from tests.processes import ROOT, environment

PROGRAM = ROOT / "experiments" / "mnist_dsdc.py"

sys.path.insert(0, str(PROGRAM.parent))
import mnist_dsdc  # noqa: E402
from common.program import read_flags  # noqa: E402
from common.run import restore  # noqa: E402
from common.task import Task  # noqa: E402

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

PICTURES = {"learning_curves.png", "confusion_matrix.png", "mistakes.png", "feature_maps.png"}
FILES = {"config.json", "metrics.jsonl", "summary.json", "checkpoints"}


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
        del line["seconds"], line["images_per_second"]
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


def test_a_finished_run_gives_its_network_back(finished, digits):
    config = read_flags(mnist_dsdc.Config, ["--output", str(finished), "--resume"])
    task = Task.make(config, data.load(digits), mnist_dsdc.augmentation, jax.devices())
    network = restore(task)
    logits = network(task.normalise(jnp.asarray(task.test.images)))
    accuracy = float(np.mean(np.asarray(logits).argmax(-1) == task.test.labels))
    assert accuracy == pytest.approx(read(finished, "summary.json")["test_accuracy_final"])


def test_a_folder_without_a_checkpoint_gives_no_network(tmp_path, digits):
    config = mnist_dsdc.Config(model="mnist_tutorial", batch_size=32, output=tmp_path)
    task = Task.make(config, data.load(digits), mnist_dsdc.augmentation, jax.devices())
    with pytest.raises(CheckpointError, match="holds no checkpoint; train there first"):
        restore(task)


def test_the_weights_to_report_are_fixed_by_a_flag(tmp_path, digits, finished):
    options = {"dataset": digits, "validation": 64, "evaluate": "final"}
    assert mnist_dsdc.main([*flags(tmp_path, **options), "--no-pictures"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES
    summary, other = read(tmp_path, "summary.json"), read(finished, "summary.json")
    assert summary["test_accuracy"] == summary["test_accuracy_final"]
    assert summary["test_accuracy_final"] == other["test_accuracy_final"]
    assert summary["test_accuracy_ema"] == other["test_accuracy_ema"]


def test_the_best_epoch_by_held_out_images_can_be_reported(tmp_path, digits):
    options = {"dataset": digits, "validation": 64, "evaluate": "best", "learning_rate": 0.5}
    assert mnist_dsdc.main([*flags(tmp_path, **options), "--no-pictures"]) == 0
    lines, summary = lines_without_time(tmp_path), read(tmp_path, "summary.json")
    best = max(reversed(lines), key=lambda line: line["validation_accuracy"])
    assert summary["weights"] == "best"
    assert (summary["test_accuracy"] == summary["test_accuracy_final"]) == (best is lines[-1])


@pytest.mark.parametrize("way", [("jit", "global"), ("pmap", "global"), ("pmap", "device")])
def test_a_run_can_share_its_batches_and_stream_its_images(tmp_path, digits, way):
    ways = dict(zip(("parallel", "batch_statistics"), way, strict=True))
    options = {"dataset": digits, "epochs": 1, "devices": 2, **ways}
    assert mnist_dsdc.main([*flags(tmp_path, **options), "--stream", "--no-pictures"]) == 0
    summary = read(tmp_path, "summary.json")
    assert (summary["devices"], summary["processes"], summary["rollbacks"]) == (2, 1, 0)
    assert summary["config"]["batch_statistics"] == way[1]


def test_a_run_whose_statistics_are_of_devices_goes_on_with_as_many(tmp_path, digits, capsys):
    options = {"dataset": digits, "epochs": 1, "parallel": "pmap", "batch_statistics": "device"}
    arguments = [*flags(tmp_path, devices=2, **options), "--no-pictures"]
    assert mnist_dsdc.main(arguments) == 0
    assert mnist_dsdc.main([f"--output={tmp_path}", "--resume", "--devices=1"]) == 2
    assert "another configuration: devices was 2, now is 1" in capsys.readouterr().err


def test_a_run_that_diverges_says_when_and_where(tmp_path, digits, capsys):
    options = {"dataset": digits, "epochs": 1, "learning_rate": 1e30}
    assert mnist_dsdc.main([*flags(tmp_path, **options), "--no-pictures"]) == 1
    said = capsys.readouterr().err
    assert re.search(r"is not finite in step \d+, learning rate .*; make learning_rate small", said)


def test_several_seeds_have_a_folder_each_and_one_summary(tmp_path, digits, capsys):
    options = {"dataset": digits, "seeds": 2, "seed": 5, "epochs": 1}
    assert mnist_dsdc.main([*flags(tmp_path, **options), "--no-pictures"]) == 0
    each = [read(tmp_path / name, "summary.json") for name in ("seed_5", "seed_6")]
    found = [record["test_accuracy"] for record in each]
    assert found[0] != found[1]
    assert [record["config"]["seed"] for record in each] == [5, 6]
    summary = read(tmp_path, "summary.json")
    over = summary["over_seeds"]["test_accuracy"]
    assert over["mean"] == summary["test_accuracy"] == pytest.approx(sum(found) / 2)
    assert (over["min"], over["max"], over["n"]) == (min(found), max(found), 2)
    assert summary["seeds"] == [5, 6]
    # The second seed takes what was compiled for the first.
    assert each[1]["compile_seconds"] < each[0]["compile_seconds"]
    assert "mean of 2 seeds" in capsys.readouterr().out


def test_a_folder_that_holds_a_run_is_left_alone(finished, digits, capsys):
    before = (finished / "metrics.jsonl").read_text()
    assert mnist_dsdc.main(flags(finished, dataset=digits)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is not empty; add --resume" in error
    assert (finished / "metrics.jsonl").read_text() == before


def test_a_finished_run_resumed_gives_the_same_record(finished, capsys):
    before = read(finished, "summary.json")
    assert mnist_dsdc.main(["--output", str(finished), "--resume"]) == 0
    after = read(finished, "summary.json")
    for record in (before, after):
        record["config"].pop("resume")
        record.pop("git_commit")
    assert after == before
    assert f"results        {finished}" in capsys.readouterr().out


def test_a_resume_with_other_flags_names_the_difference(finished, capsys):
    arguments = ["--output", str(finished), "--resume", "--epochs", "5", "--ema-decay", "0.5"]
    assert mnist_dsdc.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "ema_decay was 0.9, now is 0.5; epochs was 2, now is 5; resume with what" in error


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


def test_the_default_network_runs_on_shapes_in_a_process_of_its_own(tmp_path):
    options = {"model": "mnist_dsdc", "dataset": "shapes", "limit": 256, "epochs": 1}
    process = run(*flags(tmp_path, **options))
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert error == ""
    found = dict(re.findall(r"^(\S+(?: \S+)?)  +(.+)$", out, re.MULTILINE))
    assert found["results"] == str(tmp_path)
    assert found["parameters"] == f"{read(tmp_path, 'summary.json')['parameters']:,}"
    assert re.fullmatch(r"[\d,]+ an image", found["multiply-adds"])
    assert re.fullmatch(r"\d+\.\d\d% \(ema weights\)", found["test accuracy"])
    assert (tmp_path / "feature_maps.png").stat().st_size > 5_000


def test_colour_images_become_grey():
    images = np.zeros((1, 2, 2, 3), np.uint8)
    images[0, 0, 0], images[0, 1, 1] = (255, 255, 255), (200, 100, 50)
    split = data.Split(images, np.zeros(1, np.int32))
    turned = mnist_dsdc.grey(data.Dataset("x", {"train": split}, ("a",), source="here"))
    grey = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert turned.splits["train"].images[0, ..., 0].tolist() == [[255, 0], [0, grey]]
    assert turned.source == "here, turned grey"
    assert mnist_dsdc.grey(turned) is turned


def test_help_explains_every_flag(capsys):
    with pytest.raises(SystemExit) as stop:
        mnist_dsdc.main(["--help"])
    assert not stop.value.code
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    for field in dataclasses.fields(mnist_dsdc.Config):
        flag = "--" + field.name.replace("_", "-")
        # After the flag stands a sentence: a capital, words, a full stop.
        assert re.search(rf"{flag}\b[^.]*? [A-Z][^.]+ [^.]+\.", text), flag


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "many"], "--epochs: invalid literal for int"),
        (["--epochs", "-1"], "--epochs must be at least 1, received -1"),
        (["--batch-size", "0"], "--batch-size must be at least 1, received 0"),
        (["--seeds", "0"], "--seeds must be at least 1, received 0"),
        (["--seed", "-3"], "--seed must be 0 or more, received -3"),
        (["--learning-rate", "nan"], "--learning-rate must be positive, received nan"),
        (["--weight-decay", "-1"], "--weight-decay must be 0 or more, received -1.0"),
        (["--ema-decay", "1"], "--ema-decay must be at least 0 and below 1, received 1.0"),
        (["--label-smoothing", "2"], "--label-smoothing must be at least 0 and below 1"),
        (["--rotation", "-7"], "--rotation must be 0 or more, received -7.0"),
        (["--scale", "1"], "--scale must be at least 0 and below 1, received 1.0"),
        (["--validation", "60000"], "--validation must leave training images: received 60000"),
        (
            ["--limit", "64", "--batch-size", "65"],
            r"batch_size must be from 1 to .* \(num_images=64\), received",
        ),
        (["--device", "abacus"], "invalid choice 'abacus' for argument '--device'"),
        (["--device", "tpu"], "device must be one that JAX finds here .*'tpu'"),
        (["--evaluate", "worst"], "invalid choice 'worst' for argument '--evaluate'"),
        (["--evaluate", "best"], "--evaluate must be final or ema without held-out images"),
        (["--accumulate", "0"], "--accumulate must be at least 1, received 0"),
        (["--devices", "64"], "devices must be at most 2, received 64"),
        (["--devices", "2", "--batch-size", "33"], "must be a multiple of 2 .*; try 32 or 34"),
        (["--batch-statistics", "device"], "--batch-statistics must be global with --parallel jit"),
        (["--shard-optimizer", "--parallel", "pmap"], "--shard-optimizer must be left out with"),
        (["--coordinator", "here:1"], "--coordinator must be given together with --distributed"),
        (
            ["--distributed", "--coordinator", "here:1", "--processes", "2", "--process", "2"],
            "process must be from 0 to processes - 1, received 2 of 2 processes",
        ),
        (["--distributed"], "no cluster is found .*; give coordinator, processes and process"),
        (["--epocs", "3"], r"Unrecognized options: --epocs, 3; did you mean --epochs\?"),
        (["--model", "mnist_dsdd"], "got 'mnist_dsdd'; did you mean mnist_dsdc"),
        (["--dataset", "/no/such/file.npz"], "/no/such/file.npz does not exist"),
        (["--output", str(PROGRAM)], "mnist_dsdc.py is a file; choose another --output"),
        (["--output", str(PROGRAM / "below")], "below: .*mnist_dsdc.py is a file; choose another"),
        (["--resume"], "holds no run to resume"),
    ],
)
def test_a_wrong_flag_is_one_clear_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert mnist_dsdc.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert re.search(message, printed.err)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_the_network_cannot_take_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def save(name, side, splits=("train", "test")):
        images, labels = np.zeros((200, side, side), np.uint8), np.arange(200) % 3
        arrays = {f"{split}_images": images for split in splits}
        np.savez(name, **arrays, **{f"{split}_labels": labels for split in splits})

    save("one.npz", 28, splits=("train",))
    save("large.npz", 32)
    assert mnist_dsdc.main(["--dataset", "./one.npz"]) == 2
    assert (
        "must have the splits train and test, received train (no test)" in capsys.readouterr().err
    )
    assert mnist_dsdc.main(["--dataset", "./large.npz", "--model", "mnist_tutorial"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "mnist_tutorial cannot take the 32x32x1 images of --dataset" in error
    assert not (tmp_path / "runs").exists()


def test_training_that_diverges_says_so(tmp_path, digits, capsys):
    options = {"dataset": digits, "learning_rate": 1e30, "weight_decay": 1e8}
    assert mnist_dsdc.main([*flags(tmp_path, **options), "--no-pictures"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "make learning_rate smaller" in error

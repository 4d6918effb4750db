"""Flags and data of a training program: what they mean, what is noted, what is refused."""

import dataclasses
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax import data
from tests.processes import ROOT

PROGRAM = ROOT / "experiments" / "mnist_dsdc.py"

sys.path.insert(0, str(PROGRAM.parent))
import cifar_dsdc  # noqa: E402
import mnist_dsdc  # noqa: E402
from common.classification import (  # noqa: E402
    layer_titles,
    make_examples,
    note_untrained_classes,
    windowed,
)
from common.experiment import make_experiment  # noqa: E402
from common.program import read_flags  # noqa: E402

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


TRAINED = ("train_images", "train_labels")


def status(arguments):
    """The exit status, also where tyro ends the program."""
    try:
        return mnist_dsdc.main(arguments)
    except SystemExit as stop:
        return stop.code


def experiment_of(dataset, **values):
    config = mnist_dsdc.Config(**{"model": "mnist_tutorial", "batch_size": 32} | values)
    dataset = mnist_dsdc.grey(data.load(dataset))
    examples = make_examples(config, dataset)
    return make_experiment(config, mnist_dsdc.JOB, examples, jax.devices())


def test_statistics_of_devices_make_their_number_part_of_the_run(digits):
    by_device = {"parallel": "pmap", "batch_statistics": "device", "devices": 2}
    assert experiment_of(digits, **by_device).identity(0)["devices"] == 2
    assert "devices" not in experiment_of(digits, parallel="pmap", devices=2).identity(0)


def test_kernel_dilation_is_a_flag(tmp_path, capsys):
    """Stem and pools see 6 pixels; a 3x3 block 2 more at its dilation and stride: 2, 4 after."""
    blocks = {"own": (1, 2, 1, 1, 2, 1, 2), "given": (3, 1, 1, 1, 1, 1, 2)}
    seen = {name: 6 + 2 * (2 * sum(d[:3]) + 4 * sum(d[3:])) for name, d in blocks.items()}
    for name, options in (("own", {}), ("given", {"kernel_dilation": blocks["given"]})):
        experiment = experiment_of("shapes", model="mnist_dsdc", limit=64, **options)

        def layers(images, create=experiment.network.create):
            module = create(jax.random.key(0))
            module.eval()
            return module.activations(images)

        titles = layer_titles(windowed(layers), jnp.ones((1, 28, 28, 1)))
        assert titles[-1] == f"separable_7\nsees {seen[name]} x {seen[name]}"
    (tmp_path / "config.json").write_text(json.dumps(experiment.config.as_json()))
    config = read_flags(mnist_dsdc.Config, ["--output", str(tmp_path), "--resume"])
    assert config.kernel_dilation == blocks["given"]
    for model, message in (
        ("mnist_dsdc", "7 layers"),
        ("mnist_tutorial", "cannot be"),
    ):
        flags = ["--dataset", "shapes", "--model", model, "--output", str(tmp_path / "run")]
        assert status([*flags, "--kernel-dilation", "1", "2"]) == 2
        error = capsys.readouterr().err
        assert message in error and "--kernel-dilation" in error and error.count("\n") == 1


def unboxed(text):
    """The text inside tyro's boxes, as one line."""
    return " ".join(re.sub(r"[│╭╮╰╯─|+]|-{3,}", " ", text).split())


def test_help_explains_every_flag(capsys):
    assert status(["--help"]) == 0
    text = unboxed(capsys.readouterr().out).replace("...", "")
    for field in dataclasses.fields(mnist_dsdc.Config):
        flag = "--" + field.name.replace("_", "-")
        # After the flag stands a sentence: a capital, words, a full stop.
        assert re.search(rf"{flag}\b[^.]*? [A-Z][^.]+ [^.]+\.", text), flag


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "many"], "--epochs: invalid literal for int"),
        (["--epochs", "-1"], "--epochs must be at least 1, got -1"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--seed", "-3"], "--seed must be 0 or more, got -3"),
        (["--seed", "9999999999"], "--seed must be below 4,294,967,296, got 9999999999"),
        (["--epochs", "9999999999"], "^--epochs must be at most 2147483647, got 9999999999"),
        (
            ["--mixup", "1", "--batch-size", "31"],
            "--batch-size must be a multiple of 2, got 31; try",
        ),
        (
            ["--mixup", "1", "--batch-size", "6", "--parallel", "pmap", "--devices", "2"],
            "--mixup blends pairs, so --batch-size must be a multiple of 4, got 6; try 8",
        ),
        (["--learning-rate", "nan"], "--learning-rate must be positive, got nan"),
        (["--weight-decay", "-1"], "--weight-decay must be 0 or more, got -1.0"),
        (["--ema-decay", "1"], "--ema-decay must be at least 0 and below 1, got 1.0"),
        (["--label-smoothing", "2"], "--label-smoothing must be at least 0 and below 1"),
        (["--rotation", "-7"], "--rotation must be 0 or more, got -7.0"),
        (["--scale", "1"], "--scale must be at least 0 and below 1, got 1.0"),
        (["--validation", "60000"], "--validation must leave training images, got 60000"),
        (
            ["--limit", "64", "--batch-size", "65"],
            r"--batch-size must be from 1 to .* \(num_examples=64\), got",
        ),
        (["--device", "abacus"], "invalid choice 'abacus' for argument '--device'"),
        (["--device", "tpu"], "^--device must be one that JAX finds here .*'tpu'"),
        (["--evaluate", "worst"], "invalid choice 'worst' for argument '--evaluate'"),
        (["--evaluate", "best"], "--evaluate must be final or ema without held-out images"),
        (["--accumulate", "0"], "--accumulate must be at least 1, got 0"),
        (["--devices", "64"], "^--devices must be at most 2, got 64"),
        (
            ["--devices", "2", "--batch-size", "33"],
            "^--batch-size must be a multiple of 2 .*; try 32 or 34",
        ),
        (["--batch-statistics", "device"], "--batch-statistics must be global with --parallel jit"),
        (["--shard-optimizer", "--parallel", "pmap"], "--shard-optimizer must be left out with"),
        (
            ["--distributed", "--coordinator", "here"],
            "--coordinator must be host:port, with a port",
        ),
        (
            ["--distributed", "--coordinator", "here:99999"],
            "--coordinator must be host:port, with a",
        ),
        (["--processes", "2"], "--processes must be given together with --coordinator, got 2"),
        (["--process", "1"], "--process must be given together with --coordinator, got 1"),
        (
            ["--rotation", "1e9"],
            "^--rotation must be 0 or more .* at most 16777216, got 1000000000",
        ),
        (["--coordinator", "here:1"], "--coordinator must be given together with --distributed"),
        (
            ["--distributed", "--coordinator", "here:1", "--processes", "2", "--process", "2"],
            "^--process must be from 0 to processes - 1, got 2 of 2 processes",
        ),
        (["--distributed"], "no cluster is found .*; give coordinator, processes and process"),
        (
            ["--epocs", "3"],
            r"^--epocs is no flag; did you mean --epochs.*\? --help lists all flags",
        ),
        (["--kernel-dilation", "0"], r"--kernel-dilation must be positive integers, got \(0,\)"),
        (
            ["--model", "mnist_dsdd"],
            "^--model must be .*, got 'mnist_dsdd'; did you mean mnist_dsdc",
        ),
        (["--dataset", "/no/such/file.npz"], "/no/such/file.npz does not exist"),
        (["--output", str(PROGRAM)], "mnist_dsdc.py is a file; choose another --output"),
        (["--output", str(PROGRAM / "below")], "below: .*mnist_dsdc.py is a file; choose another"),
        (["--resume"], "holds no run to resume"),
    ],
)
def test_a_wrong_flag_is_named(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert status(arguments) == 2
    printed = capsys.readouterr()
    assert not printed.out or printed.out.startswith("loading ")
    assert re.search(message, unboxed(printed.err))
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_the_network_cannot_take_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def save(name, side, splits=("train", "test"), tested=200):
        arrays = {}
        for split in splits:
            count = tested if split == "test" else 200
            arrays[f"{split}_images"] = np.zeros((count, side, side), np.uint8)
            arrays[f"{split}_labels"] = np.arange(count) % 3
        np.savez(name, **arrays)

    save("one.npz", 28, splits=("train",))
    save("large.npz", 32)
    save("empty.npz", 28, tested=0)
    assert mnist_dsdc.main(["--dataset", "./empty.npz"]) == 2
    assert "--dataset empty must have test images, got none" in capsys.readouterr().err
    save("untrained.npz", 28)
    arrays = dict(np.load("untrained.npz"))
    np.savez("untrained.npz", **arrays | {name: arrays[name][:0] for name in TRAINED})
    assert mnist_dsdc.main(["--dataset", "./untrained.npz"]) == 2
    error = capsys.readouterr().err
    assert "--dataset untrained must have train images, got none" in error
    assert mnist_dsdc.main(["--dataset", "./one.npz"]) == 2
    assert (
        "must have the splits train and test, got train (without test)" in capsys.readouterr().err
    )
    assert mnist_dsdc.main(["--dataset", "./large.npz", "--model", "mnist_tutorial"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "mnist_tutorial cannot take the 32x32x1 examples of --dataset" in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("program", "channels", "converted"),
    [(mnist_dsdc, 4, 3), (mnist_dsdc, 2, 1), (cifar_dsdc, 4, 3), (cifar_dsdc, 1, 3)],
)
def test_other_channels_are_refused_with_the_code_that_converts_them(
    tmp_path, capsys, program, channels, converted
):
    """What is transparent becomes white, what is opaque stays, and grey is repeated."""
    images = np.full((64, 28, 28, channels), 100, np.uint8)
    if channels in (2, 4):
        images[..., -1] = np.where(np.arange(28) < 14, 0, 255)
    arrays = {"y_train": np.arange(64) % 2, "x_test": images, "y_test": np.arange(64) % 2}
    np.savez(tmp_path / "own.npz", x_train=images, **arrays)
    flags = ["--dataset", str(tmp_path / "own.npz"), "--output", str(tmp_path / "run")]
    assert program.main(flags) == 2
    error = capsys.readouterr().err
    assert (
        f"--dataset own must have images (N, H, W, {program.Config.channels}), got (N, 28" in error
    )
    code = error.partition("convert them by ")[2].strip().removesuffix(".")
    images = eval(code, {"images": images})
    assert (images.dtype, images.shape[-1]) == (np.uint8, converted)
    assert set(images[:, :, 14:].ravel()) == {100}
    assert set(images[:, :, :14].ravel()) == ({100} if channels == 1 else {255})


def test_classes_that_are_tested_and_never_trained_are_named(capsys):
    images, labels = np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 0, 1, 1], np.int32)
    splits = {"train": data.Split(images, 0 * labels), "test": data.Split(images, labels)}
    note_untrained_classes(data.Dataset("x", splits, ("cat", "dog"), source="here"))
    assert capsys.readouterr().err.endswith("test images of classes without training images: dog\n")


@pytest.mark.parametrize(
    ("devices", "said"),
    [(0, "of 2 devices; all compute if it is a multiple of 2, such as 30 or 32"), (1, "")],
)
def test_idle_devices_are_noted_unless_asked_for(digits, capsys, devices, said):
    experiment_of(digits, batch_size=31, devices=devices)
    assert said in capsys.readouterr().err
    experiment_of(digits, batch_size=32)
    assert capsys.readouterr().err == ""

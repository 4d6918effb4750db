"""The CIFAR program on drawn shapes: it trains, records, and refuses what no run can have."""

import json
import re

import cifar_dsdc
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common.program import read_flags
from common.run import layer_titles, restore, windowed
from common.task import Task
from flax import nnx
from safetensors.numpy import save as safetensors

from dilax import data, models
from dilax.models import _vgg
from dilax.training.plan import Plan

RECIPE = (
    *(
        "--optimizer",
        "muon",
        "--decay",
        "mixing",
        "--schedule",
        "cosine",
        "--clip-norm",
        "1",
        "--mixup",
        "0.2",
    ),
    *("--label-smoothing", "0.1", "--test-flips", "--evaluate", "ema"),
    *("--flip", "alternating", "--rotation", "5", "--cutout", "4"),
)


def test_a_short_run_leaves_its_record(tmp_path, capsys, compile_quickly):
    output = tmp_path / "run"
    flags = ["--dataset", "shapes", "--model", "keras_separable", "--epochs", "2"]
    flags += ["--limit", "512", "--no-pictures", "--output", str(output)]
    assert cifar_dsdc.main([*flags, *RECIPE]) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert summary["model"] == "keras_separable"
    assert summary["parameters"] == 45_866
    assert 0 <= summary["test_accuracy"] <= 1
    assert summary["config"]["test_flips"] and summary["config"]["optimizer"] == "muon"
    assert "test accuracy" in capsys.readouterr().out
    before = (output / "metrics.jsonl").read_text()
    assert cifar_dsdc.main(["--resume", "--output", str(output)]) == 0
    assert (output / "metrics.jsonl").read_text() == before


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file of parameters that fit VGG16, were it an eighth as wide; and now it is."""
    monkeypatch.setattr(models.VGG16Dilated, "WIDTHS", (8, 16, 32, 64, 64))
    random, arrays = np.random.default_rng(0), {}
    network = nnx.eval_shape(lambda: models.VGG16Dilated(rngs=nnx.Rngs(0)))
    for name, param in network._torch_params().items():
        shape = _vgg._torch_shape(param.shape)
        arrays[name] = 0.1 * random.standard_normal(shape, np.float32)
    path = tmp_path / "vgg16.safetensors"
    path.write_bytes(safetensors(arrays))
    return path


def test_published_parameters_are_tuned_but_for_the_frozen_blocks(
    published, tmp_path, compile_quickly
):
    output = tmp_path / "run"
    flags = ["--dataset", "shapes", "--model", "vgg16_dilated", "--epochs", "2", "--limit", "96"]
    flags += ["--validation", "32", "--batch-size", "32", "--evaluate", "best", "--devices", "1"]
    flags += ["--weights", str(published), "--freeze", "2", "--no-pictures"]
    assert cifar_dsdc.main([*flags, "--output", str(output)]) == 0
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    noted = {f"{part}_{what}" for part in ("train", "validation") for what in ("loss", "accuracy")}
    assert len(lines) == 2 and all(noted <= line.keys() for line in lines)
    assert json.loads((output / "summary.json").read_text())["weights"] == "best"
    config = read_flags(cifar_dsdc.Config, ["--resume", "--output", str(output)])
    dataset, devices = data.load("shapes"), jax.devices()
    task = Task.make(
        config, dataset, cifar_dsdc.augmentation, devices, tuning=cifar_dsdc.tune(config)
    )
    trained, arrays = restore(task), data.read_state_dict(published)
    for name, param in trained._torch_params().items():
        same = np.array_equal(_vgg._from_torch(arrays[name]), param[...])
        assert same == (int(name.split(".")[1]) < 10), name  # blocks 1 and 2, their pools counted


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--freeze", "2"], "--freeze must be with --weights"),
        (["--freeze", "6", "--weights", "x"], "--freeze must be 0 to 5, received 6"),
        (["--weights", "x", "--model", "dsdc"], "--model vgg16_dilated, received dsdc"),
        (["--weights", "no such file", "--model", "vgg16_dilated"], "no such file"),
    ],
)
def test_parameters_that_cannot_be_taken_are_one_clear_line(flags, words, tmp_path, capsys):
    shapes = ["--dataset", "shapes", "--output", str(tmp_path / "run")]
    assert cifar_dsdc.main([*shapes, *flags]) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_parameters_of_another_network_are_refused_before_the_run(published, tmp_path, capsys):
    arrays = data.read_state_dict(published)
    published.write_bytes(safetensors({**arrays, "features.0.bias": np.zeros(3, np.float32)}))
    flags = ["--dataset", "shapes", "--model", "vgg16_dilated", "--weights", str(published)]
    assert cifar_dsdc.main([*flags, "--output", str(tmp_path / "run")]) == 2
    assert "features.0.bias has shape (3,), required (8,)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_help_lists_the_networks(capsys):
    with pytest.raises(SystemExit):
        cifar_dsdc.main(["--help"])
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert words >= {name for name in models.list_models() if not name.startswith("mnist_")}


def titles_of(name):
    @windowed
    def layers(images):
        module = models.create(name, rngs=nnx.Rngs(0))
        module.eval()
        return module.activations(images)

    return layer_titles(layers, jnp.ones((1, 32, 32, 3)))


def test_what_a_layer_sees_stands_beside_its_maps():
    assert titles_of("keras_dilated") == [
        "first\nsees 4 x 4",
        "second\nsees 10 x 10",
        "dilated\nsees 26 x 26",
    ]


@pytest.mark.parametrize("name", [name for name in models.list_models() if "mnist" not in name])
def test_the_layers_of_every_network_are_drawn_in_order(name):
    sizes = [int(title.split()[-1]) for title in titles_of(name)]
    assert len(sizes) > 2
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("flag", ["--crop", "--cutout"])
def test_a_negative_size_is_one_clear_line(flag, capsys):
    assert cifar_dsdc.main([flag, "-1"]) == 2
    assert f"{flag} must be 0 or more, received -1" in capsys.readouterr().err


def test_augmentation_shifts_mirrors_and_blanks(key):
    images = jax.random.randint(key, (64, 8, 8, 3), 1, 256).astype(jnp.uint8)

    def altered(step=0, **flags):
        off = {"crop": 0, "flip": "none", "cutout": 0}
        config = cifar_dsdc.Config(**{**off, **flags})
        augment = cifar_dsdc.augmentation(config, lambda x: x, Plan(100, 10, 2))
        return np.asarray(augment(key, images, jnp.int32(step)))

    same = np.asarray(images.astype("float32") / 255)
    np.testing.assert_array_equal(altered(), same)
    mirrored = altered(flip="random")
    whole = [np.array_equal(a, b) for a, b in zip(mirrored, same, strict=True)]
    turned = [np.array_equal(a, b[:, ::-1]) for a, b in zip(mirrored, same, strict=True)]
    assert all(a or b for a, b in zip(whole, turned, strict=True))
    assert 10 < sum(turned) < 54
    epochs = [altered(step, flip="alternating") for step in (0, 9, 10, 20)]
    np.testing.assert_array_equal(epochs[0], epochs[1])
    np.testing.assert_array_equal(epochs[0], epochs[2][:, :, ::-1])
    np.testing.assert_array_equal(epochs[0], epochs[3])
    assert 10 < sum(np.array_equal(a, b) for a, b in zip(epochs[0], same, strict=True)) < 54
    assert (altered(rotation=30) != same).any(axis=(1, 2, 3)).all()
    assert ((altered(cutout=4) != same).any(axis=-1).sum(axis=(1, 2)) <= 16).all()
    assert (altered(crop=2) == 0).any()

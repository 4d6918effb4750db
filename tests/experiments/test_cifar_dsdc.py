"""The CIFAR program on drawn shapes: recipes, published parameters, and wrong flags."""

import json
import re

import cifar_dsdc
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common.classification import layer_titles, make_examples, windowed
from common.experiment import make_experiment
from common.program import read_flags
from common.run import begin, on_device
from flax import nnx
from safetensors.numpy import save

from dilax import data, models
from dilax.models import _torch
from dilax.models._registry import MODELS
from dilax.training import Plan, Totals

RECIPE = (
    *("--optimizer", "muon", "--decay", "mixing", "--schedule", "cosine", "--clip-norm", "1"),
    *("--mixup", "0.2", "--label-smoothing", "0.1", "--test-flips", "--evaluate", "ema"),
    *("--flip", "alternating", "--rotation", "5", "--cutout", "4"),
)


def status(arguments):
    """The exit status, also where tyro ends the program."""
    try:
        return cifar_dsdc.main(arguments)
    except SystemExit as stop:
        return stop.code


def unboxed(text):
    """The text inside tyro's boxes, as one line."""
    return " ".join(re.sub(r"[│╭╮╰╯─|+]|-{3,}", " ", text).split())


def shapes_of_a_call(experiment):
    """Shapes of what the training steps return for one batch; nothing is computed."""
    _, state = begin(experiment, 0)
    rows = jnp.zeros((1, experiment.config.batch_size), jnp.int32)
    return jax.eval_shape(
        experiment.train_steps,
        state,
        Totals.zero(experiment.task),
        on_device(experiment.examples.train),
        rows,
    )


@pytest.mark.long
def test_a_recipe_fits_together():
    flags = ["--dataset", "shapes", "--model", "keras_separable", "--limit", "128", *RECIPE]
    config = read_flags(cifar_dsdc.Config, flags)
    examples = make_examples(config, data.load("shapes"))
    experiment = make_experiment(config, cifar_dsdc.JOB, examples, jax.devices())
    state, totals = shapes_of_a_call(experiment)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == 45_866
    assert totals.loss.shape == ()
    momenta = [leaf.shape for leaf in jax.tree.leaves(state.opt_state)]
    assert momenta.count((3, 3, 1, 32)) == 2  # AdamW keeps two of a depthwise kernel
    assert momenta.count((3, 3, 3, 32)) == 1  # Muon keeps one of a kernel that mixes


@pytest.mark.long
def test_a_short_run_leaves_its_record(tmp_path, capsys, compile_quickly):
    model, parameters = "keras_separable", 45_866
    output = tmp_path / "run"
    flags = ["--dataset", "shapes", "--model", model, "--epochs", "2"]
    flags += ["--limit", "256", "--no-pictures", "--output", str(output)]
    assert cifar_dsdc.main([*flags, *RECIPE]) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert summary["model"] == model
    assert summary["parameters"] == parameters
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
        shape = _torch.torch_shape(param.shape)
        arrays[name] = 0.1 * random.standard_normal(shape, np.float32)
    path = tmp_path / "vgg16.safetensors"
    path.write_bytes(save(arrays))
    return path


FREEZE = ["--dataset", "shapes", "--model", "vgg16_dilated", "--limit", "128", "--freeze", "2"]


def frozen(name):
    """Whether a parameter belongs to block 1 or 2."""
    return int(name.split(".")[1]) < 10


def test_two_blocks_of_published_parameters_stay(published):
    """By their names in the file; the optimiser then keeps nothing for them."""
    config = read_flags(cifar_dsdc.Config, [*FREEZE, "--weights", str(published)])
    tuning = cifar_dsdc.tune(config)
    examples = make_examples(config, data.load("shapes"), tuning)
    experiment = make_experiment(config, cifar_dsdc.JOB, examples, jax.devices(), tuning=tuning)
    network = nnx.eval_shape(lambda: models.VGG16Dilated(rngs=nnx.Rngs(0)))
    moving = [p.shape for name, p in network._torch_params().items() if not frozen(name)]
    moving += [p.shape for p in jax.tree.leaves(nnx.to_pure_dict(nnx.state(network.head)))]
    kept = jax.eval_shape(experiment.recipe.optimizer.init, experiment.network.functional.params)
    shapes = [leaf.shape for leaf in jax.tree.leaves(kept) if leaf.ndim]
    assert sorted(shapes) == sorted(2 * moving)  # two moments of AdamW
    assert (examples.preparation.mean, examples.preparation.std) == (_torch.MEAN, _torch.STD)


@pytest.mark.long
def test_published_parameters_are_tuned_but_for_the_frozen_blocks(
    published, tmp_path, compile_quickly
):
    output = tmp_path / "run"
    flags = [*FREEZE, "--weights", str(published), "--epochs", "2", "--no-pictures"]
    flags += ["--validation", "32", "--batch-size", "32", "--evaluate", "best", "--devices", "1"]
    assert cifar_dsdc.main([*flags, "--output", str(output)]) == 0
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    noted = {f"{part}_{what}" for part in ("train", "validation") for what in ("loss", "accuracy")}
    assert len(lines) == 2 and all(noted <= line.keys() for line in lines)
    assert json.loads((output / "summary.json").read_text())["weights"] == "best"
    trained, arrays = models.load(output).network, data.read_state_dict(published)
    for name, param in trained._torch_params().items():
        same = np.array_equal(_torch.from_torch(arrays[name]), param[...])
        assert same == frozen(name), name


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--freeze", "2"], "--freeze must be given with --weights"),
        (["--freeze", "6", "--weights", "x"], "--freeze must be 0 to 5, got 6"),
        (["--weights", "x", "--model", "dsdc"], "--model vgg16_dilated, got dsdc"),
        (["--weights", "no such file", "--model", "vgg16_dilated"], "no such file"),
    ],
)
def test_parameters_that_cannot_be_taken_are_refused(flags, words, tmp_path, capsys):
    shapes = ["--dataset", "shapes", "--output", str(tmp_path / "run")]
    assert status([*shapes, *flags]) == 2
    assert words in unboxed(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_parameters_of_another_network_are_refused_before_the_run(published, tmp_path, capsys):
    arrays = data.read_state_dict(published)
    published.write_bytes(save({**arrays, "features.0.bias": np.zeros(3, np.float32)}))
    flags = ["--dataset", "shapes", "--model", "vgg16_dilated", "--weights", str(published)]
    assert cifar_dsdc.main([*flags, "--output", str(tmp_path / "run")]) == 2
    assert "features.0.bias must have shape (8,), got (3,)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


NETWORKS = [
    name
    for name in models.list_models()
    if "mnist" not in name and issubclass(MODELS[name], models.Classifier)
]


def test_the_help_lists_the_networks(capsys):
    assert status(["--help"]) == 0
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert words >= set(NETWORKS) - {"mobilenet_v2"}  # that of transfer.py


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


SHORT = ("ds_dcn",)


@pytest.mark.parametrize(
    "name", [n if n in SHORT else pytest.param(n, marks=pytest.mark.long) for n in NETWORKS]
)
def test_the_layers_of_every_network_are_drawn_in_order(name):
    sizes = [int(title.split()[-1]) for title in titles_of(name)]
    assert len(sizes) > 2
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("flag", ["--crop", "--cutout"])
def test_a_size_that_leaves_nothing_of_an_image_is_refused(flag, tmp_path, capsys):
    given = ["--dataset", "shapes", "--limit", "128", "--output", str(tmp_path / "run")]
    assert cifar_dsdc.main([*given, flag, "32"]) == 2
    assert capsys.readouterr().err == f"{flag} must be below 32, the images' side, got 32.\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--crop", "--cutout"])
def test_a_negative_size_is_refused(flag, capsys):
    assert status([flag, "-1"]) == 2
    assert f"{flag} must be 0 or more, got -1" in unboxed(capsys.readouterr().err)


def test_augmentation_shifts_mirrors_and_blanks(key, compile_quickly):
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

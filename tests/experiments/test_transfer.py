"""Fine-tuning a published network: its head first, then all layers, on a folder of pictures."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
import transfer
from common import heads
from common.program import read_flags
from flax import nnx
from safetensors.numpy import save

from dilax import data, models
from dilax.models import _torch
from dilax.models._mobilenet import Group
from dilax.training import Batch, Plan
from tests.data import files

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")
SMALL = (Group(1, 8, 1, 1), Group(2, 8, 1, 2))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file of parameters that fit MobileNetV2, had it two blocks; and now it has."""
    monkeypatch.setattr(models.MobileNetV2, "GROUPS", SMALL)
    network = nnx.eval_shape(lambda: models.MobileNetV2(rngs=nnx.Rngs(0)))
    draw, arrays = np.random.default_rng(0), {}
    for name, variable in network._torch_variables().items():
        shape = _torch.torch_shape(variable.shape)
        uniform = draw.uniform(0.5, 1.5, shape)
        arrays[name] = np.float32(draw.normal(size=shape) if len(shape) > 1 else uniform)
    path = tmp_path / "published.safetensors"
    path.write_bytes(save(arrays))
    return path


@pytest.fixture
def animals(tmp_path):
    return files.write_pictures(tmp_path / "animals", {"cat": 25, "dog": 25})


def status(arguments):
    """The exit status, also where tyro ends the program."""
    try:
        return transfer.main(arguments)
    except SystemExit as stop:
        return stop.code


def flags(animals, published, output, *more):
    given = ["--dataset", str(animals), "--weights", str(published), "--output", str(output)]
    given += ["--size", "16", "--epochs", "2", "--batch-size", "16", "--no-pictures"]
    return [*given, "--head-epochs", "100", *more]


@pytest.mark.parametrize("rate", ["0.1", pytest.param("0", marks=pytest.mark.long)])
def test_a_folder_is_learned_with_published_statistics(rate, animals, published, tmp_path):
    output = tmp_path / "run"
    more = ["--backbone-rate", rate, "--validation", "8", "--evaluate", "best"]
    assert transfer.main(flags(animals, published, output, *more)) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert summary["test_accuracy"] > 0.8  # their brightness tells them apart
    trained, arrays = models.load(output), data.read_state_dict(published)
    assert trained.description.preparation.image_shape == (16, 16, 3)
    assert trained.description.options == {"output_stride": 32}
    for name, variable in trained.network._torch_variables().items():
        if not name.startswith("classifier"):
            same = np.array_equal(_torch.from_torch(arrays[name]), variable[...])
            assert same == (rate == "0" or "running" in name), name
    found = trained.predict(animals)
    right = [
        path.parent.name == name for path, name in zip(found.paths, found.classes, strict=True)
    ]
    assert np.mean(right) > 0.8


class Bright(nnx.Module):
    """Features of images that a line can tell apart, and a head."""

    def __init__(self):
        self.scale = nnx.Param(jnp.ones(()))
        self.head = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

    def activations(self, images):
        left = images[:, :, :2].mean((1, 2, 3))
        return {"mean": self.scale * jnp.stack([left, images.mean((1, 2, 3))], axis=-1)}


def test_the_head_alone_is_trained():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 130)
    images = draw.integers(0, 100, (130, 4, 4, 1), np.uint8) + 100 * labels[:, None, None, None]
    module = Bright()
    heads.fit_head(
        module,
        lambda images: images / 255.0 - 0.5,
        Batch(images.astype(np.uint8), labels.astype(np.int32)),
        epochs=40,
        learning_rate=0.1,
        mirrored=True,
        seed=0,
    )
    features = module.activations(images / 255.0 - 0.5)["mean"]
    assert float((module.head(features).argmax(-1) == labels).mean()) > 0.97
    assert float(module.scale[...]) == 1


def test_features_of_mirror_images_follow_and_no_padding_is_left():
    images = np.random.default_rng(0).integers(0, 256, (103, 4, 4, 1), np.uint8)
    found = heads.features_of(Bright(), lambda images: images / 255.0, images, mirrored=True)
    both = np.concatenate([images, images[:, :, ::-1]]) / np.float32(255)
    np.testing.assert_allclose(found, Bright().activations(both)["mean"], rtol=1e-5)


def test_images_are_resized_and_normalised_as_published():
    preparation = models.Preparation(height=12, width=12, mean=_torch.MEAN, std=_torch.STD)
    prepare = transfer.resized(preparation)
    small = jnp.full((1, 6, 6, 3), 51, jnp.uint8)
    expected = (0.2 - np.array(_torch.MEAN)) / np.array(_torch.STD)
    for images in (small, small / 255, jnp.full((1, 12, 12, 3), 51, jnp.uint8)):
        seen = prepare(images)
        assert seen.shape == (1, 12, 12, 3)
        np.testing.assert_allclose(seen[0, 3, 4], expected, rtol=1e-4)


def test_images_are_mirrored_and_shifted_and_their_border_repeats(key):
    images = jnp.tile(jnp.arange(8, dtype=jnp.uint8)[None, None, :, None] * 10, (64, 8, 1, 3))
    augment = transfer.augmentation(transfer.Config(crop=0.25), lambda x: 255 * x, Plan(64, 8, 1))
    rows = np.asarray(augment(key, images, jnp.int32(0)))[:, 0, :, 0].round()
    line = np.pad(np.arange(8) * 10, 2, mode="edge")
    shifts = [line[first : first + 8] for first in range(5)]
    possible = {tuple(row) for shift in shifts for row in (shift, 70 - shift)}
    assert {tuple(row) for row in rows.astype(int).tolist()} == possible
    still = transfer.augmentation(transfer.Config(crop=0, flip=False), lambda x: x, Plan(64, 8, 1))
    np.testing.assert_allclose(still(key, images, jnp.int32(0)), images / 255, rtol=1e-6)


def test_cifar10_is_limited_and_folders_are_not():
    assert read_flags(transfer.Config, []).limit == 5000
    assert read_flags(transfer.Config, ["--limit", "50000"]).limit == 50_000
    assert read_flags(transfer.Config, ["--dataset", "./flowers"]).limit == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--model", "dsdc"], "--model must be mobilenet_v2, got dsdc"),
        (["--backbone-rate", "2"], "--backbone-rate must be 0 to 1, got 2"),
        (["--crop", "0.7"], "--crop must be 0 to 0.5, got 0.7"),
        (["--head-rate", "0"], "--head-rate must be positive, got 0"),
        (["--weights", "nowhere.pth"], "got nowhere.pth, which is not there; get it by: python"),
    ],
)
def test_wrong_flags_are_refused(given, words, tmp_path, capsys):
    shapes = ["--dataset", "shapes", "--output", str(tmp_path / "run")]
    assert status([*shapes, *given]) == 2
    text = re.sub(r"[│╭╮╰╯─|+]|-{3,}", " ", capsys.readouterr().err)
    assert words in " ".join(text.split())
    assert not (tmp_path / "run").exists()


def test_parameters_of_another_network_are_refused_before_the_run(
    animals, published, tmp_path, capsys
):
    arrays = data.read_state_dict(published)
    published.write_bytes(save({**arrays, "features.0.1.bias": np.zeros(3, np.float32)}))
    assert transfer.main(flags(animals, published, tmp_path / "run")) == 2
    assert "features.0.1.bias must have shape (32,), got (3,)" in capsys.readouterr().err

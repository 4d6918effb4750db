"""The program that removes channels, and the training that follows."""

import json

import mnist_dsdc
import prune
import pytest

from dilax import models

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A file of a network, not trained, for digits."""
    preparation = models.Preparation(height=12, width=12, mean=(0.1,), std=(0.3,))
    description = models.Description(
        model="mnist_dsdc", class_names=tuple("0123456789"), preparation=preparation
    )
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    models.save(models.TrainedClassifier(description.create(), description), path)
    return path


@pytest.mark.long
def test_a_pruned_network_is_trained_on_resumed_and_used(network, small_digits, tmp_path, capsys):
    small, run = tmp_path / "small.safetensors", tmp_path / "run"
    given = [str(network), str(small), "--dataset", str(small_digits), "--images", "50"]
    assert prune.main(given) == 0
    out = capsys.readouterr().out
    assert (
        "| before | 7,938 |" in out and f"train it on with --model mnist_dsdc --init {small}" in out
    )
    widths = models.load(small).description.options["widths"]
    flags = ["--dataset", str(small_digits), "--epochs", "1", "--batch-size", "32", "--no-pictures"]
    assert mnist_dsdc.main([*flags, "--init", str(small), "--output", str(run)]) == 0
    assert f"the run starts from the weights of {small}" in capsys.readouterr().err
    assert json.loads((run / "summary.json").read_text())["parameters"] < 3000
    assert models.load(run).description.options["widths"] == widths
    small.unlink()
    assert mnist_dsdc.main(["--resume", "--output", str(run), "--no-pictures"]) == 0
    other = [*flags, "--init", str(run), "--output", str(tmp_path / "again")]
    assert mnist_dsdc.main(other) == 0
    assert models.load(tmp_path / "again").description.options["widths"] == widths


def test_a_network_that_is_not_there_is_named(capsys):
    assert prune.main(["nowhere", "small.safetensors"]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, message",
    [
        (["nowhere", "small.npz"], "must end in .safetensors, got small.npz"),
        (["nowhere", "small.safetensors", "--images", "0"], "--images must be at least 1, got 0"),
    ],
)
def test_wrong_flags(flags, message, capsys):
    with pytest.raises(SystemExit):
        prune.main(flags)
    assert message in " ".join(capsys.readouterr().err.split())


def test_images_of_another_shape_are_refused(network, tmp_path, capsys):
    assert prune.main([str(network), str(tmp_path / "small.safetensors")]) == 2
    assert "images must have shape (N, 12, 12, 1), got (6000, 28, 28, 1)" in capsys.readouterr().err
    assert not (tmp_path / "small.safetensors").exists()

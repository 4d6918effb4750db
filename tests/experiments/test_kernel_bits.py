"""Runs whose kernels are rounded while they train (``--kernel-bits``)."""

import json
import shutil

import mnist_dsdc
import numpy as np
import pytest

from dilax import data, models, training
from dilax.training import round_kernels
from tests.training.network import assert_close_trees, assert_equal_trees

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def run(folder, digits, *flags):
    given = ["--model", "mnist_tutorial", "--dataset", str(digits), "--batch-size", "32"]
    given += ["--epochs", "2", "--kernel-bits", "4", "--learning-rate", "0.005", "--no-pictures"]
    assert mnist_dsdc.main([*given, "--output", str(folder), *flags]) == 0
    return json.loads((folder / "summary.json").read_text())


def test_a_run_gives_a_network_of_rounded_kernels(tmp_path, digits):
    """A network of the record's accuracy, which a file keeps as it is."""
    folder, file = tmp_path / "run", tmp_path / "network.safetensors"
    summary = run(folder, digits)
    model = models.load(folder)
    params, stats = training.read_trained(folder).weights
    _, loaded, loaded_stats = training.functional(model.network)
    assert_close_trees(loaded, round_kernels(params, bits=4), rtol=1e-6)
    assert_equal_trees(loaded_stats, stats)
    assert not np.allclose(loaded["head"]["kernel"], params["head"]["kernel"], atol=1e-4)
    test = data.load(digits).splits["test"]
    accuracy = np.mean(model.predict(test.images).labels == test.labels)
    assert accuracy == pytest.approx(summary["test_accuracy"])
    models.save(model, file)
    assert_equal_trees(training.functional(models.load(file).network)[1], loaded)
    assert models.load(file).description.kernel_bits == 4


@pytest.mark.long
def test_a_run_resumed_after_its_first_epoch_is_the_unbroken_run(tmp_path, digits):
    folder = tmp_path / "run"
    summary, unbroken = run(folder, digits), training.read_trained(folder)
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / training.CHECKPOINTS_FOLDER / str(unbroken.step))
    assert training.read_trained(folder).step == unbroken.step // 2
    assert mnist_dsdc.main(["--resume", "--output", str(folder), "--no-pictures"]) == 0
    assert_equal_trees(training.read_trained(folder).weights, unbroken.weights)
    again = json.loads((folder / "summary.json").read_text())
    assert again["test_accuracy"] == summary["test_accuracy"]


@pytest.mark.long
def test_devices_change_nothing(tmp_path, digits):
    one = run(tmp_path / "one", digits, "--devices", "1")
    for way in ("jit", "pmap"):
        two = run(tmp_path / way, digits, "--devices", "2", "--parallel", way)
        assert two["devices"] == 2
        weights = [training.read_trained(tmp_path / name).weights for name in ("one", way)]
        assert_close_trees(*weights, rtol=1e-3, atol=1e-4)
        assert two["test_accuracy"] == pytest.approx(one["test_accuracy"], abs=0.02)


def test_a_number_of_bits_out_of_range_is_refused(capsys):
    with pytest.raises(SystemExit):
        mnist_dsdc.main(["--kernel-bits", "1"])
    assert "--kernel-bits must be 0 or from 2 to 16, got 1" in " ".join(
        capsys.readouterr().err.split()
    )

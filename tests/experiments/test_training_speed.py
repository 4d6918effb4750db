"""The race of training steps of networks: its contestants train, and a race leaves a record."""

import json

import pytest
import training_speed
from baselines import keras_networks

from dilax import models
from dilax.analysis import parameter_count
from tests.experiments.test_accelerate_speed import tiny

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def test_a_race_takes_turns_and_leaves_a_record(monkeypatch, tmp_path, capsys):
    calls = []

    def line_up(steps):
        assert steps == 3
        names = (training_speed.BASE, "PyTorch")
        return {name: lambda name=name: calls.append(name) for name in names}

    nothing = training_speed.Race("nothing", (4, 8, 8, 1), line_up)
    monkeypatch.setitem(training_speed.NETWORKS, "nothing", nothing)
    output = tmp_path / "record.json"
    flags = f"--networks nothing --rounds 2 --steps 3 --output {output}"
    assert training_speed.main(flags.split()) == 0
    assert calls == [training_speed.BASE, "PyTorch"] * 3
    (row,) = json.loads(output.read_text())["rows"].values()
    assert row["contestants"][training_speed.BASE]["ratio"]["median"] == 1
    assert row["contestants"]["PyTorch"]["milliseconds"]["n"] == 2
    assert "| nothing | 4 of 8x8 | 0.0 |  |" in capsys.readouterr().out


def test_an_unknown_network_is_an_error(capsys):
    assert training_speed.main(["--networks", "resnet"]) == 2
    assert "must be among" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "images", "twin"),
    [
        ("tcn_dsdc", (2, 20, 40), "tcn_dense"),
        pytest.param("unet_dsdc", (2, 16, 16, 1), "unet_dense", marks=pytest.mark.long),
        pytest.param("video_dsdc", (2, 4, 16, 16, 1), "video_dense", marks=pytest.mark.long),
        pytest.param("mnist_dsdc", (2, 28, 28, 1), "", marks=pytest.mark.long),
    ],
)
def test_networks_of_dilax_and_their_twins_take_steps(name, images, twin):
    turns = training_speed.own(name, images, twin=twin).line_up(2)
    assert [*turns] == [training_speed.BASE, *["dense twin"] * bool(twin)]
    states = [turn() for turn in turns.values()]
    assert all(int(state.step) == 2 for state in states)


def test_networks_of_keras_are_accelerated_and_as_they_are(monkeypatch):
    pytest.importorskip("torch", reason="the torch extra is not installed")
    monkeypatch.setattr(keras_networks, "mobilenet", tiny)
    monkeypatch.setattr("baselines.pytorch_networks.mobilenet", lambda: torch_tiny())
    turns = training_speed.keras("tiny", "mobilenet", (2, 6, 6, 3)).line_up(1)
    assert [*turns] == [training_speed.BASE, "stock JAX", "PyTorch"]
    losses = [float(turns[name]()) for name in (training_speed.BASE, "stock JAX")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    turns["PyTorch"]()


def torch_tiny():
    """A linear layer of the colours' means."""
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))


@pytest.mark.parametrize("name", ["mnist_dsdc", "dsdc"])
def test_networks_in_pytorch_have_the_parameters_of_ours(name):
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from baselines import pytorch_networks
    from flax import nnx

    theirs = getattr(pytorch_networks, name)()
    ours = nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0)))
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert count == parameter_count(nnx.state(ours, nnx.Param))

"""The race of training steps: the baselines are the same network, and a race leaves a record."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import step_speed
from baselines.stock_flax import StockMnistDSDC
from flax import nnx

from dilax import models
from dilax.analysis import multiply_adds, parameter_count

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


@pytest.fixture(scope="module")
def model():
    """Our network with parameters and statistics that no initialiser gives."""
    model = models.create("mnist_dsdc", rngs=nnx.Rngs(0))
    arrays = nnx.to_pure_dict(nnx.state(model))
    leaves, structure = jax.tree.flatten(arrays)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [
        0.5 + jax.random.uniform(key, leaf.shape) if leaf.ndim == 1 else leaf
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    state = nnx.state(model)
    nnx.replace_by_pure_dict(state, jax.tree.unflatten(structure, drawn))
    nnx.update(model, state)
    return model


def test_stock_flax_is_the_same_network(key, model):
    stock = StockMnistDSDC(model)
    images = jax.random.normal(key, (2, 28, 28, 1))
    for network in (model, stock):
        network.eval()
    np.testing.assert_allclose(stock(images), model(images), rtol=1e-3, atol=1e-3)
    for count in (lambda m: parameter_count(nnx.state(m, nnx.Param)),
                  lambda m: multiply_adds(m, images)):  # fmt: skip
        assert count(stock) == count(model)


def test_pytorch_is_the_same_network(key, model):
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    from baselines.pytorch import TorchMnistDSDC, tensor

    baseline = TorchMnistDSDC(model).eval()
    images = jax.random.normal(key, (2, 28, 28, 1))
    model.eval()
    with torch.no_grad():
        logits = baseline(tensor(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(logits, model(images), rtol=1e-3, atol=1e-3)


def test_a_race_takes_turns_and_leaves_a_record(monkeypatch, tmp_path, capsys):
    """With contestants that cost nothing; those of the real race are built in the test above."""
    calls = []
    monkeypatch.setattr(
        step_speed,
        "line_up",
        lambda *_: (
            {
                name: lambda name=name: calls.append(name)
                for name in ("dilax, in a scan", "baseline")
            },
            {"dilax, in a scan": [3.0, 3.0], "stock Flax, in a scan": [2.0, 1.0]},
        ),
    )
    output = tmp_path / "record.json"
    assert step_speed.main(["--rounds", "2", "--steps", "3", "--output", str(output)]) == 0
    assert calls == ["dilax, in a scan", "baseline"] * 3
    record = json.loads(output.read_text())
    assert record["contestants"]["dilax, in a scan"]["ratio"]["median"] == 1
    compiling = record["contestants"]["dilax, in a scan"]["compile_seconds"]
    assert (compiling["median"], compiling["of_stock"]["median"]) == (3, 2.25)
    assert record["contestants"]["baseline"]["milliseconds"]["n"] == 2
    assert record["contestants"]["baseline"]["compile_seconds"] is None
    assert {"device", "versions", "rounds", "steps", "git_commit"} <= record.keys()
    assert "baseline" in capsys.readouterr().out


def test_both_forms_of_a_step_train(model):
    images, labels = jnp.ones((2, 28, 28, 1)), jnp.zeros(2, jnp.int32)
    states = []
    for build in (step_speed.one_by_one, step_speed.scanned):
        run, seconds = build(model, images, labels, 2)
        states.append(run())
        assert seconds > 0
    assert int(states[0].step) == int(states[1].step) == 2
    for one, other in zip(
        jax.tree.leaves(states[0].params), jax.tree.leaves(states[1].params), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)

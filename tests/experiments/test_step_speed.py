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


@pytest.mark.long
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
    """Contestants here do nothing; the tests above build the real ones."""
    calls = []
    names = (step_speed.BASE, "baseline")
    contestants = {name: lambda name=name: calls.append(name) for name in names}
    monkeypatch.setattr(step_speed, "line_up", lambda *_: contestants)
    output = tmp_path / "record.json"
    assert step_speed.main(["--rounds", "2", "--steps", "3", "--output", str(output)]) == 0
    assert calls == [*names] * 3
    record = json.loads(output.read_text())
    assert record["contestants"][step_speed.BASE]["ratio"]["median"] == 1
    assert record["contestants"]["baseline"]["milliseconds"]["n"] == 2
    assert {"config", "device", "versions", "git_commit"} <= record.keys()
    assert "| baseline |" in capsys.readouterr().out


def test_both_forms_take_all_steps():
    for build in (step_speed.one_by_one, step_speed.scanned):
        assert build(lambda state: 2 * state, jnp.ones(()), 3)() == 8


def test_a_step_trains():
    class Tiny(nnx.Module):
        def __init__(self):
            self.head = nnx.Linear(4, 10, rngs=nnx.Rngs(0))

        def __call__(self, images):
            return self.head(images)

    step, state = step_speed.training(Tiny(), jnp.ones((2, 4)), jnp.zeros(2, jnp.int32))
    after = jax.jit(step)(state)
    assert int(after.step) == 1
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, state.params)
    assert any(jax.tree.leaves(moved))

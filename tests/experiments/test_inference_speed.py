"""The benchmark of forward passes: contestants compute the same, and a race leaves a record."""

import json

import inference_speed
import jax.numpy as jnp
import numpy as np
import pytest
from forward import by_jax, worker

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


SIZES = [pytest.param("mnist_dsdc", 12, marks=pytest.mark.long), ("ASPP", 5)]


@pytest.mark.parametrize("name, side", SIZES)
@pytest.mark.long
def test_forms_on_jax_compute_the_same(name: str, side: int) -> None:
    shape = (2, side, side, by_jax.CHANNELS[name])
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    calls = {form: by_jax.prepare(form, name, images) for form in worker.FORMS.values()}
    outputs = [np.asarray(call()) for call, _ in calls.values()]
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], rtol=1e-3, atol=1e-4)
    assert calls["compiled"][1]["way"] in calls["compiled"][1]["milliseconds"]
    assert np.ptp(outputs[0]) > 0.1


@pytest.mark.filterwarnings("ignore:os.fork")  # by a runtime, when it is first imported
@pytest.mark.parametrize("name, side", SIZES)
@pytest.mark.long
def test_pytorch_and_runtimes_compute_the_same(name: str, side: int) -> None:
    pytest.importorskip("openvino", reason="the extra baselines is not installed")
    from forward import by_torch

    shape = (2, side, side, by_jax.CHANNELS[name])
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    call, _ = by_torch.prepare("PyTorch", name, images)
    expected = np.asarray(call())
    for runtime in by_torch.RUNTIMES:
        call, _ = by_torch.prepare(runtime, name, images)
        np.testing.assert_allclose(np.asarray(call()), expected, rtol=1e-3, atol=1e-4)
    if name == "mnist_dsdc":  # whose weights are copies
        call, _ = by_jax.prepare("stock", name, images)
        np.testing.assert_allclose(np.asarray(call()), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.long
def test_a_race_leaves_a_record(tmp_path, capsys) -> None:
    output = tmp_path / "record.json"
    flags = ["--rounds", "2", "--cases", "mnist_dsdc 2@12", "--output", str(output)]
    flags += ["--contestants", "stock JAX", "dilax.inference.compile"]
    assert inference_speed.main([*flags, "--warm-up", "0", "--seconds", "0"]) == 0
    record = json.loads(output.read_text())
    (found,) = record["cases"].values()
    assert not found["failed"] and set(found["milliseconds"]) == {*flags[-2:]}
    assert max(found["largest_relative_difference"].values()) < 1e-4
    assert all(each["n"] == 2 and each["least"] > 0 for each in found["milliseconds"].values())
    assert "| mnist_dsdc 2@12 |" in capsys.readouterr().out


def test_unknown_contestants_are_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        inference_speed.main(["--contestants", "abacus"])
    assert "abacus" in capsys.readouterr().err


def test_statistics_are_drawn() -> None:
    drawn = by_jax.drawn({"mean": jnp.zeros(3), "count": jnp.zeros((), jnp.int32)})
    assert drawn["mean"].min() > 0 and drawn["count"] == 0


def test_networks_in_pytorch_have_the_sizes_of_their_papers() -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from baselines import pytorch_networks

    sizes = {
        name: sum(weights.numel() for weights in getattr(pytorch_networks, name)().parameters())
        for name in ("mobilenet", "convnext")
    }
    assert sizes == {"mobilenet": 3_504_872, "convnext": 28_589_128}

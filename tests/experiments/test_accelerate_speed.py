"""The benchmark of an accelerated MobileNetV2, with a network of one convolution in its place."""

import json

import accelerate_speed
import jax.numpy as jnp
import pytest
from baselines import keras_networks
from jax import lax


def tiny(image_size: int) -> keras_networks.Network:
    """A depthwise convolution and a mean; its only statistic counts the calls."""
    assert image_size == 6

    def apply(trainable, rest, images, *, training):
        y = lax.conv_general_dilated(
            images,
            trainable[0],
            (1, 1),
            "SAME",
            feature_group_count=3,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.mean(axis=(1, 2)) @ trainable[1], [rest[0] + training]

    kernel = jnp.arange(1.0, 28.0).reshape(3, 3, 1, 3)
    return keras_networks.Network(apply, [kernel, jnp.ones((3, 1000))], [jnp.ones(())])


@pytest.mark.long
def test_the_race_leaves_a_record(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(keras_networks, "mobilenet", tiny)
    output = tmp_path / "record.json"
    flags = "--batch-size 2 --image-size 6 --rounds 2 --steps 1"
    assert accelerate_speed.main([*flags.split(), "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    assert record["passes"].keys() == {"forward", "training step"}
    for row in record["passes"].values():
        assert max(row["largest_relative_difference"]) < 1e-5
        assert row["times_faster"]["n"] == row["as it is"]["milliseconds"]["n"] == 2
        assert row["accelerated"]["compile_seconds"] > 0
    assert record["config"]["batch_size"] == 2 and record["config"]["output"] == "record.json"
    assert {"program", "device", "versions", "git_commit"} <= record.keys()
    assert "times faster" in capsys.readouterr().out


def test_a_step_of_descent_lowers_the_loss():
    network = tiny(6)
    images, labels = accelerate_speed.examples(accelerate_speed.Config(batch_size=2, image_size=6))
    step = keras_networks.training_step(network, 1e-3)
    loss, moved, rest = step((network.trainable, network.rest, images, labels))
    later, _, rest = step((moved, rest, images, labels))
    assert later < loss
    assert rest == [pytest.approx(3)]

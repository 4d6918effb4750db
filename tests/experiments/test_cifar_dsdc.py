"""The CIFAR program on drawn shapes: it trains, records, and refuses what no run can have."""

import json
import re

import cifar_dsdc
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common.run import layer_to_draw

from dilax import models


def test_a_short_run_leaves_its_record(tmp_path, capsys):
    output = tmp_path / "run"
    flags = ["--dataset", "shapes", "--model", "keras_separable", "--epochs", "2"]
    flags += ["--limit", "512", "--cutout", "4", "--no-pictures", "--output", str(output)]
    assert cifar_dsdc.main(flags) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert summary["model"] == "keras_separable"
    assert summary["parameters"] == 44_933
    assert 0 <= summary["test_accuracy"] <= 1
    assert "test accuracy" in capsys.readouterr().out


def test_the_help_lists_the_networks(capsys):
    with pytest.raises(SystemExit):
        cifar_dsdc.main(["--help"])
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert words >= {name for name in models.list_models() if not name.startswith("mnist_")}


def test_a_layer_is_drawn_of_every_network():
    def layers(*names):
        shape = jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32)
        return dict.fromkeys(names, shape) | {"logits": jax.ShapeDtypeStruct((1, 10), jnp.float32)}

    assert layer_to_draw(layers("stem", "separable_2", "separable_1")) == "separable_1"
    assert layer_to_draw(layers("block_2", "block_1")) == "block_1"


@pytest.mark.parametrize("flag", ["--crop", "--cutout"])
def test_a_negative_size_is_one_clear_line(flag, capsys):
    assert cifar_dsdc.main([flag, "-1"]) == 2
    assert f"{flag} must be 0 or more, received -1" in capsys.readouterr().err


def test_augmentation_shifts_mirrors_and_blanks(key):
    images = jax.random.randint(key, (64, 8, 8, 3), 1, 256).astype(jnp.uint8)

    def altered(**flags):
        off = {"crop": 0, "flip": False, "cutout": 0}
        config = cifar_dsdc.Config(**{**off, **flags})
        return np.asarray(cifar_dsdc.augmentation(config, lambda x: x)(key, images))

    same = np.asarray(images.astype("float32") / 255)
    np.testing.assert_array_equal(altered(), same)
    mirrored = altered(flip=True)
    whole = [np.array_equal(a, b) for a, b in zip(mirrored, same, strict=True)]
    turned = [np.array_equal(a, b[:, ::-1]) for a, b in zip(mirrored, same, strict=True)]
    assert all(a or b for a, b in zip(whole, turned, strict=True))
    assert 10 < sum(turned) < 54
    assert ((altered(cutout=4) != same).any(axis=-1).sum(axis=(1, 2)) <= 16).all()
    assert (altered(crop=2) == 0).any()

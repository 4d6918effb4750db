"""The study of gridding: its networks, its composed digits, its record and what it concludes."""

import json

import gridding_accuracy
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gridding_study import report, tasks
from gridding_study.networks import FEATURES, VARIANTS, Network, dilated

from dilax import analysis, data


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_the_same_network_but_for_its_layers(variant):
    def run():
        options = {"channels": 1, "classes": 11, "per_pixel": True, "rngs": nnx.Rngs(0)}
        network = Network(VARIANTS[variant], **options)
        assert len(network.layers) == 4
        x = jnp.ones((2, 20, 18, 1))
        return network.features(x), network(x)

    features, logits = nnx.eval_shape(run)
    assert (features.shape, logits.shape) == ((2, 20, 18, FEATURES), (2, 20, 18, 11))


@pytest.mark.long
def test_the_naive_network_leaves_a_grid_and_hybrid_dilation_does_not():
    x = jnp.ones((1, 49, 49, 1))
    shares = {}
    for variant in ("naive", "hybrid dilation"):
        network = Network(
            VARIANTS[variant], channels=1, classes=2, per_pixel=True, rngs=nnx.Rngs(0)
        )
        network.eval()
        field = analysis.effective_receptive_field(network.features, x)
        shares[variant], _ = gridding_accuracy.gridding(field.weights)
        axes = analysis.receptive_field(network.features, x).outputs[0].axes
        assert [axis.size for axis in axes] == [35, 35]
    assert shares["hybrid dilation"] == 1
    assert shares["naive"] < 0.6


def test_composed_digits_label_their_own_pixels():
    split = data.load("mnist").splits["test"]
    batch = tasks.compose(np.random.default_rng(0), split, 20)
    images, labels = (np.asarray(each) for each in batch)
    assert images.shape == (20, 56, 56, 1) and labels.shape == (20, 56, 56)
    np.testing.assert_array_equal(images[..., 0] >= tasks.INK, labels != tasks.BACKGROUND)
    assert set(np.unique(labels)) == set(range(11))
    again = tasks.compose(np.random.default_rng(0), split, 20)
    np.testing.assert_array_equal(labels, again.targets)


def test_accuracy_asks_for_pixels_of_digits_only():
    labels = jnp.asarray([[[0, 0, 3, 4]]])
    batch = tasks.Batch(jnp.zeros((1, 1, 4, 1)), labels)
    told = jnp.asarray([[[7, 0, 3, 9]]])
    assert gridding_accuracy.accuracy(lambda images: told, batch) == 0.5
    images = tasks.Batch(jnp.zeros((3, 1, 4, 1)), jnp.asarray([0, 1, 2]))
    told = jnp.asarray([0, 1, 1])
    assert gridding_accuracy.accuracy(lambda images: told, images) == pytest.approx(2 / 3)


def small(name, config):
    """The task with a few images."""
    if name == "digits":
        return tasks.composed_digits(train=64, held_out=8, test=16)
    task = tasks.classification(name, limit=756, held_out=500)
    return task._replace(test=task.test.take(slice(300)))


@pytest.mark.long
def test_the_program_writes_a_record_and_a_table(tmp_path, monkeypatch, compile_quickly, long):
    monkeypatch.setattr(gridding_accuracy, "make_task", small)
    output = tmp_path / "record.json"
    if not long:
        monkeypatch.setitem(VARIANTS, "naive", dilated(2))
    names = ["digits", "mnist"] if long else ["digits"]
    variants = ["naive", "random dilation"] if long else ["naive"]
    flags = ["--tasks", *names, "--variants", *variants, "--seeds", "2", "--epochs", "1"]
    assert gridding_accuracy.main([*flags, "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    for rows in record["tasks"].values():
        for row in rows.values():
            assert len(row["accuracy"]) == len(row["touched"]) == 2
            assert all(0 <= value <= 1 for value in row["accuracy"])
            assert row["parameters"] > 1000
    page = output.with_suffix(".md").read_text()
    assert all(f"## {name}" in page for name in names)
    assert "| naive |" in page


def test_a_variant_that_is_not_known(capsys):
    with pytest.raises(SystemExit):
        gridding_accuracy.main(["--variants", "magic"])
    assert "--variants must be of no dilation, naive" in capsys.readouterr().err


def row(*accuracy, touched=1.0):
    return {"accuracy": list(accuracy), "touched": [touched], "unevenness": [1.0], "parameters": 9}


def test_ranks_of_accuracy_and_of_what_is_touched_are_correlated():
    rows = {
        "naive": row(0.90, 0.92, touched=0.5),
        "a": row(0.95, 0.96, touched=1.0),
        "b": row(0.70, 0.71, touched=0.1),
    }
    assert "over the variants: 1.00" in report.correlation(rows)
    assert "the same share" in report.correlation({"naive": row(0.9), "a": row(0.8)})


def test_a_column_for_each_task_marks_what_differs():
    tasks = {
        "mnist": {"naive": row(0.5, 0.52), "help": row(0.9, 0.92), "harm": row(0.1, 0.12)},
        "cifar10": {"naive": row(0.5, 0.52), "help": row(0.49, 0.53), "harm": row(0.5, 0.5)},
    }
    config = {"limit": 0, "seeds": 2, "epochs": 1, "output": "record.json"}
    record = {"tasks": tasks, "config": config, "device": "here", "versions": {}}
    text = report.section({"record": record})
    lines = text.splitlines()
    assert lines[0] == "| layers | touched | mnist, % | cifar10, % |"
    assert lines[2] == "| help | 100% | 91.00 ± 1.41 ↑ | 51.00 ± 2.83 |"
    assert lines[4] == "| harm | 100% | 11.00 ± 1.41 ↓ | 50.00 ± 0.00 |"
    assert "`mnist` all images" in text and "results/record.md" in text

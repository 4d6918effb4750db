"""Pruned networks: the channels that matter least are gone, and the others compute the same."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dilax import models
from dilax.models import Description, Preparation, TrainedClassifier, prune
from tests.inference.test_fold_networks import randomise

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

GREY = Preparation(height=12, width=12, mean=(0.5,), std=(0.5,))
COLOUR = Preparation(height=12, width=12, mean=(0.5,) * 3, std=(0.5,) * 3)


def trained(name="mnist_dsdc", **options) -> TrainedClassifier:
    preparation = GREY if name.startswith("mnist") else COLOUR
    description = Description(
        model=name, class_names=("a", "b", "c"), preparation=preparation, options=options
    )
    return TrainedClassifier(randomise(description.create()), description)


def examples(model, count=6):
    rng = np.random.default_rng(0)
    shape = (count, *model.preparation.image_shape)
    return rng.uniform(0, 1, shape).astype(np.float32), rng.integers(0, 3, count)


def silence(model, stage, channels):
    """Let channels of the stem (0) or of a stage be zero: nothing is added to them."""
    network = model.network
    inside = np.searchsorted(network.WIDENING, np.arange(network.BLOCKS), side="right")
    norms = [network.stem_norm] if stage == 0 else []
    norms += [
        block for block, number in zip(network.blocks, inside, strict=True) if number == stage
    ]
    for norm in norms:
        for name in ("scale", "bias"):
            array = getattr(norm, name)
            array[...] = array[...].at[np.array(channels)].set(0)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mnist_dsdc", pytest.param("dsdc", marks=pytest.mark.long)])
def test_channels_that_are_zero_are_removed_and_nothing_changes(name):
    model = trained(name)
    widths = [model.network.stem_norm.scale[...].size]
    widths += [model.network.blocks[place].scale[...].size for place in model.network.WIDENING]
    for stage, width in enumerate(widths):
        silence(model, stage, range(1, width, 2))
    images, labels = examples(model)
    small = prune(model, 0.5, images, labels)
    assert [small.network.stem_norm.scale[...].size] == [widths[0] // 2]
    assert set(small.description.options["widths"]) == {width // 2 for width in widths[1:]}
    close(jax.jit(small.logits)(images), jax.jit(model.logits)(images))


def test_what_is_kept_is_what_changes_the_loss_most():
    """Checked against the loss without each channel of the stem, by brute force."""
    model = trained()
    images, labels = examples(model, 20)
    norm = model.network.stem_norm
    # Small enough for the first order to tell, so that the loss needs more digits than float32 has.
    norm.scale[...], norm.bias[...] = jnp.full(16, 1e-3), jnp.full(16, 1e-3)

    @jax.jit
    def loss(kept, state):
        network = nnx.merge(nnx.graphdef(model.network), state, copy=True)
        for name in ("scale", "bias"):
            array = getattr(network.stem_norm, name)
            array[...] = array[...] * kept
        chosen = jax.nn.log_softmax(network(model.preparation.normalise(images)))
        return -jnp.take_along_axis(chosen, labels[:, None], axis=1).mean()

    with jax.enable_x64(True):
        wide = jax.tree.map(np.float64, nnx.state(model.network))
        whole = loss(np.ones(16), wide)
        changes = np.array([abs(float(loss(row, wide) - whole)) for row in 1 - np.eye(16)])
    small = prune(model, 3 / 16, images, labels, batch_size=20)
    expected = np.argsort(-changes)
    assert changes[expected[2]] > 1.002 * changes[expected[3]]
    np.testing.assert_array_equal(
        small.network.stem.kernel[...],
        model.network.stem.kernel[...][..., sorted(expected[:3])],
    )


@pytest.mark.long
def test_a_share_of_one_keeps_everything():
    model = trained(kernel_dilation=(1, 1, 2, 1, 1, 1, 1))
    images, labels = examples(model)
    same = prune(model, 1.0, images, labels)
    assert same.description.options["kernel_dilation"] == (1, 1, 2, 1, 1, 1, 1)
    close(jax.jit(same.logits)(images), jax.jit(model.logits)(images))


@pytest.mark.long
def test_a_pruned_network_is_pruned_again_saved_and_loaded(tmp_path):
    model = trained()
    images, labels = examples(model)
    before = jax.tree.map(np.array, nnx.state(model.network))
    small = prune(prune(model, 0.5, images, labels), 0.01, images, labels)
    assert small.description.options["stem_features"] == 1
    models.save(small, tmp_path / "small.safetensors")
    again = models.load(tmp_path / "small.safetensors")
    assert again.description == small.description
    np.testing.assert_array_equal(jax.jit(again.logits)(images), jax.jit(small.logits)(images))
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model.network))


def test_widths_fit_the_residual_blocks():
    widths = (20, 20, 20, 30, 30, 30, 30)
    network = models.create("mnist_dsdc", stem_features=20, widths=widths, rngs=nnx.Rngs(0))
    assert [block.residual for block in network.blocks] == [False, True, True, False, *[True] * 3]
    for wrong in ((20,) * 6, (20, 20, 24, 30, 30, 30, 30), (0,) * 7):
        with pytest.raises(ValueError, match="widths"):
            models.create("mnist_dsdc", widths=wrong, rngs=nnx.Rngs(0))


IMAGES, LABELS = examples(trained())


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"model": "mnist_dsdc"}, TypeError, "model must be"),
        ({"share": 0.0}, ValueError, "share must be above 0 and at most 1, got 0.0"),
        ({"share": 1.5}, ValueError, "share must be above 0 and at most 1, got 1.5"),
        ({"share": "half"}, TypeError, "share must be a real number, got 'half'"),
        (
            {"images": IMAGES[..., 0]},
            ValueError,
            r"must have shape \(N, 12, 12, 1\), got \(6, 12, 12",
        ),
        ({"images": IMAGES[:0]}, ValueError, r"images must have shape"),
        ({"labels": LABELS[:3]}, ValueError, "labels must be 6 integers from 0 to 2"),
        ({"labels": LABELS + 3}, ValueError, "labels must be 6 integers from 0 to 2"),
        ({"labels": LABELS / 2}, TypeError, "labels must be integers, got float64"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ],
)
def test_wrong_arguments(change, error, message):
    batch_size = {"batch_size": change.pop("batch_size", 6)}
    given = {"model": trained(), "share": 0.5, "images": IMAGES, "labels": LABELS} | change
    with pytest.raises(error, match=message):
        prune(*given.values(), **batch_size)


def test_other_networks_are_refused():
    description = dataclasses.replace(trained("dsdc").description, model="cnn")
    model = TrainedClassifier(description.create(), description)
    with pytest.raises(TypeError, match="MnistDSDC or CifarDSDC, got CifarCNN"):
        prune(model, 0.5, *examples(model))

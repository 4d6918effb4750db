"""The procedural set: balanced, seeded, beyond a linear model, within reach of a small network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax.data import Dataset, load, shapes


@pytest.fixture(scope="module")
def data() -> Dataset:
    return shapes(train_count=1500, test_count=500)


def test_form(data: Dataset) -> None:
    assert data.splits["train"].images.shape == (1500, 32, 32, 3)
    for split in data.splits.values():
        assert np.ptp(np.bincount(split.labels, minlength=10)) == 0
    assert len(set(data.class_names)) == 10
    assert data.source == "procedural, seed 0"


def test_seed_decides() -> None:
    first, again, other = (shapes(train_count=30, test_count=10, seed=s) for s in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_splits_are_drawn_apart() -> None:
    drawn = shapes(train_count=20, test_count=20)
    train, test = (drawn.splits[name].images for name in ("train", "test"))
    assert not np.array_equal(train, test)


def test_load_draws_it_by_its_name_only(tmp_path) -> None:
    drawn = load("shapes", cache_dir=tmp_path)
    assert [len(split) for split in drawn.splits.values()] == [10_000, 2_000]
    assert list(tmp_path.iterdir()) == []


def test_counts_may_be_anything() -> None:
    assert [len(s) for s in shapes(train_count=13, test_count=0).splits.values()] == [13, 0]
    with pytest.raises(ValueError, match="test_count must be from 0 to 1000000, got -1"):
        shapes(test_count=-1)


def test_figures_differ_from_the_ground(data: Dataset) -> None:
    """Every image shows something: its pixels spread far beyond the noise."""
    images = data.splits["test"].images.astype(np.float32)
    spread = (images - images.mean((1, 2), keepdims=True)).std((1, 2)).max(-1)
    assert np.quantile(spread, 0.01) > 20


def ridge_accuracy(data: Dataset, features: dict[str, np.ndarray], ridge: float) -> float:
    """Test accuracy of ridge regression on standardised features, in its dual form."""
    mean, deviation = features["train"].mean(0), features["train"].std(0) + 1e-6
    train, test = ((features[name] - mean) / deviation for name in ("train", "test"))
    targets = np.eye(10, dtype=np.float32)[data.splits["train"].labels] - np.float32(0.1)
    gram = train @ train.T + ridge * np.eye(len(train), dtype=np.float32)
    predicted = np.argmax(test @ (train.T @ np.linalg.solve(gram, targets)), axis=1)
    return float((predicted == data.splits["test"].labels).mean())


def test_linear_model_fails(data: Dataset) -> None:
    """On the pixels, whichever of three strengths serves it best."""
    pixels = {
        name: split.images.reshape(len(split), -1).astype(np.float32)
        for name, split in data.splits.items()
    }
    assert max(ridge_accuracy(data, pixels, ridge) for ridge in (1e2, 1e4, 1e6)) < 0.25


@jax.jit
def convolutional_features(images: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """How far each pixel is from the colour of the border; one convolution; mean and maximum."""
    images = images.astype(jnp.float32) / 255
    ground = jnp.median(images[:, [0, -1]], axis=(1, 2), keepdims=True)
    distance = jnp.linalg.norm(images - ground, axis=-1, keepdims=True)
    distance /= distance.max((1, 2), keepdims=True)
    dimension_numbers = ("NHWC", "HWIO", "NHWC")
    maps = jax.lax.conv_general_dilated(
        distance, kernel, (1, 1), "SAME", dimension_numbers=dimension_numbers
    )
    maps = jax.nn.relu(maps + bias)
    return jnp.concatenate([maps.mean((1, 2)), maps.max((1, 2))], axis=-1)


def test_convolutional_network_succeeds(data: Dataset) -> None:
    """One convolution with 64 random filters, and the same linear model after it."""
    kernel_key, bias_key = jax.random.split(jax.random.key(0))
    kernel = jax.random.normal(kernel_key, (5, 5, 1, 64)) / 5
    bias = jax.random.normal(bias_key, (1, 1, 1, 64)) / 2
    features = {
        name: np.asarray(convolutional_features(split.images, kernel, bias))
        for name, split in data.splits.items()
    }
    assert ridge_accuracy(data, features, 1.0) > 0.7

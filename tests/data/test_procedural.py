"""The procedural set: balanced, seeded, beyond a linear model and within reach of a small network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax.data import Dataset, load, shapes


@pytest.fixture(scope="module")
def data() -> Dataset:
    return shapes(train_count=4000, test_count=1000)


def test_form(data: Dataset) -> None:
    assert data.splits["train"].images.shape == (4000, 32, 32, 3)
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
    with pytest.raises(ValueError, match="test_count must be 0 or more, got -1"):
        shapes(test_count=-1)


def test_figures_differ_from_the_ground(data: Dataset) -> None:
    """Every image shows something: its pixels spread far beyond the noise."""
    images = data.splits["test"].images.astype(np.float32)
    spread = (images - images.mean((1, 2), keepdims=True)).std((1, 2)).max(-1)
    assert np.quantile(spread, 0.01) > 20


def test_linear_model_fails(data: Dataset) -> None:
    """Ridge regression on the pixels, its strength chosen in its favour."""
    pixels = {name: s.images.reshape(len(s), -1) / 255 - 0.5 for name, s in data.splits.items()}
    targets = np.eye(10)[data.splits["train"].labels] - 0.1
    gram, moment = pixels["train"].T @ pixels["train"], pixels["train"].T @ targets
    accuracies = []
    for ridge in (10.0, 100.0, 1000.0):
        weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), moment)
        right = np.argmax(pixels["test"] @ weights, axis=1) == data.splits["test"].labels
        accuracies.append(right.mean())
    assert max(accuracies) < 0.4


def network(params: list, images: jax.Array) -> jax.Array:
    """Three convolutions of stride 2, the mean, a linear layer."""
    images = images - images.mean((1, 2), keepdims=True)
    for kernel in params[:-1]:
        images = jax.lax.conv_general_dilated(
            images, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        images = jax.nn.relu(images)
    return images.mean((1, 2)) @ params[-1]


def test_small_convolutional_network_succeeds(data: Dataset) -> None:
    """24,000 weights and 19,200 images seen: 62 % where the linear model has 13 %."""
    widths = (3, 16, 32, 64)
    keys = jax.random.split(jax.random.key(0), 4)
    params = [
        jax.random.normal(key, (3, 3, a, b)) * np.sqrt(2 / (9 * a))
        for key, a, b in zip(keys, widths, widths[1:], strict=False)
    ] + [0.1 * jax.random.normal(keys[3], (64, 10))]
    optimizer = optax.adam(optax.cosine_onecycle_schedule(600, 1e-2))
    images = {name: jnp.asarray(s.images, jnp.float32) / 255 for name, s in data.splits.items()}
    labels = {name: jnp.asarray(s.labels) for name, s in data.splits.items()}

    @jax.jit
    def step(params, state, key):
        chosen = jax.random.randint(key, (32,), 0, len(labels["train"]))

        def loss(params):
            logits = network(params, images["train"][chosen])
            return optax.softmax_cross_entropy_with_integer_labels(
                logits, labels["train"][chosen]
            ).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for key in jax.random.split(jax.random.key(1), 600):
        params, state = step(params, state, key)
    predicted = jnp.argmax(jax.jit(network)(params, images["test"]), axis=-1)
    assert float((predicted == labels["test"]).mean()) > 0.5

"""A network and images small enough to train in a test: the stand-ins of this folder."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from dilax.training.functional import functional
from dilax.training.state import create_state
from dilax.training.step import Batch, make_train_step

CLASSES = 3


class Network(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs, normalise: bool = True):
        self.hidden = nnx.Linear(8 * 8, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs) if normalise else None
        self.head = nnx.Linear(4, CLASSES, rngs=rngs)

    def __call__(self, images):
        x = self.hidden(images.reshape(images.shape[0], -1))
        if self.norm is not None:
            x = self.norm(x)
        return self.head(jax.nn.relu(x))


def prepare(images):
    return images.astype(jnp.float32) / 255.0 - 0.5


def jitter(key, images, step):
    """An augmentation by waves whose phase is drawn by the key; it compiles fast."""
    phase = (jax.random.key_data(key)[-1] % 1000).astype(jnp.float32)
    waves = jnp.sin(phase + jnp.arange(images.size, dtype=jnp.float32))
    return prepare(images) + 0.2 * waves.reshape(images.shape)


def labelled_images(count, *, seed=0):
    """Noise of 8x8 pixels with one bright row, and which row it is as the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count, dtype=np.int32)
    images = random.integers(0, 128, (count, 8, 8, 1), dtype=np.uint8)
    images[np.arange(count), 2 * labels + 1] += 120
    return Batch(jnp.asarray(images), jnp.asarray(labels))


def training(*, optimizer=None, normalise=True, seed=0, **options):
    """A fresh state, and the train step that goes with it."""
    optimizer = optimizer or optax.adam(1e-2)
    network = Network(rngs=nnx.Rngs(seed), normalise=normalise)
    apply, params, batch_stats = functional(network)
    state = create_state(jax.random.key(seed), params, batch_stats, optimizer)
    options = {"augment": jitter, "ema_decay": 0.9, **options}
    return state, make_train_step(apply, optimizer, **options), apply


def assert_equal_trees(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))

"""A network and images small enough to train in a test."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console

from dilax.training import (
    Batch,
    Classification,
    Jit,
    ResidentLoader,
    TrainOptions,
    create_state,
    fit,
    functional,
    make_train_step,
    make_train_steps,
)

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


def plain(key, batch, step):
    return batch._replace(inputs=prepare(batch.inputs))


def jitter(key, batch, step):
    """An augmentation by waves whose phase is drawn from the key; it compiles fast."""
    phase = (jax.random.key_data(key)[-1] % 1000).astype(jnp.float32)
    images = prepare(batch.inputs)
    waves = jnp.sin(phase + jnp.arange(images.size, dtype=jnp.float32))
    return batch._replace(inputs=images + 0.2 * waves.reshape(images.shape))


def labelled_images(count, *, seed=0):
    """Noise of 8x8 pixels with one bright row, and which row it is as the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count, dtype=np.int32)
    images = random.integers(0, 128, (count, 8, 8, 1), dtype=np.uint8)
    images[np.arange(count), 2 * labels + 1] += 120
    return Batch(jnp.asarray(images), jnp.asarray(labels))


def run_shortly(folder, plan, **options):
    """Train on images of noise, without a word, and return what the run returned."""
    state, train_step, _ = training()
    parallelism = Jit(jax.devices()[:1])
    examples = jax.tree.map(np.asarray, labelled_images(plan.num_examples))
    return fit(
        state,
        ResidentLoader(examples, parallelism),
        train_steps=parallelism.wrap(make_train_steps(train_step)),
        parallelism=parallelism,
        plan=plan,
        folder=folder,
        learning_rate=optax.constant_schedule(1e-2),
        console=Console(file=io.StringIO()),
        **options,
    )


@functools.cache
def network(*, normalise=True, seed=0, axis_name=None):
    module = Network(rngs=nnx.Rngs(seed), normalise=normalise)
    return functional(module, axis_name=axis_name)


def training(
    *,
    optimizer=None,
    normalise=True,
    seed=0,
    augment=jitter,
    prepare=None,
    axis_name=None,
    task=Classification(),
    **options,
):
    """A fresh state, and the train step that goes with it."""
    optimizer = optimizer or optax.adam(1e-2)
    apply, params, batch_stats = network(normalise=normalise, seed=seed, axis_name=axis_name)
    state = create_state(jax.random.key(seed), params, batch_stats, optimizer)
    step = make_train_step(
        apply,
        optimizer,
        task=task,
        augment=augment,
        prepare=prepare,
        options=TrainOptions(**{"ema_decay": 0.9, **options}),
        axis_name=axis_name,
    )
    return state, step, apply


def assert_equal_trees(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def assert_close_trees(actual, expected, *, rtol=1e-5, atol=1e-6):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)

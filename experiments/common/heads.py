"""The head of a network, trained alone on features that the other layers give once."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from dilax import training
from dilax.training import Batch, Prepare

TOGETHER = 100
"""Images whose features are computed together."""
BATCH = 128
"""Features in one step."""


def fit_head(
    module: Any,
    prepare: Prepare,
    examples: Batch,
    *,
    epochs: int,
    learning_rate: float,
    mirrored: bool,
    seed: int,
) -> None:
    """Train the linear head of a network, in place, by AdamW.

    Args:
        module: A classifier with the activation ``mean``, which its ``head`` maps to logits.
        prepare: Turns images into what the network sees.
        examples: Images and labels.
        epochs: Passes over the features.
        learning_rate: Peak of the one-cycle schedule.
        mirrored: Whether the mirror images take part, too.
        seed: Seed of the order.
    """
    found = features_of(module, prepare, np.asarray(examples.inputs), mirrored=mirrored)
    labels = jnp.tile(jnp.asarray(examples.targets), len(found) // examples.size)
    _, params, _ = training.functional(module.head)
    trained = fit_linear(
        params, found, labels, epochs=epochs, learning_rate=learning_rate, seed=seed
    )
    training.load_into(module.head, trained, {})


def features_of(
    module: nnx.Module, prepare: Prepare, images: np.ndarray, *, mirrored: bool
) -> Array:
    """Compute the features ``(N, features)`` of images, and then those of their mirror images."""
    views = [images, images[:, :, ::-1]] if mirrored else [images]
    module.eval()
    graphdef, state = nnx.split(module)

    @jax.jit
    def features(state: nnx.State, images: Array) -> Array:
        merged: Any = nnx.merge(graphdef, state)
        return merged.activations(prepare(images))["mean"]

    parts = []
    for view in views:
        for first in range(0, len(view), TOGETHER):
            part = view[first : first + TOGETHER]
            padded = np.resize(part, (TOGETHER, *part.shape[1:]))  # one shape compiles once
            parts.append(features(state, padded)[: len(part)])
    return jnp.concatenate(parts)


def fit_linear(
    params: Any, features: Array, labels: Array, *, epochs: int, learning_rate: float, seed: int
) -> Any:
    """Train a linear layer, ``{"kernel": ..., "bias": ...}``, on features; return it."""
    batch = min(BATCH, len(labels))
    plan = training.Plan(num_examples=len(labels), batch_size=batch, epochs=epochs)
    rate = training.one_cycle(learning_rate, total_steps=plan.total_steps)
    optimizer = training.adamw(rate, weight_decay=1e-2)

    def loss(params: Any, x: Array, y: Array) -> Array:
        return training.cross_entropy(x @ params["kernel"] + params["bias"][None], y).mean()

    def step(carry: Any, rows: Array) -> tuple[Any, None]:
        params, state = carry
        grads = jax.grad(loss)(params, features[rows], labels[rows])
        updates, state = optimizer.update(grads, state, params)
        return (jax.tree.map(jnp.add, params, updates), state), None

    order = functools.partial(training.shuffled_batches, num_examples=len(labels), batch_size=batch)
    carry = params, optimizer.init(params)
    run = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows)[0])
    for key in jax.random.split(jax.random.key(seed), epochs):
        carry = run(carry, order(key))
    return carry[0]

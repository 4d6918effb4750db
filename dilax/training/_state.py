"""The state of a training run between two steps, as one plain pytree."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from dilax._arrays import as_array
from dilax._checks import shown
from dilax.training._optimizers import check_optimizer

Pytree = Any


class Weights(NamedTuple):
    """The arrays with which a network predicts."""

    params: Pytree
    batch_stats: Pytree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The state of a training run between two steps.

    All randomness derives from ``key``, which never changes, and from counters: the order of the
    images in epoch ``e`` from ``order_key(e)``, the augmentation of the next step from
    ``step_key()``. A restored state therefore continues exactly as an uninterrupted run.
    """

    step: Array
    """``()`` int32: number of completed steps."""
    params: Pytree
    """Nested dictionaries of arrays, updated by the optimiser."""
    batch_stats: Pytree
    """Nested dictionaries of arrays: running statistics of batch normalisation."""
    opt_state: Pytree
    """The state of the optax optimiser."""
    ema: Weights
    """Exponential moving average of ``params`` and ``batch_stats``, of the last steps alone."""
    key: Array
    """``()`` PRNG key of the whole run."""

    def weights(self, which: str) -> Weights:
        """Select the weights of the last step (``"final"``) or their average (``"ema"``).

        Raises:
            ValueError: ``which`` is neither.
        """
        if which == "final":
            return Weights(self.params, self.batch_stats)
        if which == "ema":
            return self.ema
        raise ValueError(f'which must be "final" or "ema", got {which!r}.')

    def step_key(self) -> Array:
        """Derive the key of the next step."""
        return jax.random.fold_in(jax.random.split(self.key)[0], self.step)

    def order_key(self, epoch: int) -> Array:
        """Derive the key of the order of the images in ``epoch``, counted from 0."""
        return jax.random.fold_in(jax.random.split(self.key)[1], epoch)


def create_state(
    key: Array, params: Pytree, batch_stats: Pytree, optimizer: optax.GradientTransformation
) -> TrainState:
    """Create the state before the first step.

    All arrays are copied, so a step may donate the state without touching the caller's arrays.

    Raises:
        TypeError: ``key`` is not a PRNG key, a leaf not an array, or ``optimizer`` not an optax
            optimiser.

    >>> state = create_state(jax.random.key(0), {"w": jnp.ones(3)}, {}, optax.sgd(0.1))
    >>> int(state.step), state.ema.params["w"].shape
    (0, (3,))
    """
    check_optimizer(optimizer)
    params, batch_stats = _copy(params, "params"), _copy(batch_stats, "batch_stats")
    try:
        jax.eval_shape(jax.random.fold_in, key, 0)
    except (TypeError, ValueError) as error:
        raise TypeError(f"key must be one jax.random.key, got {shown(key)}.") from error
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=jax.tree.map(jnp.copy, optimizer.init(params)),
        ema=jax.tree.map(jnp.copy, Weights(params, batch_stats)),
        key=jnp.copy(key),
    )


def _copy(tree: Pytree, name: str) -> Pytree:
    return jax.tree.map(lambda leaf: jnp.copy(as_array(leaf, f"each of {name}")), tree)

"""Everything that a training run carries from step to step, as one plain pytree."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from dilax._arrays import as_array
from dilax._checks import number, shown
from dilax.training.optimizers import check_optimizer

Pytree = Any


class Weights(NamedTuple):
    """What a network needs to predict."""

    params: Pytree
    batch_stats: Pytree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """A training run between two steps.

    All randomness of a run comes from `key`, which never changes, and from counters: the order of
    the images in epoch e from `order_key(e)`, the augmentation in step s from `step_key()`. So a
    state restored from disk goes on exactly as the run that never stopped.
    """

    step: Array
    """`()` int32: how many steps are done."""
    params: Pytree
    """Nested dictionaries of arrays: what the optimiser changes."""
    batch_stats: Pytree
    """Nested dictionaries of arrays: running statistics of the normalisations."""
    opt_state: Pytree
    """What optax keeps."""
    ema: Weights
    """The exponential moving average of `params` and `batch_stats`."""
    key: Array
    """`()` PRNG key of the whole run."""

    def weights(self, which: str) -> Weights:
        """Give the weights of the last step ("final") or their moving average ("ema").

        Raises:
            ValueError: `which` is neither.
        """
        if which == "final":
            return Weights(self.params, self.batch_stats)
        if which == "ema":
            return self.ema
        raise ValueError(f'which weights must be "final" or "ema", received {which!r}')

    def step_key(self) -> Array:
        """Give the key of the step that comes next."""
        return jax.random.fold_in(jax.random.split(self.key)[0], self.step)

    def order_key(self, epoch: int) -> Array:
        """Give the key of the order in which epoch `epoch` (from 0) takes the images."""
        return jax.random.fold_in(jax.random.split(self.key)[1], epoch)


def create_state(
    key: Array, params: Pytree, batch_stats: Pytree, optimizer: optax.GradientTransformation
) -> TrainState:
    """Make the state before the first step.

    The arrays are copied, so a step that donates its state leaves the caller's arrays alone.

    >>> state = create_state(jax.random.key(0), {"w": jnp.ones(3)}, {}, optax.sgd(0.1))
    >>> int(state.step), state.ema.params["w"].shape
    (0, (3,))
    """
    check_optimizer(optimizer)
    params, batch_stats = _arrays(params, "params"), _arrays(batch_stats, "batch_stats")
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=_copy(optimizer.init(params)),
        ema=_copy(Weights(params, batch_stats)),
        key=jnp.copy(_checked_key(key)),
    )


def average(ema: Pytree, new: Pytree, step: Array, decay: float) -> Pytree:
    r"""Move an exponential average one step on, without the bias of its start.

    .. math:: e_t = e_{t-1} + \frac{1 - d}{1 - d^t} (p_t - e_{t-1})

    This is :math:`\sum_i d^{t-i} p_i / \sum_i d^{t-i}`, the average in which the start value has
    no part: after one step it is :math:`p_1`, and with `decay` 0 it always is :math:`p_t`.

    Args:
        ema: :math:`e_{t-1}`, any pytree of floats.
        new: :math:`p_t`, the same structure.
        step: `()` integer :math:`t`, 1 at the first step.
        decay: :math:`d` in `[0, 1)`.

    Raises:
        ValueError: `decay` is outside `[0, 1)`, or the two trees differ.

    Source: the bias correction of D. Kingma and J. Ba, "Adam", 2015, section 3.
    """
    check_decay(decay, "decay")
    step = as_array(step, "step")
    if step.shape or jnp.issubdtype(step.dtype, jnp.complexfloating):
        raise ValueError(f"step must be one integer, received {step.dtype} {step.shape}")
    ema, new = _floats(ema, "ema"), _floats(new, "new")
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (ema, new)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"ema and new must be alike, received {shown(shapes[0])} and {shown(shapes[1])}"
        )
    rate = (1.0 - decay) / (1.0 - jnp.float32(decay) ** step.astype(jnp.float32))
    return jax.tree.map(lambda old, value: old + rate.astype(old.dtype) * (value - old), ema, new)


def check_decay(decay: float, name: str) -> None:
    """Refuse what is no share of an average."""
    if not 0.0 <= number(decay, name) < 1.0:
        raise ValueError(
            f"{name} must be in [0, 1), received {decay}; 0 keeps no average, usual values are "
            "0.99 to 0.9999"
        )


def _floats(tree: Pytree, name: str) -> Pytree:
    """The arrays of a pytree of which an average can be taken."""
    arrays = jax.tree.map(lambda leaf: as_array(leaf, f"each of {name}"), tree)
    for array in jax.tree.leaves(arrays):
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            raise TypeError(f"each of {name} must be of floating point, received {array.dtype}")
    return arrays


def _arrays(tree: Pytree, name: str) -> Pytree:
    """Copies of the arrays of a pytree."""
    return jax.tree.map(lambda leaf: jnp.copy(as_array(leaf, f"each of {name}")), tree)


def _checked_key(key: Array) -> Array:
    try:
        jax.eval_shape(jax.random.fold_in, key, 0)
    except (TypeError, ValueError) as error:
        raise TypeError(f"key must be one key of jax.random.key, received {shown(key)}") from error
    return key


def _copy(tree: Pytree) -> Pytree:
    return jax.tree.map(jnp.copy, tree)

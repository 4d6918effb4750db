"""One step of training and of evaluation, as pure functions: no device, no clock, no loop."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from dilax._checks import LONGEST, check_callable, integer, shown
from dilax.training.functional import Apply
from dilax.training.losses import check_smoothing, correct, cross_entropy
from dilax.training.state import TrainState, Weights, average, check_decay

Pytree = Any


class Batch(NamedTuple):
    """Labelled images."""

    images: Array
    """`(N, H, W, C)` uint8."""
    labels: Array
    """`(N,)` int32."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over examples, so that totals of parts add up to the total of the whole."""

    loss: Array
    """`()` float32: sum of losses in nats."""
    correct: Array
    """`()` int32: how many predictions were right."""
    examples: Array
    """`()` int32: how many there were."""

    @classmethod
    def zero(cls) -> "Totals":
        """Give the totals of no example."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def __add__(self, other: "Totals") -> "Totals":
        return jax.tree.map(jnp.add, self, other)

    def means(self) -> dict[str, float]:
        """Give `loss` and `accuracy` per example; this waits for the device."""
        examples = int(self.examples)
        return {"loss": float(self.loss) / examples, "accuracy": int(self.correct) / examples}


Augment = Callable[[Array, Array], Array]
"""`(key, uint8 images (N, H, W, C)) -> normalised float images`, the same shape."""
Prepare = Callable[[Array], Array]
"""`uint8 images (N, H, W, C) -> normalised float images`, the same shape."""
TrainStep = Callable[[TrainState, Batch, Array], tuple[TrainState, Totals]]
EvalStep = Callable[[Weights, Batch, Array], tuple[Totals, Array]]


def make_train_step(
    apply: Apply,
    optimizer: optax.GradientTransformation,
    *,
    augment: Augment,
    prepare: Prepare | None = None,
    augmented_steps: int | None = None,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
    axis_name: str | None = None,
) -> TrainStep:
    """Build `train_step(state, batch, key) -> (state, totals)`.

    Args:
        apply: the network.
        optimizer: an optax transformation.
        augment: turns the uint8 images of a batch into the floats that the network sees.
        prepare: what the images get instead of `augment` after `augmented_steps`.
        augmented_steps: how many steps of the run augment their images; all, if left out.
        label_smoothing: see `losses.cross_entropy`; the totals hold the smoothed loss.
        ema_decay: share of the old average that a step keeps, in `[0, 1)`; see `state.average`.
        axis_name: under pmap, the name of the device axis: gradients and batch statistics are
            averaged over it, totals added up, and each device draws its own augmentation.

    Raises:
        ValueError: `ema_decay` or `label_smoothing` is outside `[0, 1)`, or `augmented_steps`
            negative.
        TypeError: an argument is not of its kind.
    """
    check_decay(ema_decay, "ema_decay")
    check_smoothing(label_smoothing)
    for name, function in {"apply": apply, "augment": augment}.items():
        check_callable(function, name)
    if prepare is not None:
        check_callable(prepare, "prepare")
    if augmented_steps is not None:
        integer(augmented_steps, "augmented_steps", minimum=0, maximum=LONGEST)
    if not callable(getattr(optimizer, "update", None)):
        raise TypeError(f"optimizer must be an optax transformation, received {shown(optimizer)}")

    def loss(
        params: Pytree, batch_stats: Pytree, images: Array, labels: Array, key: Array
    ) -> tuple:
        logits, batch_stats = apply(params, batch_stats, images, train=True, key=key)
        losses = cross_entropy(logits, labels, label_smoothing=label_smoothing)
        return losses.mean(), (batch_stats, _totals(losses, logits, labels))

    def floats(images: Array, step: Array, key: Array) -> Array:
        if prepare is None or augmented_steps is None:
            return augment(key, images)
        return lax.cond(
            step < augmented_steps, lambda: augment(key, images), lambda: prepare(images)
        )

    def train_step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Totals]:
        key = _device_key(key, axis_name)
        images = floats(batch.images, state.step, key)
        grads, (batch_stats, totals) = jax.grad(loss, has_aux=True)(
            state.params, state.batch_stats, images, batch.labels, jax.random.fold_in(key, 1)
        )
        if axis_name is not None:
            grads, batch_stats = lax.pmean((grads, batch_stats), axis_name)
            totals = lax.psum(totals, axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        weights = Weights(optax.apply_updates(state.params, updates), batch_stats)
        step = state.step + 1
        ema = average(state.ema, weights, step, ema_decay)
        return TrainState(step, *weights, opt_state, ema, state.key), totals

    return train_step


def make_eval_step(apply: Apply, *, prepare: Prepare) -> EvalStep:
    """Build `eval_step(weights, batch, mask) -> (totals, logits)`.

    `mask` is `(N,)` booleans: examples where it is false count for nothing, so that the last,
    padded batch of a set needs no step of its own. The logits are `(N, classes)`.
    """
    check_callable(apply, "apply")
    check_callable(prepare, "prepare")

    def eval_step(weights: Weights, batch: Batch, mask: Array) -> tuple[Totals, Array]:
        logits, _ = apply(*weights, prepare(batch.images), train=False)
        losses = cross_entropy(logits, batch.labels)
        return _totals(losses, logits, batch.labels, mask), logits

    return eval_step


def _totals(losses: Array, logits: Array, labels: Array, mask: Array | None = None) -> Totals:
    counted = jnp.ones(labels.shape, bool) if mask is None else mask
    return Totals(
        loss=jnp.sum(losses, where=counted, dtype=jnp.float32),
        correct=jnp.sum(correct(logits, labels), where=counted, dtype=jnp.int32),
        examples=jnp.sum(counted, dtype=jnp.int32),
    )


def _device_key(key: Array, axis_name: str | None) -> Array:
    return key if axis_name is None else jax.random.fold_in(key, lax.axis_index(axis_name))

"""One step of training and one of evaluation, as pure functions."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from dilax._checks import LONGEST, check_callable, check_instance, integer, number
from dilax.training._losses import (
    blend,
    check_class_weights,
    check_smoothing,
    correct,
    cross_entropy,
    draw_shares,
    swap_pairs,
    weigh,
)
from dilax.training._network import Apply, early_decay
from dilax.training._optimizers import check_optimizer
from dilax.training._state import TrainState, Weights

Pytree = Any


class Batch(NamedTuple):
    """Labelled images."""

    images: Array
    """``(N, H, W, C)`` uint8."""
    labels: Array
    """``(N,)`` int32."""


class Fault(NamedTuple):
    """The first step whose loss or gradients are not finite."""

    step: Array
    """``()`` int32: which step of the run, from 0; -1 for none."""
    leaf: Array
    """``()`` int32: the first gradient array that is not finite; -1 if only the loss is not."""
    leaves: Array
    """``()`` int32: how many gradient arrays are not finite."""

    @classmethod
    def none(cls) -> "Fault":
        """Create the value that stands for no fault."""
        return cls(jnp.int32(-1), jnp.int32(-1), jnp.int32(0))

    @classmethod
    def find(cls, step: Array, loss: Array, grads: Pytree) -> "Fault":
        """Check the loss and the gradients of one step."""
        bad = jnp.stack([~jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads)])
        leaf = jnp.where(bad.any(), jnp.argmax(bad), -1).astype(jnp.int32)
        at = jnp.where(bad.any() | ~jnp.isfinite(loss), step, -1).astype(jnp.int32)
        return cls(at, leaf, bad.sum(dtype=jnp.int32))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over examples, so that totals of parts add up to the total of the whole."""

    loss: Array
    """``()`` float32: sum of losses in nats."""
    correct: Array
    """``()`` int32: number of correct predictions."""
    examples: Array
    """``()`` int32: number of examples."""
    fault: Fault
    """The first fault among the steps."""

    @classmethod
    def zero(cls) -> "Totals":
        """Create the totals of no examples."""
        return cls(jnp.float32(0), jnp.int32(0), jnp.int32(0), Fault.none())

    def __add__(self, other: "Totals") -> "Totals":
        first = jax.tree.map(
            lambda mine, its: jnp.where(self.fault.step >= 0, mine, its), self.fault, other.fault
        )
        return dataclasses.replace(jax.tree.map(jnp.add, self, other), fault=first)

    def means(self) -> dict[str, float]:
        """Compute ``loss`` and ``accuracy`` per example; this waits for the device."""
        examples = int(self.examples)
        return {"loss": float(self.loss) / examples, "accuracy": int(self.correct) / examples}


Augment = Callable[[Array, Array, Array], Array]
"""``(key, uint8 images (N, H, W, C), step of the run) -> normalised floats`` of that shape."""
Prepare = Callable[[Array], Array]
"""``uint8 images (N, H, W, C) -> normalised floats`` of that shape."""
TrainStep = Callable[[TrainState, Batch, Array], tuple[TrainState, Totals]]
EvalStep = Callable[[Weights, Batch, Array], tuple[Totals, Array]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of a training step.

    Raises:
        ValueError: A value is outside its range.
        TypeError: A value is not a number.
    """

    label_smoothing: float = 0.0
    """Smoothing of ``cross_entropy``, in ``[0, 1)``; the totals hold the smoothed loss."""
    class_weights: tuple[float, ...] | None = None
    """Factor on the loss of each example, by the class of its label. The mean over a batch divides
    by the number of its examples, not by the sum of their weights: so it is the same over parts of
    a batch and over devices. None for 1. See ``balanced_class_weights``."""
    mixup: float = 0.0
    """Parameter ``alpha`` of ``draw_shares``: neighbours in the batch are blended, images and
    losses. 0 blends nothing. The totals count a blend as correct if its own label is predicted."""
    augmented_steps: int | None = None
    """Number of steps with augmentation and mixup; later ones use ``prepare``. None for all."""
    ema_decay: float = 0.0
    """Share of the moving average that each step keeps, in ``[0, 1)``; 0 for no average. The first
    steps keep less, as ``early_decay`` says."""
    loss_scale: float = 1.0
    """Factor on the loss while its gradient is computed; see ``LOSS_SCALES``."""
    accumulate: int = 1
    """Number of parts of a batch that are computed one after the other, to save memory. The
    gradient is that of the whole batch; batch normalisation sees one part."""

    def __post_init__(self) -> None:
        """Check all values."""
        check_smoothing(self.label_smoothing)
        check_class_weights(self.class_weights)
        if not number(self.mixup, "mixup") >= 0:
            raise ValueError(
                f"mixup must be 0 or more, got {self.mixup}; usual values are 0.1 to 1."
            )
        if self.augmented_steps is not None:
            integer(self.augmented_steps, "augmented_steps", minimum=0, maximum=LONGEST)
        if not 0.0 <= number(self.ema_decay, "ema_decay") < 1.0:
            raise ValueError(
                f"ema_decay must be in [0, 1), got {self.ema_decay}; 0 keeps no average, usual "
                "values are 0.99 to 0.9999."
            )
        if not number(self.loss_scale, "loss_scale") > 0:
            raise ValueError(f"loss_scale must be positive, got {self.loss_scale}.")
        integer(self.accumulate, "accumulate", minimum=1)


def make_train_step(
    apply: Apply,
    optimizer: optax.GradientTransformation,
    *,
    augment: Augment,
    prepare: Prepare | None = None,
    options: TrainOptions = TrainOptions(),
    axis_name: str | None = None,
) -> TrainStep:
    """Build the pure function ``train_step(state, batch, key) -> (state, totals)``.

    Each image is augmented with a key of its own, derived from ``key`` and its place in the batch:
    a whole batch, an accumulated one and one split over devices see the same images.

    Args:
        apply: The network.
        optimizer: An optax optimiser.
        augment: Turns the uint8 images of a batch into the floats that the network sees. It is
            called for one image at a time, under ``vmap``.
        prepare: Replaces ``augment`` after ``options.augmented_steps``.
        options: Loss, moving average, precision and memory.
        axis_name: Under ``pmap``, the name of the device axis: gradients and batch statistics are
            averaged over it, totals summed.

    Raises:
        TypeError: An argument is not of its kind.
    """
    for name, function in {"apply": apply, "augment": augment}.items():
        check_callable(function, name)
    if prepare is not None:
        check_callable(prepare, "prepare")
    check_optimizer(optimizer)
    check_instance(options, TrainOptions, "options")
    floats = _floats(augment, prepare, options)
    loss = _loss(apply, options)

    def gradients(
        state: TrainState, batch: Batch, keys: Array, key: Array, updates: Array
    ) -> tuple:
        """Compute gradients of the mean loss; beside them, new batch statistics and totals."""
        batch = Batch(floats(batch.images, state.step, keys), batch.labels)
        shares = _shares(options, state.step, keys)
        grads, others = jax.grad(loss, has_aux=True)(
            state.params, state.batch_stats, batch, shares, key, updates
        )
        return jax.tree.map(lambda grad: grad / options.loss_scale, grads), others

    def train_step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Totals]:
        image_keys, network_key = _keys(key, batch.labels.shape[0], axis_name)
        compute = gradients if options.accumulate == 1 else _accumulated(gradients, options)
        grads, (batch_stats, totals) = compute(
            state, batch, image_keys, network_key, state.step * options.accumulate
        )
        if axis_name is not None:
            grads, batch_stats = lax.pmean((grads, batch_stats), axis_name)
            totals = lax.psum(totals, axis_name)
        totals = dataclasses.replace(totals, fault=Fault.find(state.step, totals.loss, grads))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        weights = Weights(optax.apply_updates(state.params, updates), batch_stats)
        decay = early_decay(options.ema_decay, state.step)
        moved = optax.incremental_update(weights, state.ema, 1 - decay)
        ema = jax.tree.map(lambda new, old: new.astype(old.dtype), moved, state.ema)
        return TrainState(state.step + 1, *weights, opt_state, ema, state.key), totals

    return train_step


def make_eval_step(apply: Apply, *, prepare: Prepare) -> EvalStep:
    """Build the pure function ``eval_step(weights, batch, mask) -> (totals, logits)``.

    ``mask`` is ``(N,)`` booleans, false for the padding of an incomplete batch: such examples do
    not enter the totals. The logits are ``(N, classes)``.

    Raises:
        TypeError: An argument is not a function.
    """
    check_callable(apply, "apply")
    check_callable(prepare, "prepare")

    def eval_step(weights: Weights, batch: Batch, mask: Array) -> tuple[Totals, Array]:
        logits, _ = apply(*weights, prepare(batch.images), train=False)
        losses = cross_entropy(logits, batch.labels)
        return _totals(losses, logits, batch.labels, mask), logits

    return eval_step


def _floats(
    augment: Augment, prepare: Prepare | None, options: TrainOptions
) -> Callable[[Array, Array, Array], Array]:
    """Build the function of images, step and keys that returns what the network sees."""
    last = options.augmented_steps

    def floats(images: Array, step: Array, keys: Array) -> Array:
        def augmented() -> Array:
            each = jax.vmap(lambda key, image: augment(key, image[None], step)[0])
            return each(keys, images)

        if prepare is None or last is None:
            return augmented()
        return lax.cond(step < last, augmented, lambda: prepare(images))

    return floats


def _shares(options: TrainOptions, step: Array, keys: Array) -> Array | None:
    """Draw each image's share in its mixup blend: 1 after the augmented steps, None without."""
    if not options.mixup:
        return None
    drawn, last = draw_shares(keys, alpha=options.mixup), options.augmented_steps
    return drawn if last is None else jnp.where(step < last, drawn, 1)


def _loss(apply: Apply, options: TrainOptions) -> Callable[..., tuple]:
    """Build the function to differentiate: scaled mean loss; beside it, statistics and totals."""

    def of(logits: Array, labels: Array) -> Array:
        losses = cross_entropy(logits, labels, label_smoothing=options.label_smoothing)
        _check_classes(options, logits.shape[-1])
        return weigh(losses, labels, options.class_weights)

    def loss(
        params: Pytree,
        batch_stats: Pytree,
        batch: Batch,
        shares: Array | None,
        key: Array,
        updates: Array,
    ) -> tuple:
        images, labels = batch
        if shares is not None:
            images = blend(images, swap_pairs(images), shares)
        logits, batch_stats = apply(
            params, batch_stats, images, train=True, key=key, updates=updates
        )
        losses = of(logits, labels)
        if shares is not None:
            losses = blend(losses, of(logits, swap_pairs(labels)), shares)
        totals = _totals(losses, logits, labels)
        return options.loss_scale * losses.mean(), (batch_stats, totals)

    return loss


def _check_classes(options: TrainOptions, classes: int) -> None:
    """Refuse class weights for another number of classes than the network has."""
    if options.class_weights is not None and len(options.class_weights) != classes:
        raise ValueError(
            f"class_weights must have an entry for each of the {classes} classes of the network, "
            f"got {len(options.class_weights)}."
        )


def _keys(key: Array, count: int, axis_name: str | None) -> tuple[Array, Array]:
    """Derive a key for each image, from its place in the whole batch, and one for the network."""
    images_key, network_key = jax.random.split(key)
    places = jnp.arange(count)
    if axis_name is not None:
        device = lax.axis_index(axis_name)
        places = places + device * count
        network_key = jax.random.fold_in(network_key, device)
    return jax.vmap(jax.random.fold_in, (None, 0))(images_key, places), network_key


def _accumulated(gradients: Callable[..., tuple], options: TrainOptions) -> Callable[..., tuple]:
    """Average the gradients of the parts of a batch, computed one after the other.

    A part is every ``accumulate``-th example, so that a batch split over devices stays in place.
    """
    parts = options.accumulate

    def compute(state: TrainState, batch: Batch, keys: Array, key: Array, updates: Array) -> tuple:
        def body(carry: tuple, part: tuple) -> tuple:
            batch_stats, sums, totals = carry
            place, batch, keys = part
            state_now = dataclasses.replace(state, batch_stats=batch_stats)
            grads, (batch_stats, more) = gradients(
                state_now, batch, keys, jax.random.fold_in(key, place), updates + place
            )
            return (batch_stats, jax.tree.map(jnp.add, sums, grads), totals + more), None

        def split(array: Array) -> Array:
            return jnp.moveaxis(array.reshape(-1, parts, *array.shape[1:]), 1, 0)

        start = (state.batch_stats, jax.tree.map(jnp.zeros_like, state.params), Totals.zero())
        pieces = (jnp.arange(parts), jax.tree.map(split, batch), split(keys))
        (batch_stats, sums, totals), _ = lax.scan(body, start, pieces)
        return jax.tree.map(lambda total: total / parts, sums), (batch_stats, totals)

    return compute


def _totals(losses: Array, logits: Array, labels: Array, mask: Array | None = None) -> Totals:
    counted = jnp.ones(labels.shape, bool) if mask is None else mask
    return Totals(
        loss=jnp.sum(losses, where=counted, dtype=jnp.float32),
        correct=jnp.sum(correct(logits, labels), where=counted, dtype=jnp.int32),
        examples=jnp.sum(counted, dtype=jnp.int32),
        fault=Fault.none(),
    )

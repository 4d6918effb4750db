"""One step of training and one of evaluation, as pure functions."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from dilax._checks import LONGEST, check_callable, check_instance, integer, number
from dilax.training._losses import blend, draw_shares, swap_pairs
from dilax.training._network import Apply, early_decay
from dilax.training._optimizers import check_optimizer
from dilax.training._state import TrainState, Weights
from dilax.training._task import Classification, Task
from dilax.training._totals import Batch, Fault, Totals

Pytree = Any


Augment = Callable[[Array, Batch, Array], Batch]
"""``(key, examples, step of the run) -> examples`` as the network sees them: uint8 images become
normalised floats. What moves in the inputs may move in the targets, too."""
Prepare = Callable[[Pytree], Pytree]
"""``inputs -> inputs`` as the network sees them: uint8 images become normalised floats."""
TrainStep = Callable[[TrainState, Batch, Array], tuple[TrainState, Totals]]
EvalStep = Callable[[Weights, Batch, Array], tuple[Totals, Pytree]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of a training step.

    Raises:
        ValueError: A value is outside its range.
        TypeError: A value is not a number.
    """

    mixup: float = 0.0
    """Parameter ``alpha`` of ``draw_shares``: neighbours in the batch are blended, inputs and
    losses. 0 blends nothing. The totals judge a blend by its own target."""
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
    task: Task = Classification(),
    augment: Augment,
    prepare: Prepare | None = None,
    options: TrainOptions = TrainOptions(),
    axis_name: str | None = None,
) -> TrainStep:
    """Build the pure function ``train_step(state, batch, key) -> (state, totals)``.

    Each example is augmented with a key of its own, derived from ``key`` and its place in the
    batch: a whole batch, an accumulated one and one split over devices see the same examples.

    Args:
        apply: The network.
        optimizer: An optax optimiser.
        task: How the outputs of the network are judged.
        augment: Turns the examples of a batch into what the network sees. It is called for one
            example at a time, a batch of one, under ``vmap``.
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
    check_instance(task, Task, "task")
    check_instance(options, TrainOptions, "options")
    seen = _seen(augment, prepare, options)
    loss = _loss(apply, task, options)

    def gradients(
        state: TrainState, batch: Batch, keys: Array, key: Array, updates: Array
    ) -> tuple:
        """Compute gradients of the mean loss; beside them, new batch statistics and totals."""
        batch = seen(batch, state.step, keys)
        shares = _shares(options, state.step, keys)
        grads, others = jax.grad(loss, has_aux=True)(
            state.params, state.batch_stats, batch, shares, key, updates
        )
        return jax.tree.map(lambda grad: grad / options.loss_scale, grads), others

    def train_step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Totals]:
        example_keys, network_key = _keys(key, batch.size, axis_name)
        compute = gradients if options.accumulate == 1 else _accumulated(gradients, task, options)
        grads, (batch_stats, totals) = compute(
            state, batch, example_keys, network_key, state.step * options.accumulate
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


def make_eval_step(apply: Apply, *, task: Task = Classification(), prepare: Prepare) -> EvalStep:
    """Build the pure function ``eval_step(weights, batch, mask) -> (totals, decoded outputs)``.

    ``mask`` is ``(N,)`` booleans, false for the padding of an incomplete batch: such examples do
    not enter the totals. What ``task.decode`` makes of the outputs is returned beside them; of a
    classification, these are the logits ``(N, classes)``.

    Raises:
        TypeError: An argument is not of its kind.
    """
    check_callable(apply, "apply")
    check_callable(prepare, "prepare")
    check_instance(task, Task, "task")

    def eval_step(weights: Weights, batch: Batch, mask: Array) -> tuple[Totals, Pytree]:
        outputs, _ = apply(*weights, prepare(batch.inputs), train=False)
        losses = task.losses(outputs, batch.targets)
        totals = Totals.of(task, losses, outputs, batch.targets, mask)
        return totals, task.decode(outputs)

    return eval_step


def _seen(
    augment: Augment, prepare: Prepare | None, options: TrainOptions
) -> Callable[[Batch, Array, Array], Batch]:
    """Build the function of a batch, step and keys that returns what the network sees."""
    last = options.augmented_steps

    def one(key: Array, example: Batch, step: Array) -> Batch:
        alone = Batch(*jax.tree.map(lambda leaf: leaf[None], tuple(example)))
        return augment(key, alone, step).take(0)

    def seen(batch: Batch, step: Array, keys: Array) -> Batch:
        def augmented() -> Batch:
            return jax.vmap(one, (0, 0, None))(keys, batch, step)

        if prepare is None or last is None:
            return augmented()
        return lax.cond(
            step < last, augmented, lambda: batch._replace(inputs=prepare(batch.inputs))
        )

    return seen


def _shares(options: TrainOptions, step: Array, keys: Array) -> Array | None:
    """Draw each example's share in its mixup blend: 1 after the augmented steps, None without."""
    if not options.mixup:
        return None
    drawn, last = draw_shares(keys, alpha=options.mixup), options.augmented_steps
    return drawn if last is None else jnp.where(step < last, drawn, 1)


def _loss(apply: Apply, task: Task, options: TrainOptions) -> Callable[..., tuple]:
    """Build the function to differentiate: scaled mean loss; beside it, statistics and totals."""

    def loss(
        params: Pytree,
        batch_stats: Pytree,
        batch: Batch,
        shares: Array | None,
        key: Array,
        updates: Array,
    ) -> tuple:
        inputs, targets = batch
        if shares is not None:
            inputs = jax.tree.map(lambda leaf: blend(leaf, swap_pairs(leaf), shares), inputs)
        outputs, batch_stats = apply(
            params, batch_stats, inputs, train=True, key=key, updates=updates
        )
        losses = task.losses(outputs, targets)
        if shares is not None:
            others = task.losses(outputs, jax.tree.map(swap_pairs, targets))
            losses = blend(losses, others, shares)
        fixed = lax.stop_gradient(outputs)  # metrics need not have derivatives
        totals = Totals.of(task, losses, fixed, targets)
        return options.loss_scale * losses.mean(), (batch_stats, totals)

    return loss


def _keys(key: Array, count: int, axis_name: str | None) -> tuple[Array, Array]:
    """Derive a key for each example, from its place in the whole batch, and one for the network."""
    examples_key, network_key = jax.random.split(key)
    places = jnp.arange(count)
    if axis_name is not None:
        device = lax.axis_index(axis_name)
        places = places + device * count
        network_key = jax.random.fold_in(network_key, device)
    return jax.vmap(jax.random.fold_in, (None, 0))(examples_key, places), network_key


def _accumulated(
    gradients: Callable[..., tuple], task: Task, options: TrainOptions
) -> Callable[..., tuple]:
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

        start = (state.batch_stats, jax.tree.map(jnp.zeros_like, state.params), Totals.zero(task))
        pieces = (jnp.arange(parts), jax.tree.map(split, batch), split(keys))
        (batch_stats, sums, totals), _ = lax.scan(body, start, pieces)
        return jax.tree.map(lambda total: total / parts, sums), (batch_stats, totals)

    return compute

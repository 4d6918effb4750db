"""One step of training and of evaluation, as pure functions: no device, no clock, no loop."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from dilax._checks import LONGEST, check_callable, integer, number
from dilax.training.functional import Apply
from dilax.training.losses import check_smoothing, correct, cross_entropy
from dilax.training.mixup import blend, check_alpha, draw_shares, swap
from dilax.training.optimizers import check_optimizer
from dilax.training.state import TrainState, Weights, average, check_decay

Pytree = Any


class Batch(NamedTuple):
    """Labelled images."""

    images: Array
    """`(N, H, W, C)` uint8."""
    labels: Array
    """`(N,)` int32."""


class Fault(NamedTuple):
    """The first step whose loss or gradients were not finite."""

    step: Array
    """`()` int32: which step of the run, from 0; -1 for none."""
    leaf: Array
    """`()` int32: the first array of the gradient with such a number; -1 when only the loss has."""
    leaves: Array
    """`()` int32: how many arrays of the gradient have one."""

    @classmethod
    def none(cls) -> "Fault":
        """Give the fault of steps that went well."""
        return cls(*(jnp.full((), value, jnp.int32) for value in (-1, -1, 0)))

    @classmethod
    def find(cls, step: Array, loss: Array, grads: Pytree) -> "Fault":
        """Look at the loss and the gradients of a step."""
        bad = jnp.stack([~jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads)])
        leaf = jnp.where(bad.any(), jnp.argmax(bad), -1).astype(jnp.int32)
        at = jnp.where(bad.any() | ~jnp.isfinite(loss), step, -1).astype(jnp.int32)
        return cls(at, leaf, bad.sum(dtype=jnp.int32))


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
    fault: Fault
    """The first of the steps that went wrong."""

    @classmethod
    def zero(cls) -> "Totals":
        """Give the totals of no example."""
        return cls(
            loss=jnp.zeros((), jnp.float32),
            correct=jnp.zeros((), jnp.int32),
            examples=jnp.zeros((), jnp.int32),
            fault=Fault.none(),
        )

    def __add__(self, other: "Totals") -> "Totals":
        first = jax.tree.map(
            lambda mine, its: jnp.where(self.fault.step >= 0, mine, its), self.fault, other.fault
        )
        return Totals(
            loss=self.loss + other.loss,
            correct=self.correct + other.correct,
            examples=self.examples + other.examples,
            fault=first,
        )

    def means(self) -> dict[str, float]:
        """Give `loss` and `accuracy` per example; this waits for the device."""
        examples = int(self.examples)
        return {"loss": float(self.loss) / examples, "accuracy": int(self.correct) / examples}


Augment = Callable[[Array, Array, Array], Array]
"""`(key, uint8 images (N, H, W, C), step of the run) -> normalised float images`, the same
shape."""
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
    mixup: float = 0.0,
    ema_decay: float = 0.0,
    loss_scale: float = 1.0,
    accumulate: int = 1,
    axis_name: str | None = None,
) -> TrainStep:
    """Build `train_step(state, batch, key) -> (state, totals)`.

    Each image is augmented by a key of its own, drawn from `key` and its place in the batch: so
    one batch, a batch in parts and a batch over devices see the same images.

    Args:
        apply: the network.
        optimizer: an optax transformation.
        augment: turns the uint8 images of a batch into the floats that the network sees; it is
            called for one image at a time, under `vmap`.
        prepare: what the images get instead of `augment` after `augmented_steps`.
        augmented_steps: how many steps of the run augment their images; all, if left out.
        label_smoothing: see `losses.cross_entropy`; the totals hold the smoothed loss.
        mixup: parameter of the draw by which neighbours in the batch are blended, images and
            losses, in the augmented steps; see `mixup.draw_shares`. 0 blends nothing. The totals
            count a blend as right when its own label is the prediction.
        ema_decay: share of the old average that a step keeps, in `[0, 1)`; see `state.average`.
        loss_scale: factor of the loss while its gradient is taken; see `precision`.
        accumulate: parts of the batch that go through the network one after the other, to save
            memory. The gradient is that of the whole batch; batch normalisation sees a part.
        axis_name: under pmap, the name of the device axis: gradients and batch statistics are
            averaged over it, totals added up.

    Raises:
        ValueError: `ema_decay` or `label_smoothing` is outside `[0, 1)`, `augmented_steps`
            negative, `accumulate` below 1, or `loss_scale` not positive.
        TypeError: an argument is not of its kind.
    """
    check_decay(ema_decay, "ema_decay")
    check_smoothing(label_smoothing)
    if mixup:
        check_alpha(mixup)
    for name, function in {"apply": apply, "augment": augment}.items():
        check_callable(function, name)
    if prepare is not None:
        check_callable(prepare, "prepare")
    if augmented_steps is not None:
        integer(augmented_steps, "augmented_steps", minimum=0, maximum=LONGEST)
    integer(accumulate, "accumulate", minimum=1)
    if not number(loss_scale, "loss_scale") > 0:
        raise ValueError(f"loss_scale must be positive, received {loss_scale}")
    check_optimizer(optimizer)

    floats = _floats(augment, prepare, augmented_steps)
    shares = _shares(mixup, augmented_steps)
    loss = _loss(apply, label_smoothing, loss_scale)

    def gradients(state: TrainState, batch: Batch, keys: Array, key: Array) -> tuple:
        """The gradients of the mean loss, the moved batch statistics, the totals."""
        batch = Batch(floats(batch.images, state.step, keys), batch.labels)
        blended = shares(state.step, keys)
        grads, others = jax.grad(loss, has_aux=True)(
            state.params, state.batch_stats, batch, blended, key
        )
        return jax.tree.map(lambda grad: grad / loss_scale, grads), others

    def train_step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Totals]:
        image_keys, network_key = _keys(key, batch.labels.shape[0], axis_name)
        take = gradients if accumulate == 1 else _in_parts(gradients, accumulate)
        grads, (batch_stats, totals) = take(state, batch, image_keys, network_key)
        if axis_name is not None:
            grads, batch_stats = lax.pmean((grads, batch_stats), axis_name)
            totals = lax.psum(totals, axis_name)
        totals = dataclasses.replace(totals, fault=Fault.find(state.step, totals.loss, grads))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        weights = Weights(optax.apply_updates(state.params, updates), batch_stats)
        step = state.step + 1
        ema = average(state.ema, weights, step, ema_decay)
        return TrainState(step, *weights, opt_state, ema, state.key), totals

    return train_step


def _floats(
    augment: Augment, prepare: Prepare | None, augmented_steps: int | None
) -> Callable[[Array, Array, Array], Array]:
    """Make the function of images, step and keys that gives what the network sees."""

    def floats(images: Array, step: Array, keys: Array) -> Array:
        def augmented() -> Array:
            each = jax.vmap(lambda key, image: augment(key, image[None], step)[0])
            return each(keys, images)

        if prepare is None or augmented_steps is None:
            return augmented()
        return lax.cond(step < augmented_steps, augmented, lambda: prepare(images))

    return floats


def _shares(mixup: float, augmented_steps: int | None) -> Callable[[Array, Array], Array | None]:
    """Make the function of step and keys that gives each image's share of its blend."""

    def shares(step: Array, keys: Array) -> Array | None:
        if not mixup:
            return None
        drawn = draw_shares(keys, alpha=mixup)
        return drawn if augmented_steps is None else jnp.where(step < augmented_steps, drawn, 1)

    return shares


def _loss(apply: Apply, label_smoothing: float, loss_scale: float) -> Callable[..., tuple]:
    """Make the function whose gradient a step follows; beside it, statistics and totals."""

    def loss(
        params: Pytree, batch_stats: Pytree, batch: Batch, shares: Array | None, key: Array
    ) -> tuple:
        images, labels = batch
        if shares is not None:
            images = blend(images, swap(images), shares)
        logits, batch_stats = apply(params, batch_stats, images, train=True, key=key)
        losses = cross_entropy(logits, labels, label_smoothing=label_smoothing)
        if shares is not None:
            others = cross_entropy(logits, swap(labels), label_smoothing=label_smoothing)
            losses = blend(losses, others, shares)
        totals = _totals(losses, logits, labels)
        return loss_scale * losses.mean(), (batch_stats, totals)

    return loss


def _keys(key: Array, count: int, axis_name: str | None) -> tuple[Array, Array]:
    """Give the keys of the images, by their places in the whole batch, and that of the network."""
    images_key, network_key = jax.random.split(key)
    places = jnp.arange(count)
    if axis_name is not None:
        device = lax.axis_index(axis_name)
        places = places + device * count
        network_key = jax.random.fold_in(network_key, device)
    return jax.vmap(jax.random.fold_in, (None, 0))(images_key, places), network_key


def _in_parts(gradients: Callable[..., tuple], parts: int) -> Callable[..., tuple]:
    """Take gradients of the parts of a batch, one after the other, and average them.

    A part is every `parts`-th example, so that a batch spread over devices stays where it is.
    """

    def take(state: TrainState, batch: Batch, keys: Array, key: Array) -> tuple:
        def body(carry: tuple, part: tuple) -> tuple:
            batch_stats, sums, totals = carry
            place, batch, keys = part
            state_now = dataclasses.replace(state, batch_stats=batch_stats)
            grads, (batch_stats, more) = gradients(
                state_now, batch, keys, jax.random.fold_in(key, place)
            )
            return (batch_stats, jax.tree.map(jnp.add, sums, grads), totals + more), None

        def split(array: Array) -> Array:
            return jnp.moveaxis(array.reshape(-1, parts, *array.shape[1:]), 1, 0)

        start = (state.batch_stats, jax.tree.map(jnp.zeros_like, state.params), Totals.zero())
        pieces = (jnp.arange(parts), jax.tree.map(split, batch), split(keys))
        (batch_stats, sums, totals), _ = lax.scan(body, start, pieces)
        return jax.tree.map(lambda total: total / parts, sums), (batch_stats, totals)

    return take


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
        fault=Fault.none(),
    )

"""Many steps in one call: a scan on the device over images that already lie there."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from dilax._checks import LONGEST, check_callable, integer
from dilax.training.state import TrainState, Weights
from dilax.training.step import Batch, EvalStep, Totals, TrainStep

TrainSteps = Callable[[TrainState, Totals, Batch | None, Any], tuple[TrainState, Totals]]
Evaluate = Callable[[Weights, Batch], tuple[Totals, Array]]


def shuffled_batches(key: Array, *, num_images: int, batch_size: int) -> Array:
    """Give the order of one epoch: which images each of its steps takes.

    Every image is taken at most once; the fewer than `batch_size` that are left over sit out, a
    different few in each epoch.

    Returns:
        `(num_images // batch_size, batch_size)` int32 indices.

    Raises:
        ValueError: `batch_size` is below 1, or a number negative or too large for int32.

    >>> shuffled_batches(jax.random.key(0), num_images=11, batch_size=4).shape
    (2, 4)
    """
    num_images = integer(num_images, "num_images", minimum=0, maximum=LONGEST)
    batch_size = integer(batch_size, "batch_size", minimum=1, maximum=LONGEST)
    steps = num_images // batch_size
    order = jax.random.permutation(key, num_images)[: steps * batch_size]
    return order.reshape(steps, batch_size).astype(jnp.int32)


def make_train_steps(train_step: TrainStep) -> TrainSteps:
    """Build `train_steps(state, totals, data, batches) -> (state, totals)`.

    `data` is the whole training set and `batches` are `(steps, batch_size)` indices into it; or
    `data` is None and `batches` are images and labels, `(steps, batch_size, ...)` each. They are
    an epoch, or a part of one, for the totals go in and come out. A wrapper that spreads the work
    over devices splits `batches` along their second axis and nothing else.
    """
    check_callable(train_step, "train_step")

    def train_steps(
        state: TrainState, totals: Totals, data: Batch | None, batches: Any
    ) -> tuple[TrainState, Totals]:
        def body(carry: tuple[TrainState, Totals], rows: Any) -> tuple:
            state, totals = carry
            batch = Batch(*rows) if data is None else Batch(data.images[rows], data.labels[rows])
            state, step_totals = train_step(state, batch, state.step_key())
            return (state, totals + step_totals), None

        carry, _ = lax.scan(body, (state, totals), batches)
        return carry

    return train_steps


def make_evaluate(eval_step: EvalStep, *, batch_size: int = 500) -> Evaluate:
    """Build `evaluate(weights, data) -> (totals, logits)` over a whole set.

    The set need not divide into batches: the last one is filled up with the last image, which is
    masked out of the totals and cut off the logits `(N, classes)`.
    """
    check_callable(eval_step, "eval_step")
    batch_size = integer(batch_size, "batch_size", minimum=1)

    def evaluate(weights: Weights, data: Batch) -> tuple[Totals, Array]:
        num_images = data.labels.shape[0]
        size = min(batch_size, num_images)
        rows = jnp.arange(-(-num_images // size) * size, dtype=jnp.int32).reshape(-1, size)

        def body(totals: Totals, rows: Array) -> tuple[Totals, Array]:
            inside = jnp.minimum(rows, num_images - 1)
            batch = Batch(data.images[inside], data.labels[inside])
            batch_totals, logits = eval_step(weights, batch, rows < num_images)
            return totals + batch_totals, logits

        totals, logits = lax.scan(body, Totals.zero(), rows)
        return totals, logits.reshape(-1, logits.shape[-1])[:num_images]

    return evaluate

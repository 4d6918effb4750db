"""An epoch: in which order its images come, and many steps in one call to the device."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dilax._checks import LONGEST, check_callable, integer
from dilax.training._state import TrainState, Weights
from dilax.training._step import Batch, EvalStep, Totals, TrainStep

TrainSteps = Callable[[TrainState, Totals, Batch | None, Any], tuple[TrainState, Totals]]
Evaluate = Callable[[Weights, Batch], tuple[Totals, Array]]


def shuffled_batches(key: Array, *, num_images: int, batch_size: int) -> Array:
    """Draw the order of one epoch: the images of each of its steps.

    No image is used twice. Fewer than ``batch_size`` images are left over, a different few in
    each epoch.

    Returns:
        ``(num_images // batch_size, batch_size)`` int32 indices.

    Raises:
        ValueError: ``batch_size`` is below 1, or a number negative or too large for int32.
        TypeError: A number is not an integer.

    >>> shuffled_batches(jax.random.key(0), num_images=11, batch_size=4).shape
    (2, 4)
    """
    num_images = integer(num_images, "num_images", minimum=0, maximum=LONGEST)
    batch_size = integer(batch_size, "batch_size", minimum=1, maximum=LONGEST)
    steps = num_images // batch_size
    order = jax.random.permutation(key, num_images)[: steps * batch_size]
    return order.reshape(steps, batch_size).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The number of steps in a run, and the chunks in which they are sent to the device.

    Raises:
        ValueError: A number is outside its range.
        TypeError: A number is not an integer.

    >>> plan = Plan(num_images=60_000, batch_size=128, epochs=15)
    >>> plan.steps_per_epoch, plan.total_steps, plan.chunk_steps
    (468, 7020, 39)
    """

    num_images: int
    batch_size: int
    epochs: int
    max_chunks: int = 12
    """Most chunks in an epoch. Between chunks the progress bar moves and Ctrl-C is handled."""

    def __post_init__(self) -> None:
        """Check all numbers."""
        for name in ("num_images", "epochs", "max_chunks"):
            integer(getattr(self, name), name, minimum=1, maximum=LONGEST)
        integer(self.batch_size, "batch_size", maximum=LONGEST)
        if not 0 < self.batch_size <= self.num_images:
            raise ValueError(
                "batch_size must be from 1 to the number of training images "
                f"(num_images={self.num_images}), got {self.batch_size}."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the images."""
        return self.num_images // self.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def chunk_steps(self) -> int:
        """Steps in one call to the device: chunks are equal, so that they share one compilation."""
        most = min(self.max_chunks, self.steps_per_epoch)
        divisors = (n for n in range(most, 0, -1) if self.steps_per_epoch % n == 0)
        return self.steps_per_epoch // next(divisors)

    def chunks(self, key: Array, *, step: int) -> Iterator[np.ndarray]:
        """Iterate over the index batches ``(chunk_steps, batch_size)`` from ``step`` on."""
        order = shuffled_batches(key, num_images=self.num_images, batch_size=self.batch_size)
        batches = np.asarray(order)
        for start in range(step % self.steps_per_epoch, self.steps_per_epoch, self.chunk_steps):
            yield batches[start : start + self.chunk_steps]


def make_train_steps(train_step: TrainStep) -> TrainSteps:
    """Build ``train_steps(state, totals, data, batches) -> (state, totals)``, a scan over steps.

    Either ``data`` is the whole training set and ``batches`` are ``(steps, batch_size)`` indices
    into it; or ``data`` is None and ``batches`` are images and labels, ``(steps, batch_size, ...)``
    each. The totals are passed on, so that an epoch can be computed in parts. A parallelism splits
    ``batches`` along their second axis and nothing else.

    Raises:
        TypeError: ``train_step`` is not a function.
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
    """Build ``evaluate(weights, data) -> (totals, logits)`` over a whole set.

    The set need not divide into batches: the last batch is padded with the last image, and the
    padding is left out of the totals and the logits ``(N, classes)``.

    Raises:
        ValueError: ``batch_size`` is below 1.
        TypeError: ``eval_step`` is not a function, or ``batch_size`` not an integer.
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

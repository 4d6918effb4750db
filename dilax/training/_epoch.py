"""An epoch: in which order its examples come, and many steps in one call to the device."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dilax._checks import LONGEST, check_callable, check_instance, integer
from dilax.training._state import TrainState, Weights
from dilax.training._step import EvalStep, TrainStep
from dilax.training._task import Classification, Task
from dilax.training._totals import Batch, Totals

Pytree = Any
TrainSteps = Callable[[TrainState, Totals, Batch | None, Any], tuple[TrainState, Totals]]
Evaluate = Callable[[Weights, Batch], tuple[Totals, Pytree]]


def shuffled_batches(key: Array, *, num_examples: int, batch_size: int) -> Array:
    """Draw the order of one epoch: the examples of each of its steps.

    No example is used twice. Fewer than ``batch_size`` images are left over, a different few in
    each epoch.

    Returns:
        ``(num_examples // batch_size, batch_size)`` int32 indices.

    Raises:
        ValueError: ``batch_size`` is below 1, or a number negative or too large for int32.
        TypeError: A number is not an integer.

    >>> shuffled_batches(jax.random.key(0), num_examples=11, batch_size=4).shape
    (2, 4)
    """
    num_examples = integer(num_examples, "num_examples", minimum=0, maximum=LONGEST)
    batch_size = integer(batch_size, "batch_size", minimum=1, maximum=LONGEST)
    steps = num_examples // batch_size
    order = jax.random.permutation(key, num_examples)[: steps * batch_size]
    return order.reshape(steps, batch_size).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The number of steps in a run, and the chunks in which they are sent to the device.

    Raises:
        ValueError: A number is outside its range.
        TypeError: A number is not an integer.

    >>> plan = Plan(num_examples=60_000, batch_size=128, epochs=15)
    >>> plan.steps_per_epoch, plan.total_steps, plan.chunk_steps
    (468, 7020, 39)
    """

    num_examples: int
    batch_size: int
    epochs: int
    max_chunks: int = 12
    """Most chunks in an epoch. Between chunks the progress bar moves and Ctrl-C is handled."""

    def __post_init__(self) -> None:
        """Check all numbers."""
        for name in ("num_examples", "epochs", "max_chunks"):
            integer(getattr(self, name), name, minimum=1, maximum=LONGEST)
        integer(self.batch_size, "batch_size", maximum=LONGEST)
        if not 0 < self.batch_size <= self.num_examples:
            raise ValueError(
                "batch_size must be from 1 to the number of training examples "
                f"(num_examples={self.num_examples}), got {self.batch_size}."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the examples."""
        return self.num_examples // self.batch_size

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
        order = shuffled_batches(key, num_examples=self.num_examples, batch_size=self.batch_size)
        batches = np.asarray(order)
        for start in range(step % self.steps_per_epoch, self.steps_per_epoch, self.chunk_steps):
            yield batches[start : start + self.chunk_steps]


def make_train_steps(train_step: TrainStep) -> TrainSteps:
    """Build ``train_steps(state, totals, data, batches) -> (state, totals)``, a scan over steps.

    Either ``data`` is the whole training set and ``batches`` are ``(steps, batch_size)`` indices
    into it; or ``data`` is None and ``batches`` are inputs and targets, ``(steps, batch_size,
    ...)`` each. The totals are passed on, so that an epoch can be computed in parts. A parallelism
    splits ``batches`` along their second axis and nothing else.

    Raises:
        TypeError: ``train_step`` is not a function.
    """
    check_callable(train_step, "train_step")

    def train_steps(
        state: TrainState, totals: Totals, data: Batch | None, batches: Any
    ) -> tuple[TrainState, Totals]:
        def body(carry: tuple[TrainState, Totals], rows: Any) -> tuple:
            state, totals = carry
            batch = Batch(*rows) if data is None else data.take(rows)
            state, step_totals = train_step(state, batch, state.step_key())
            return (state, totals + step_totals), None

        carry, _ = lax.scan(body, (state, totals), batches)
        return carry

    return train_steps


def make_evaluate(
    eval_step: EvalStep, *, task: Task = Classification(), batch_size: int = 500
) -> Evaluate:
    """Build ``evaluate(weights, data) -> (totals, decoded outputs)`` over a whole set.

    The set need not divide into batches: the last batch is padded with the last example, and the
    padding is left out of the totals and of the outputs.

    Args:
        eval_step: The result of ``make_eval_step``.
        task: The one that ``eval_step`` was made for.
        batch_size: Number of examples that are computed together.

    Raises:
        ValueError: ``batch_size`` is below 1.
        TypeError: ``eval_step`` is not a function, ``task`` none, or ``batch_size`` not an integer.
    """
    check_callable(eval_step, "eval_step")
    check_instance(task, Task, "task")
    batch_size = integer(batch_size, "batch_size", minimum=1)

    def evaluate(weights: Weights, data: Batch) -> tuple[Totals, Pytree]:
        examples = data.size
        size = min(batch_size, examples)
        rows = jnp.arange(-(-examples // size) * size, dtype=jnp.int32).reshape(-1, size)

        def body(totals: Totals, rows: Array) -> tuple[Totals, Pytree]:
            batch = data.take(jnp.minimum(rows, examples - 1))
            batch_totals, decoded = eval_step(weights, batch, rows < examples)
            return totals + batch_totals, decoded

        totals, decoded = lax.scan(body, Totals.zero(task), rows)
        joined = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:examples], decoded)
        return totals, joined

    return evaluate

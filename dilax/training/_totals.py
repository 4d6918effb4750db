"""Examples in batches, and sums over the examples of many batches."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dilax.training._task import Task

Pytree = Any


class Batch(NamedTuple):
    """Examples: what a network sees, and what it should answer.

    Both are arrays whose first axis counts the examples, or pytrees of such arrays.
    """

    inputs: Pytree
    """For images uint8 ``(N, H, W, C)``."""
    targets: Pytree
    """For classes int32 ``(N,)``."""

    @property
    def size(self) -> int:
        """The number of examples."""
        return jax.tree.leaves(self.inputs)[0].shape[0]

    def take(self, rows: Any) -> "Batch":
        """Select examples by their indices, a slice or a mask."""
        return Batch(*jax.tree.map(lambda leaf: leaf[rows], tuple(self)))


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
    """``()`` float32: sum of losses."""
    counts: dict[str, Array]
    """By name, what the task counts."""
    examples: Array
    """``()`` int32: number of examples."""
    fault: Fault
    """The first fault among the steps."""

    @classmethod
    def zero(cls, task: Task) -> "Totals":
        """Create the totals of no examples."""
        return cls(jnp.float32(0), task.zero_counts(), jnp.int32(0), Fault.none())

    @classmethod
    def of(
        cls,
        task: Task,
        losses: Array,
        outputs: Pytree,
        targets: Pytree,
        mask: Array | None = None,
    ) -> "Totals":
        """Add up over the examples of a batch; ``mask`` ``(N,)`` is false for those left out."""
        counted = jnp.ones(losses.shape, bool) if mask is None else mask

        def add_up(values: Array, zero: Array) -> Array:
            kept = counted.reshape(-1, *[1] * (values.ndim - 1))
            return jnp.sum(values, axis=0, where=kept, dtype=zero.dtype)

        counts = task.counts(outputs, targets)
        return cls(
            loss=add_up(losses, jnp.float32(0)),
            counts={name: add_up(counts[name], zero) for name, zero in task.zero_counts().items()},
            examples=jnp.sum(counted, dtype=jnp.int32),
            fault=Fault.none(),
        )

    def __add__(self, other: "Totals") -> "Totals":
        first = jax.tree.map(
            lambda mine, its: jnp.where(self.fault.step >= 0, mine, its), self.fault, other.fault
        )
        return dataclasses.replace(jax.tree.map(jnp.add, self, other), fault=first)

    def means(self, task: Task) -> dict[str, float]:
        """Compute ``loss`` per example, and the metrics; this waits for the device."""
        examples = int(self.examples)
        sums = jax.tree.map(np.asarray, self.counts)
        return {"loss": float(self.loss) / examples, **task.metrics(sums, examples)}

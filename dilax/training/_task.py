"""What a network is trained to do: losses and metrics of its outputs, and their first kind."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from dilax.training._losses import (
    check_class_weights,
    check_smoothing,
    correct,
    cross_entropy,
    weigh,
)

Pytree = Any


class Task:
    """What a network is trained to do: how its outputs are judged.

    A base class. All that is computed is one value for each example, or one array: sums over the
    examples of a batch, of many batches and of several devices then add up to those of the whole
    set, and ``metrics`` makes of them what is shown. Subclasses are frozen dataclasses, whose
    fields are options.
    """

    score: str = "accuracy"
    """The metric by which one epoch is better than another: the larger, the better."""
    unit: str = "%"
    """The unit of the score: ``"%"`` for a share of 1, which is shown as a percentage."""

    def losses(self, outputs: Pytree, targets: Pytree) -> Array:
        """Compute the loss of each example, ``(N,)`` floats."""
        raise NotImplementedError

    def counts(self, outputs: Pytree, targets: Pytree) -> dict[str, Array]:
        """Compute, by name, what is added up over examples: arrays ``(N, ...)``."""
        raise NotImplementedError

    def zero_counts(self) -> dict[str, Array]:
        """Return the sums over no examples, whose dtypes are those of all sums."""
        raise NotImplementedError

    def metrics(self, sums: Mapping[str, np.ndarray], examples: int) -> dict[str, float]:
        """Compute the metrics, by name, from the sums over some examples."""
        raise NotImplementedError

    def decode(self, outputs: Pytree) -> Pytree:
        """Convert outputs to what an evaluation returns for each example: by default, outputs.

        It is for outputs that are large, such as the logits of all pixels.
        """
        return outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """Classify each example: logits ``(N, classes)`` and int32 labels ``(N,)``.

    The metric is ``accuracy``. For training, the loss may be smoothed and weighed; a test is made
    with neither.

    Raises:
        ValueError: A value is outside its range.
        TypeError: A value is not a number.

    >>> task = Classification(label_smoothing=0.1)
    >>> task.losses(jnp.zeros((2, 10)), jnp.array([3, 7])).round(3).tolist()
    [2.303..., 2.303...]
    """

    label_smoothing: float = 0.0
    """Smoothing of ``cross_entropy``, in ``[0, 1)``."""
    class_weights: tuple[float, ...] | None = None
    """Factor on the loss of each example, by the class of its label. The mean over a batch divides
    by the number of its examples, not by the sum of their weights: so it is the same over parts of
    a batch and over devices. None for 1. See ``balanced_class_weights``."""

    def __post_init__(self) -> None:
        """Check all values."""
        check_smoothing(self.label_smoothing)
        check_class_weights(self.class_weights)

    def losses(self, outputs: Array, targets: Array) -> Array:
        """Compute the cross-entropy of each example."""
        losses = cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)
        self._check_classes(outputs.shape[-1])
        return weigh(losses, targets, self.class_weights)

    def counts(self, outputs: Array, targets: Array) -> dict[str, Array]:
        """Say of each example whether its class was found."""
        return {"correct": correct(outputs, targets)}

    def zero_counts(self) -> dict[str, Array]:
        """Return the number of correct examples among none."""
        return {"correct": jnp.int32(0)}

    def metrics(self, sums: Mapping[str, np.ndarray], examples: int) -> dict[str, float]:
        """Compute the accuracy."""
        return {"accuracy": int(sums["correct"]) / examples}

    def _check_classes(self, classes: int) -> None:
        if self.class_weights is not None and len(self.class_weights) != classes:
            raise ValueError(
                f"class_weights must have an entry for each of the {classes} classes of the "
                f"network, got {len(self.class_weights)}."
            )

"""Labels of words: a label for each word of a text, alone or as a chain."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dilax._checks import integer
from dilax.training._chains import most_probable, negative_log_likelihood
from dilax.training._losses import cross_entropy
from dilax.training._task import Task

MOST_LABELS = 2**15
NO_LABEL = -1


class TagScores(NamedTuple):
    """What a network says of the labels of words."""

    scores: Array
    """``(N, T, classes)``: of each label of each word."""
    transitions: Array | None
    """``(N, classes, classes)``: from a label (row) to the next one (column); None without."""
    mask: Array
    """``(N, T)`` booleans: false for padding, which comes last."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tagging(Task):
    r"""Label each word: ``TagScores`` of ``T`` words, and integer labels ``(N, T)``, -1 for none.

    Without transitions, the loss of a text is the mean cross-entropy of its words. With them, it is
    that of the whole chain, :math:`-\log p(y) / T`, of a conditional random field

    .. math:: p(y) \propto \exp\Big(\sum_t s_{t, y_t} + \sum_t A_{y_{t-1}, y_t}\Big),

    in which all words of a text need labels. Metrics are ``token_accuracy``, the share of words,
    and ``sequence_accuracy``, the share of texts all of whose words are labelled right.

    Raises:
        ValueError: There are fewer than 2 classes.
        TypeError: Their number is not an integer.

    Source: J. Lafferty et al., "Conditional Random Fields", 2001.

    >>> task = Tagging(classes=3)
    >>> outputs = TagScores(jnp.zeros((2, 5, 3)), jnp.zeros((2, 3, 3)), jnp.ones((2, 5), bool))
    >>> task.decode(outputs).shape
    (2, 5)
    >>> task.losses(outputs, jnp.zeros((2, 5), jnp.int32)).round(3).tolist()
    [1.09..., 1.09...]
    """

    score: str = dataclasses.field(default="token_accuracy", init=False)

    classes: int
    """Number of labels."""

    def __post_init__(self) -> None:
        """Check all values."""
        integer(self.classes, "classes", minimum=2, maximum=MOST_LABELS)

    def losses(self, outputs: TagScores, targets: Array) -> Array:
        """Compute the loss of each text, divided by the number of its words."""
        scores, transitions, _ = outputs
        counted = targets != NO_LABEL
        labels = jnp.where(counted, targets, 0).astype(jnp.int32)
        if transitions is None:
            summed = jnp.sum(cross_entropy(scores, labels), axis=1, where=counted)
        else:
            summed = negative_log_likelihood(scores, transitions, labels, counted)
        return summed / jnp.maximum(jnp.sum(counted, axis=1), 1)

    def counts(self, outputs: TagScores, targets: Array) -> dict[str, Array]:
        """Count the words of each text, those that are right, and whether all are."""
        counted = targets != NO_LABEL
        right = (self.decode(outputs) == targets) | ~counted
        return {
            "words": counted.sum(axis=1, dtype=jnp.int32),
            "right": (right & counted).sum(axis=1, dtype=jnp.int32),
            "whole": right.all(axis=1).astype(jnp.int32),
        }

    def zero_counts(self) -> dict[str, Array]:
        """Return the counts of no texts."""
        return {name: jnp.int32(0) for name in ("words", "right", "whole")}

    def metrics(self, sums: Mapping[str, np.ndarray], examples: int) -> dict[str, float]:
        """Compute the share of words, and of whole texts, that are right."""
        return {
            "token_accuracy": int(sums["right"]) / max(int(sums["words"]), 1),
            "sequence_accuracy": int(sums["whole"]) / examples,
        }

    def decode(self, outputs: TagScores) -> Array:
        """Return the most probable labels of each text, int32 ``(N, T)``."""
        scores, transitions, mask = outputs
        if transitions is None:
            return scores.argmax(-1).astype(jnp.int32)
        return most_probable(scores, transitions, mask)

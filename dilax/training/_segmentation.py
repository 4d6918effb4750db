"""Semantic segmentation: a class for each pixel, judged by intersection over union."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dilax._checks import integer
from dilax.training._losses import cross_entropy
from dilax.training._task import Task

MOST_CLASSES = 256
"""Labels of pixels are 8 bits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation(Task):
    r"""Classify each pixel: logits ``(N, H, W, classes)`` and integer labels ``(N, H, W)``.

    The loss of an image is the mean cross-entropy of its labelled pixels; 0 if it has none. With
    :math:`n_{ij}` pixels of class :math:`i` that are predicted as :math:`j`, the metrics are

    .. math:: \text{mean\_iou} = \frac{1}{|C|} \sum_{c \in C}
              \frac{n_{cc}}{\sum_j n_{cj} + \sum_i n_{ic} - n_{cc}}, \qquad
              \text{pixel\_accuracy} = \frac{\sum_c n_{cc}}{\sum_{ij} n_{ij}}

    over the set :math:`C` of classes with a label or a prediction. Pixels are counted in float32,
    exactly up to :math:`2^{24}` of each pair of classes.

    Raises:
        ValueError: There are fewer than 2 or more than 256 classes, or ``void`` is one of them.
        TypeError: A value is not an integer.

    Source: M. Everingham et al., "The Pascal Visual Object Classes Challenge", 2015, section 4.2.3.

    >>> task = Segmentation(classes=2)
    >>> task.decode(jnp.zeros((1, 4, 4, 2))).shape
    (1, 4, 4)
    """

    score: str = dataclasses.field(default="mean_iou", init=False)

    classes: int
    """Number of classes, the background included."""
    void: int | None = None
    """The label of pixels that do not count; None if all do."""

    def __post_init__(self) -> None:
        """Check all values."""
        integer(self.classes, "classes", minimum=2, maximum=MOST_CLASSES)
        if self.void is not None and 0 <= integer(self.void, "void") < self.classes:
            raise ValueError(
                f"void must be no class, which are 0 to {self.classes - 1}, got {self.void}."
            )

    def losses(self, outputs: Array, targets: Array) -> Array:
        """Compute the mean cross-entropy of the labelled pixels of each image."""
        counted = self._counted(targets)
        losses = cross_entropy(outputs, jnp.where(counted, targets, 0).astype(jnp.int32))
        summed = jnp.sum(losses, axis=(1, 2), where=counted)
        return summed / jnp.maximum(jnp.sum(counted, axis=(1, 2)), 1)

    def counts(self, outputs: Array, targets: Array) -> dict[str, Array]:
        """Count the pixels of each class by their prediction, ``(N, classes, classes)``."""
        labels = jnp.where(self._counted(targets), targets, self.classes)  # one-hot of none
        rows = jax.nn.one_hot(labels, self.classes, dtype=jnp.float32)
        columns = jax.nn.one_hot(outputs.argmax(-1), self.classes, dtype=jnp.float32)
        return {"confusion": jnp.einsum("nhwi,nhwj->nij", rows, columns)}

    def zero_counts(self) -> dict[str, Array]:
        """Return a confusion matrix of no pixels."""
        return {"confusion": jnp.zeros((self.classes, self.classes), jnp.float32)}

    def metrics(self, sums: Mapping[str, np.ndarray], examples: int) -> dict[str, float]:
        """Compute mean intersection over union, and pixel accuracy."""
        confusion = sums["confusion"].astype(np.float64)
        found = intersection_over_union(confusion)
        return {
            "mean_iou": float(np.nanmean(found)) if not np.isnan(found).all() else 0.0,
            "pixel_accuracy": float(np.trace(confusion) / max(confusion.sum(), 1)),
        }

    def decode(self, outputs: Array) -> Array:
        """Return the predicted class of each pixel, uint8 ``(N, H, W)``."""
        return outputs.argmax(-1).astype(jnp.uint8)

    def _counted(self, targets: Array) -> Array:
        return jnp.ones(targets.shape, bool) if self.void is None else targets != self.void


def intersection_over_union(confusion: np.ndarray) -> np.ndarray:
    r"""Compute intersection over union of each class.

    Args:
        confusion: ``(classes, classes)`` counts of pixels: rows are labels, columns predictions.

    Returns:
        ``(classes,)``; not a number for a class without labels and predictions.

    Raises:
        ValueError: The counts are not square.
        TypeError: They are no array of numbers.

    >>> intersection_over_union(np.array([[2, 1], [0, 1]])).round(2).tolist()
    [0.67, 0.5]
    """
    counts = np.asarray(confusion)
    if counts.dtype.kind not in "iuf":
        raise TypeError(f"confusion must be an array of numbers, got {counts.dtype}.")
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"confusion must have shape (classes, classes), got {counts.shape}.")
    both = np.diagonal(counts).astype(np.float64)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    return np.divide(both, either, out=np.full(len(counts), np.nan), where=either > 0)

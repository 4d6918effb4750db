"""Detection of objects by their centres: heat maps, sizes and offsets, and boxes from them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dilax._checks import LONGEST, integer
from dilax.training._boxes import box_iou, non_maximum_suppression
from dilax.training._task import Task

NEAR = 0.7
"""Intersection over union with the true box that a box keeps when its centre is off by the radius
within which a heat map's target is above zero."""
SIZE_WEIGHT = 0.1
CONFIDENT = 0.3
"""Score from which on a detection counts in the metrics."""
FOUND = 0.5
"""Intersection over union from which on a detection is right."""


class Boxes(NamedTuple):
    """The objects of images, padded to equally many."""

    boxes: Any
    """``(N, M, 4)`` float32: top, left, bottom and right in pixels, the last two behind the
    object."""
    labels: Any
    """``(N, M)`` int32: classes; -1 where there is no further object."""


Centres = Mapping[str, Array]
"""What a detector computes at each place of a grid, ``stride`` pixels apart: ``heat``
``(N, h, w, classes)``, logits of an object of the class having its centre there; ``size``
``(N, h, w, 2)``, height and width of that object in strides; ``offset`` ``(N, h, w, 2)``, from the
place to its centre, down and to the right, in strides."""


class Detections(NamedTuple):
    """Boxes that were found, the best first."""

    boxes: Any
    """``(N, K, 4)`` float32: top, left, bottom and right, in pixels."""
    scores: Any
    """``(N, K)`` float32: probabilities, 0 for those that a better one of the class overlaps."""
    labels: Any
    """``(N, K)`` int32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detection(Task):
    r"""Find objects by their centres: outputs ``Centres``, targets ``Boxes``.

    With the heat :math:`p = \sigma(z)` and its target :math:`q`, a Gaussian around each centre that
    is 1 at the nearest place :math:`c`, the loss of an image with :math:`M` objects is

    .. math:: \frac{1}{\max(M, 1)} \Big( -\sum_{q = 1} (1 - p)^2 \log p
              - \sum_{q < 1} (1 - q)^4 p^2 \log (1 - p)
              + \sum_{c} 0.1 \, |s_c - \hat s_c|_1 + |o_c - \hat o_c|_1 \Big)

    The metrics count detections with a score of at least 0.3 as right if they share half of their
    union with an object of their class: ``recall``, the share of objects that were found,
    ``precision``, the share of detections that are right, and ``f1``, their harmonic mean.

    Raises:
        ValueError: A value is out of range.
        TypeError: A value is not an integer.

    Source: X. Zhou et al., "Objects as Points", 2019.

    >>> task = Detection(classes=3, stride=4, most=5)
    >>> flat = jnp.zeros((1, 8, 8, 2))
    >>> outputs = {"heat": jnp.zeros((1, 8, 8, 3)), "size": flat, "offset": flat}
    >>> task.decode(outputs).boxes.shape
    (1, 5, 4)
    """

    score: str = dataclasses.field(default="f1", init=False)

    classes: int
    """Number of classes."""
    stride: int
    """Pixels between neighbouring places of the grid."""
    most: int = 20
    """Most detections in an image."""

    def __post_init__(self) -> None:
        """Check all values."""
        for name in ("classes", "stride", "most"):
            integer(getattr(self, name), name, minimum=1, maximum=LONGEST)

    def losses(self, outputs: Centres, targets: Boxes) -> Array:
        """Compute the loss of each image."""
        return jax.vmap(self._loss)(outputs, targets)

    def counts(self, outputs: Centres, targets: Boxes) -> dict[str, Array]:
        """Count objects, objects found, detections, and detections that are right."""
        return jax.vmap(self._judge)(self.decode(outputs), targets)

    def zero_counts(self) -> dict[str, Array]:
        """Return counts of nothing."""
        return {name: jnp.int32(0) for name in ("objects", "found", "detections", "right")}

    def metrics(self, sums: Mapping[str, np.ndarray], examples: int) -> dict[str, float]:
        """Compute recall, precision and their harmonic mean."""
        recall = float(sums["found"]) / max(float(sums["objects"]), 1)
        precision = float(sums["right"]) / max(float(sums["detections"]), 1)
        both = 2 * recall * precision / max(recall + precision, 1e-9)
        return {"f1": both, "recall": recall, "precision": precision}

    def decode(self, outputs: Centres) -> Detections:
        """Find the ``most`` best boxes of each image."""
        return jax.vmap(self._decode)(outputs)

    def _loss(self, outputs: Centres, targets: Boxes) -> Array:
        """Compute the loss of one image."""
        there = targets.labels >= 0
        centre, size = self._in_strides(targets.boxes)
        height, width, _ = outputs["heat"].shape
        last = jnp.array([[height - 1, width - 1]], jnp.float32)
        place = jnp.clip(jnp.floor(centre), 0, last).astype(jnp.int32)
        heat = self._heat(place, size, targets.labels, height, width)
        at = (place[:, 0], place[:, 1])
        size_error = jnp.abs(outputs["size"][at] - size).sum(axis=-1)
        offset_error = jnp.abs(outputs["offset"][at] - (centre - place)).sum(axis=-1)
        regression = jnp.sum(SIZE_WEIGHT * size_error + offset_error, where=there)
        return (_focal(outputs["heat"], heat) + regression) / jnp.maximum(there.sum(), 1)

    def _in_strides(self, boxes: Array) -> tuple[Array, Array]:
        low, high = boxes[:, :2] / self.stride, boxes[:, 2:] / self.stride
        return (low + high) / 2, high - low

    def _heat(self, place: Array, size: Array, labels: Array, height: int, width: int) -> Array:
        """Draw the target of the heat: for each class, the largest Gaussian of its objects."""
        rows = jnp.arange(height)[None, :, None] - place[:, 0, None, None]
        columns = jnp.arange(width)[None, None, :] - place[:, 1, None, None]
        deviation = jnp.maximum(_radius(size), 1)[:, None, None] / 3
        bumps = jnp.exp(-(rows**2 + columns**2) / (2 * deviation**2))
        of_class = labels[:, None] == jnp.arange(self.classes)[None]
        return jnp.max(
            jnp.where(of_class[:, None, None, :], bumps[..., None], 0), axis=0, initial=0
        )

    def _decode(self, outputs: Centres) -> Detections:
        """Find the best boxes of one image: peaks of the heat that no better box overlaps."""
        _, width, classes = outputs["heat"].shape
        heat = jax.nn.sigmoid(outputs["heat"])
        peak = lax.reduce_window(heat, 0.0, lax.max, (3, 3, 1), (1, 1, 1), "SAME")
        candidates = jnp.where(heat == peak, heat, 0).ravel()
        found = min(self.most, candidates.size)
        scores, indices = lax.top_k(candidates, found)
        places, labels = indices // classes, (indices % classes).astype(jnp.int32)
        at = (places // width, places % width)
        centre = jnp.stack(at, axis=-1) + outputs["offset"][at]
        half = jnp.maximum(outputs["size"][at], 0) / 2
        boxes = self.stride * jnp.concatenate([centre - half, centre + half], axis=-1)
        kept = non_maximum_suppression(boxes, scores, labels)
        return _padded(Detections(boxes, jnp.where(kept, scores, 0), labels), self.most)

    def _judge(self, found: Detections, targets: Boxes) -> dict[str, Array]:
        """Count the objects and the detections of one image."""
        there, told = targets.labels >= 0, found.scores >= CONFIDENT
        alike = found.labels[:, None] == targets.labels[None]
        match = (box_iou(found.boxes, targets.boxes) >= FOUND) & alike
        match &= told[:, None] & there[None]
        counted = {
            "objects": there,
            "found": match.any(axis=0),
            "detections": told,
            "right": match.any(axis=1),
        }
        return {name: each.sum(dtype=jnp.int32) for name, each in counted.items()}


def _focal(logits: Array, target: Array) -> Array:
    """Sum the penalty-reduced focal loss over the places and classes of one image."""
    log_p, log_q = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    p = jnp.exp(log_p)
    at_centre = (1 - p) ** 2 * log_p
    elsewhere = (1 - target) ** 4 * p**2 * log_q
    return -jnp.where(target >= 1, at_centre, elsewhere).sum()


def _radius(size: Array) -> Array:
    """Return how far a box may be shifted along both axes and keep ``NEAR`` of the union.

    Shifted by ``r`` along each axis, boxes of ``h`` by ``w`` share ``(h - r) (w - r)``, which is to
    be ``2 NEAR / (1 + NEAR)`` of their area.
    """
    height, width = size[:, 0], size[:, 1]
    half = (height + width) / 2
    lost = height * width * (1 - 2 * NEAR / (1 + NEAR))
    return half - jnp.sqrt(jnp.maximum(half**2 - lost, 0))


def _padded(found: Detections, most: int) -> Detections:
    def pad(array: Any) -> Array:
        return jnp.pad(array, [(0, most - array.shape[0])] + [(0, 0)] * (array.ndim - 1))

    return Detections(*map(pad, found))

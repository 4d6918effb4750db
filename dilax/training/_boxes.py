"""Boxes: how much two of them share, and which of many to keep."""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from dilax._arrays import as_array
from dilax._checks import number


def box_iou(boxes: ArrayLike, others: ArrayLike) -> Array:
    r"""Compute intersection over union of every box with every other box.

    .. math:: \mathrm{IoU}(a, b) = \frac{|a \cap b|}{|a| + |b| - |a \cap b|}

    Args:
        boxes: ``(N, 4)``: top, left, bottom and right; an empty box shares nothing.
        others: ``(M, 4)``.

    Returns:
        ``(N, M)`` floats in [0, 1].

    Raises:
        ValueError: A shape is another one.
        TypeError: An argument is no array.

    >>> box_iou(jnp.array([[0.0, 0, 2, 2]]), jnp.array([[0.0, 1, 2, 3]])).tolist()
    [[0.3...]]
    """
    boxes, others = _checked(boxes, "boxes")[:, None], _checked(others, "others")[None]
    low = jnp.maximum(boxes[..., :2], others[..., :2])
    high = jnp.minimum(boxes[..., 2:], others[..., 2:])
    shared = _area(low, high)
    union = _area(boxes[..., :2], boxes[..., 2:]) + _area(others[..., :2], others[..., 2:]) - shared
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0)


@functools.partial(jax.jit, static_argnames="iou")
def non_maximum_suppression(
    boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike, *, iou: float = 0.5
) -> Array:
    """Keep the boxes that no better one of their class overlaps.

    In the order of their scores, a box is kept unless it shares at least ``iou`` of its union with
    a box of its class that was kept before.

    Args:
        boxes: ``(N, 4)``: top, left, bottom and right.
        scores: ``(N,)``.
        labels: ``(N,)`` integers.
        iou: The intersection over union from which on a box is dropped, above 0 and up to 1.

    Returns:
        ``(N,)`` booleans: whether each box is kept.

    Raises:
        ValueError: A shape is another one, or ``iou`` is out of range.
        TypeError: An argument is no array.

    Source: P. Felzenszwalb et al., "Object Detection with Discriminatively Trained Part-Based
    Models", 2010, section 7.

    >>> boxes = jnp.array([[0.0, 0, 4, 4], [0, 0, 4, 5], [0, 0, 4, 5]])
    >>> non_maximum_suppression(boxes, jnp.array([0.9, 0.8, 0.7]), jnp.array([1, 1, 2])).tolist()
    [True, False, True]
    """
    if not 0 < number(iou, "iou") <= 1:
        raise ValueError(f"iou must be above 0 and up to 1, got {iou}.")
    boxes, scores, labels = _checked(boxes, "boxes"), jnp.asarray(scores), jnp.asarray(labels)
    count = boxes.shape[0]
    if scores.shape != (count,) or labels.shape != (count,):
        raise ValueError(
            f"scores and labels must have shape ({count},), one for each box, got {scores.shape} "
            f"and {labels.shape}."
        )
    order = jnp.argsort(-scores)
    overlap = (box_iou(boxes, boxes) >= iou) & (labels[:, None] == labels[None])
    overlap = overlap[order][:, order]

    def keep(place: int, kept: Array) -> Array:
        before = kept & (jnp.arange(count) < place)
        return kept.at[place].set(~(overlap[place] & before).any())

    kept = lax.fori_loop(0, count, keep, jnp.zeros(count, bool))
    return jnp.zeros(count, bool).at[order].set(kept)


def _area(low: Array, high: Array) -> Array:
    sides = jnp.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1]


def _checked(boxes: ArrayLike, name: str) -> Array:
    array = as_array(boxes, name)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} must have shape (N, 4), got {array.shape}.")
    return array

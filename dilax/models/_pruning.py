"""Pruning: trained networks of separable blocks without the channels that matter least.

A channel runs through a whole stage, because blocks that keep their width add their input to their
output. So it is removed everywhere at once: the column of every pointwise kernel that writes it,
with its normalisation, and the depthwise filter and the row of the pointwise kernel that read it.
What is left is a narrower network of the same kind.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from dilax._checks import check_instance, integer, number, shown
from dilax.models._dsdc import CifarDSDC, MnistDSDC
from dilax.models._trained import TrainedClassifier

Kept = np.ndarray
"""The indices of the channels that stay."""
PRUNABLE = (MnistDSDC, CifarDSDC)


def prune(
    model: TrainedClassifier,
    share: float,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    batch_size: int = 256,
) -> TrainedClassifier:
    """Remove channels from a trained network, so that it becomes smaller and faster.

    Each stage keeps ``share`` of its channels, those that matter most to the loss. The importance
    of a channel is the square of what the loss would change by if the channel were zero, to first
    order, over batches ``b`` of training images and the layers ``l`` that write the channel::

        importance[c] = sum_b sum_l (scale[l, c] dL_b/dscale[l, c] + bias[l, c] dL_b/dbias[l, c])^2

    where ``scale`` and ``bias`` are those of batch normalisation. Multiply-adds and parameters fall
    to about ``share`` squared, and accuracy falls, too: train the result for some more epochs.

    Args:
        model: A trained ``mnist_dsdc`` or ``dsdc``. It stays as it is.
        share: Part of the channels to keep, above 0 and up to 1.
        images: Training images ``(N, H, W, C)``, uint8 or floats in [0, 1], in the size of the
            network's input; some thousands are enough.
        labels: Their classes, integers ``(N,)``.
        batch_size: Images in a batch.

    Returns:
        The narrower network. ``save`` keeps it in a file, from which a program trains on with
        ``--init FILE``.

    Raises:
        TypeError: The network is of another kind, or an argument has another type.
        ValueError: ``share`` is out of range, or images and labels do not fit.

    Source: P. Molchanov et al., "Importance estimation for neural network pruning", 2019.

    >>> from dilax.models import Description, Preparation
    >>> preparation = Preparation(height=28, width=28, mean=(0.1,), std=(0.3,))
    >>> description = Description(
    ...     model="mnist_dsdc", class_names=tuple("0123456789"), preparation=preparation
    ... )
    >>> model = TrainedClassifier(description.create(), description)
    >>> images, labels = np.zeros((8, 28, 28, 1), np.uint8), np.arange(8)
    >>> prune(model, 0.5, images, labels).description.options["widths"]
    (12, 12, 12, 16, 16, 16, 16)
    """
    check_instance(model, TrainedClassifier, "model")
    if not isinstance(model.network, PRUNABLE):
        known = " or ".join(kind.__name__ for kind in PRUNABLE)
        raise TypeError(
            f"model must be a network of separable blocks, {known}, got "
            f"{type(model.network).__name__}."
        )
    if not 0 < number(share, "share") <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}.")
    size = integer(batch_size, "batch_size", minimum=1)
    pixels, classes = _checked(model, images, labels)
    found = _importance(model, pixels, classes, size)
    kept = [_largest(each, share) for each in _by_stage(model.network, found)]
    return _narrowed(model, kept)


def _checked(
    model: TrainedClassifier, images: ArrayLike, labels: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    pixels, classes = np.asarray(images), np.asarray(labels)
    shape, count = model.preparation.image_shape, len(model.class_names)
    if pixels.shape[1:] != shape or not len(pixels):
        expected = ", ".join(map(str, shape))
        raise ValueError(f"images must have shape (N, {expected}), got {pixels.shape}.")
    if not np.issubdtype(classes.dtype, np.integer):
        raise TypeError(f"labels must be integers, got {classes.dtype}.")
    if classes.shape != pixels.shape[:1] or classes.min() < 0 or classes.max() >= count:
        raise ValueError(
            f"labels must be {len(pixels)} integers from 0 to {count - 1}, got {shown(classes)}."
        )
    return pixels, classes


def _importance(
    model: TrainedClassifier, images: np.ndarray, labels: np.ndarray, batch_size: int
) -> list[np.ndarray]:
    """Compute the importance of each channel, for the stem and for each block."""
    graphdef, *states = nnx.split(model.network, nnx.Param, ...)
    params, rest = states

    def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        network = nnx.merge(graphdef, params, rest)
        chosen = jax.nn.log_softmax(network(model.preparation.normalise(images)))
        return -jnp.take_along_axis(chosen, labels[:, None], axis=1).mean()

    @jax.jit
    def of_batch(images: jax.Array, labels: jax.Array) -> list[jax.Array]:
        gradients = nnx.merge(graphdef, jax.grad(loss)(params, images, labels), rest)
        pairs = zip(_norms(nnx.merge(graphdef, params, rest)), _norms(gradients), strict=True)
        return [
            jnp.square(w.scale[...] * g.scale[...] + w.bias[...] * g.bias[...]) for w, g in pairs
        ]

    total: list[np.ndarray] | None = None
    for start in range(0, len(images), batch_size):
        one = slice(start, start + batch_size)
        found = [np.asarray(each) for each in of_batch(images[one], labels[one])]
        total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
    assert total is not None
    return total


def _norms(network: Any) -> list[Any]:
    """Return what holds scale and bias of each layer that writes channels."""
    return [network.stem_norm, *network.blocks]


def _by_stage(network: Any, importance: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Sum the importance over the blocks of each stage, after that of the stem."""
    starts = [0, *(1 + place for place in network.WIDENING), len(importance)]
    return [np.sum(importance[start:end], axis=0) for start, end in itertools.pairwise(starts)]


def _largest(importance: np.ndarray, share: float) -> Kept:
    """Return the indices of the most important channels in ascending order, at least one."""
    count = max(round(share * len(importance)), 1)
    return np.sort(np.argsort(-importance, kind="stable")[:count])


def _narrowed(model: TrainedClassifier, kept: Sequence[Kept]) -> TrainedClassifier:
    """Create the network that has only the channels ``kept``, of the stem and of each stage."""
    old: Any = model.network
    stage = np.searchsorted(old.WIDENING, np.arange(old.BLOCKS), side="right")
    written = [kept[0], *(kept[number] for number in stage)]
    options = {
        **model.description.options,
        "stem_features": len(kept[0]),
        "widths": tuple(len(each) for each in written[1:]),
    }
    description = dataclasses.replace(model.description, options=options)
    new: Any = description.create()
    new.stem.kernel[...] = old.stem.kernel[..., kept[0]]
    _copy_norm(old.stem_norm, new.stem_norm, kept[0])
    for place, (before, after) in enumerate(zip(old.blocks, new.blocks, strict=True)):
        rows, columns = written[place], written[place + 1]
        after.depthwise_kernel[...] = before.depthwise_kernel[..., rows]
        after.pointwise_kernel[...] = before.pointwise_kernel[...][np.ix_(rows, columns)]
        _copy_norm(before, after, columns)
    new.head.kernel[...] = old.head.kernel[...][written[-1]]
    new.head.bias[...] = old.head.bias[...]
    return TrainedClassifier(new, description)


def _copy_norm(old: Any, new: Any, kept: Kept) -> None:
    """Copy what normalises the channels ``kept``."""
    for name in ("scale", "bias", "mean", "var"):
        getattr(new, name)[...] = getattr(old, name)[...][kept]

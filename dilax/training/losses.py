"""What training minimises and what it counts: per example, never reduced."""

import jax
import jax.numpy as jnp
import optax
from jax import Array

from dilax._arrays import as_array
from dilax._checks import number


def cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Array:
    r"""Softmax cross-entropy of each example, with smoothed labels.

    .. math:: \ell_n = -\sum_c q_{nc} \log \operatorname{softmax}(z_n)_c, \qquad
              q_{nc} = (1 - \alpha) [c = y_n] + \alpha / C

    Args:
        logits: `(..., C)` floats, :math:`z`: of images, or of every pixel.
        labels: `(...)` integers in `[0, C)`, :math:`y`.
        label_smoothing: :math:`\alpha` in `[0, 1)`; 0 is the plain cross-entropy.

    Returns:
        `(...)` losses in nats.

    Raises:
        ValueError: `label_smoothing` is outside `[0, 1)`, or the shapes do not fit.
        TypeError: one is no array, or labels are no integers.

    Source: C. Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7.

    >>> cross_entropy(jnp.zeros((2, 10)), jnp.array([3, 7])).round(3).tolist()
    [2.303..., 2.303...]
    """
    logits, labels = _labelled(logits, labels)
    check_smoothing(label_smoothing)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"logits must be of floating point, received {logits.dtype}")
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, label_smoothing))


def correct(logits: Array, labels: Array) -> Array:
    """Whether the largest logit of each example is that of its label.

    Args:
        logits: `(..., C)` floats.
        labels: `(...)` integers.

    Returns:
        `(...)` booleans; their mean is the accuracy.

    >>> correct(jnp.eye(3), jnp.array([0, 1, 0])).tolist()
    [True, True, False]
    """
    logits, labels = _labelled(logits, labels)
    return jnp.argmax(logits, axis=-1) == labels


def _labelled(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Both as arrays; refused where they are not those of the same examples."""
    logits, labels = as_array(logits, "logits"), as_array(labels, "labels")
    if not logits.ndim or not logits.shape[-1] or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"logits must be (..., C) and labels (...), received logits of shape {logits.shape} "
            f"and labels of {labels.shape}"
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, received {labels.dtype}; are they one-hot?")
    if jnp.issubdtype(logits.dtype, jnp.complexfloating):
        raise TypeError(f"logits must be real, received {logits.dtype}")
    return logits, labels


def check_smoothing(label_smoothing: float) -> None:
    """Refuse what is no share of a label."""
    if not 0.0 <= number(label_smoothing, "label_smoothing") < 1.0:
        raise ValueError(
            f"label_smoothing must be in [0, 1), received {label_smoothing}; usual values are "
            "0 to 0.2"
        )

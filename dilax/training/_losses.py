"""Classification losses, one per example, and mixup, which blends pairs of examples."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from dilax._arrays import as_array
from dilax._checks import LONGEST, entries, integer, number, shown

MIN_ALPHA, MAX_ALPHA = 1e-20, 1e20
"""Beyond these, float32 draws no longer change: all are 0 or 1, or all are one half."""


def cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Array:
    r"""Compute the softmax cross-entropy of each example, with smoothed labels.

    .. math:: \ell_n = -\sum_c q_{nc} \log \operatorname{softmax}(z_n)_c, \qquad
              q_{nc} = (1 - \alpha) [c = y_n] + \alpha / C

    Args:
        logits: ``(..., C)`` floats, :math:`z`: of images, or of every pixel.
        labels: ``(...)`` integers in ``[0, C)``, :math:`y`.
        label_smoothing: :math:`\alpha` in ``[0, 1)``; 0 is the plain cross-entropy.

    Returns:
        ``(...)`` losses in nats.

    Raises:
        ValueError: ``label_smoothing`` is outside ``[0, 1)``, or the shapes do not fit.
        TypeError: An argument is not an array, or the labels are not integers.

    Source: C. Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7.

    >>> cross_entropy(jnp.zeros((2, 10)), jnp.array([3, 7])).round(3).tolist()
    [2.303..., 2.303...]
    """
    logits, labels = _checked(logits, labels)
    check_smoothing(label_smoothing)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"logits must be of a floating-point type, got {logits.dtype}.")
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, label_smoothing))


def correct(logits: Array, labels: Array) -> Array:
    """Compare the class of the largest logit with the label of each example.

    Args:
        logits: ``(..., C)`` real numbers.
        labels: ``(...)`` integers.

    Returns:
        ``(...)`` booleans; their mean is the accuracy.

    Raises:
        ValueError: The shapes do not fit.
        TypeError: An argument is not an array, or the labels are not integers.

    >>> correct(jnp.eye(3), jnp.array([0, 1, 0])).tolist()
    [True, True, False]
    """
    logits, labels = _checked(logits, labels)
    return jnp.argmax(logits, axis=-1) == labels


def balanced_class_weights(labels: np.ndarray, *, classes: int) -> tuple[float, ...]:
    r"""Compute weights of classes with which each class has the same share of a loss.

    .. math:: w_c = \frac{N}{P \, n_c}

    for :math:`n_c` of the :math:`N` examples in class :math:`c`, and :math:`P` classes with
    examples; 0 for a class without. The mean of :math:`w_{y_n}` over the examples is 1, so that
    learning rates need no change.

    Args:
        labels: ``(N,)`` integers in ``[0, classes)``: those of the training set.
        classes: Number of classes.

    Raises:
        ValueError: There is no label, or one is not a class.
        TypeError: The labels are not integers.

    Source: G. King and L. Zeng, "Logistic Regression in Rare Events Data", 2001.

    >>> balanced_class_weights(np.array([0, 0, 0, 1]), classes=2)
    (0.666..., 2.0)
    """
    classes = integer(classes, "classes", minimum=1, maximum=LONGEST)
    given = np.asarray(labels)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
        raise TypeError(f"labels must be integers (N,), got {shown(labels)}.")
    if not given.size or given.min() < 0 or given.max() >= classes:
        raise ValueError(
            f"labels must be at least one integer in [0, classes={classes}), got {shown(labels)}."
        )
    counts = np.bincount(given, minlength=classes)
    present = int(np.count_nonzero(counts))
    return tuple(given.size / (present * count) if count else 0.0 for count in counts.tolist())


def weigh(losses: Array, labels: Array, class_weights: tuple[float, ...] | None) -> Array:
    """Multiply the loss of each example by the weight of its class, if there are weights."""
    if class_weights is None:
        return losses
    return losses * jnp.asarray(class_weights, losses.dtype)[labels]


def check_class_weights(class_weights: tuple[float, ...] | None) -> None:
    """Refuse weights that are not a sequence of finite numbers, 0 or more."""
    if class_weights is None:
        return
    for weight in entries(class_weights, "class_weights", "numbers"):
        if not number(weight, "each of class_weights") >= 0:
            raise ValueError(f"class_weights must be 0 or more, got {weight}.")


def draw_shares(keys: Array, *, alpha: float) -> Array:
    r"""Draw the mixup share of each example, equal for both examples of a pair.

    .. math:: \lambda \sim \operatorname{Beta}(\alpha, \alpha)

    Args:
        keys: ``(N,)`` PRNG keys. Examples 0 and 1, 2 and 3, ... form pairs; the key of the first
            one is used.
        alpha: :math:`\alpha`, positive; 0.2 blends few pairs strongly, 1 is the uniform
            distribution.

    Returns:
        ``(N,)`` float32 in ``[0, 1]``.

    Raises:
        ValueError: The number of examples is odd, or ``alpha`` is not positive.
        TypeError: ``keys`` are not PRNG keys.

    Source: H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018.

    >>> shares = draw_shares(jax.random.split(jax.random.key(0), 4), alpha=1.0)
    >>> bool((shares[::2] == shares[1::2]).all())
    True
    """
    if not number(alpha, "alpha") > 0:
        raise ValueError(f"alpha must be positive, got {alpha}; usual values are 0.1 to 1.")
    dtype, shape = getattr(keys, "dtype", None), tuple(getattr(keys, "shape", ()))
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(f"keys must be an array of jax.random.key, got {shown(keys)}.")
    if len(shape) != 1 or shape[0] % 2:
        raise ValueError(
            f"keys must be (N,) with an even N, got {shape}; mixup pairs neighbours, so the batch "
            "on each device, and each accumulated part of it, must be even."
        )
    clipped = min(max(float(alpha), MIN_ALPHA), MAX_ALPHA)
    drawn = jax.vmap(lambda key: jax.random.beta(key, clipped, clipped))(keys[::2])
    return jnp.repeat(drawn.astype(jnp.float32), 2)


def swap_pairs(array: Array) -> Array:
    """Swap examples 0 and 1, 2 and 3, ... along the first axis.

    >>> swap_pairs(jnp.array([1, 2, 3, 4])).tolist()
    [2, 1, 4, 3]
    """
    return array.reshape(-1, 2, *array.shape[1:])[:, ::-1].reshape(array.shape)


def blend(array: Array, other: Array, shares: Array) -> Array:
    r"""Mix two arrays, example by example: :math:`\lambda a + (1 - \lambda) b`.

    >>> blend(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]), jnp.array([1.0, 0.5])).tolist()
    [1.0, 3.0]
    """
    shares = shares.reshape(-1, *[1] * (array.ndim - 1)).astype(array.dtype)
    return shares * array + (1 - shares) * other


def check_smoothing(label_smoothing: float) -> None:
    """Refuse a label smoothing outside ``[0, 1)``."""
    if not 0.0 <= number(label_smoothing, "label_smoothing") < 1.0:
        raise ValueError(
            f"label_smoothing must be in [0, 1), got {label_smoothing}; usual values are 0 to 0.2."
        )


def _checked(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Convert both to arrays; refuse shapes and types that do not fit."""
    logits, labels = as_array(logits, "logits"), as_array(labels, "labels")
    if not logits.ndim or not logits.shape[-1] or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"logits must be (..., C) and labels (...), got logits of shape {logits.shape} "
            f"and labels of shape {labels.shape}."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}; are they one-hot?")
    if jnp.issubdtype(logits.dtype, jnp.complexfloating):
        raise TypeError(f"logits must be real, got {logits.dtype}.")
    return logits, labels

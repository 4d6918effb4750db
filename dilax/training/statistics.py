"""Numbers over several runs, and over the classes of one."""

from collections.abc import Sequence

import numpy as np


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Give mean, sample standard deviation, least, greatest and number of `values`.

    The standard deviation of a single value is 0.

    >>> over_seeds([0.5, 1.0, 1.5])
    {'mean': 1.0, 'std': 0.5, 'min': 0.5, 'max': 1.5, 'n': 3}
    """
    array = np.asarray(values, np.float64)
    if array.size == 0:
        raise ValueError("values must hold at least one number, received none")
    return {
        "mean": float(array.mean()),
        "std": float(array.std(ddof=1)) if array.size > 1 else 0.0,
        "min": float(array.min()),
        "max": float(array.max()),
        "n": int(array.size),
    }


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, *, classes: int) -> np.ndarray:
    """Count how often each class was taken for each other.

    Args:
        labels: `(N,)` integers in `[0, classes)`.
        predictions: `(N,)` integers in `[0, classes)`.
        classes: how many there are.

    Returns:
        `(classes, classes)` counts: row the truth, column the prediction.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), classes=2).tolist()
    [[1, 0], [1, 1]]
    """
    pairs = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

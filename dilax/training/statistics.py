"""Numbers over several runs, and over the classes of one."""

from collections.abc import Sequence

import numpy as np

from dilax._checks import entries, integer, number, shown

_MOST_CLASSES = 10_000


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Give mean, sample standard deviation, least, greatest and number of `values`.

    The standard deviation of a single value is 0.

    >>> over_seeds([0.5, 1.0, 1.5])
    {'mean': 1.0, 'std': 0.5, 'min': 0.5, 'max': 1.5, 'n': 3}
    """
    given = (
        values.tolist() if isinstance(values, np.ndarray) else entries(values, "values", "numbers")
    )
    array = np.asarray([number(value, "each of values") for value in given], np.float64)
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

    Raises:
        ValueError: an entry is no class, or the lengths differ.
        TypeError: they are no integers.

    Returns:
        `(classes, classes)` counts: row the truth, column the prediction.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), classes=2).tolist()
    [[1, 0], [1, 1]]
    """
    classes = integer(classes, "classes", minimum=1, maximum=_MOST_CLASSES)
    truths, taken = (
        _classes_of(labels, "labels", classes),
        _classes_of(predictions, "predictions", classes),
    )
    if truths.shape != taken.shape:
        raise ValueError(
            f"labels and predictions must be as many, received {truths.shape} and {taken.shape}"
        )
    pairs = truths * classes + taken
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def _classes_of(values: np.ndarray, name: str, classes: int) -> np.ndarray:
    try:
        array = np.asarray(values)
        integers = array.astype(np.int64) if array.size else np.zeros(array.shape, np.int64)
        whole = array.ndim == 1 and np.array_equal(integers, array)
    except Exception as error:  # whatever a strange object does when it is asked
        raise TypeError(f"{name} must be integers (N,), received {shown(values)}") from error
    if not whole or not np.all((integers >= 0) & (integers < classes)):
        raise ValueError(
            f"{name} must be integers (N,) in [0, classes={classes}), received {shown(values)}"
        )
    return integers

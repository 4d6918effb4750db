"""What a run writes to its folder: JSON, the record of its results, and their statistics."""

import dataclasses
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import dilax._version
from dilax._atomic import write_bytes
from dilax._checks import entries, integer, number, shown

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
TABLE_FILE = "metrics.csv"
SUMMARY_FILE = "summary.json"
CHECKPOINTS_FOLDER = "checkpoints"
TENSORBOARD_FOLDER = "tensorboard"
MAX_CLASSES = 10_000
"""Largest confusion matrix."""


def check_run_folder(folder: Path, *, resume: bool) -> None:
    """Check whether a run can start, or resume, in ``folder``; nothing is created or changed.

    Raises:
        ValueError: A new run would write into a folder that is not empty, or there is no run to
            resume, or the path leads through a file.
    """
    if resume and not (folder / CONFIG_FILE).is_file():
        raise ValueError(
            f"output folder {folder} holds no run to resume ({CONFIG_FILE} is missing); leave out "
            "--resume to start one."
        )
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"output folder {folder}: {nearest} is a file; choose another --output.")
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(
            f"output folder {folder} is not empty; add --resume to continue the run in it, or "
            "choose another --output."
        )


def make_run_folder(folder: Path) -> None:
    """Create the folder of a run, unless it exists.

    Raises:
        ValueError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output folder {folder} cannot be made: {error.strerror}.") from error


def write_text(path: Path, content: str) -> None:
    """Write a text file atomically: until it is complete, the previous content stays.

    Raises:
        OSError: The file cannot be written; the message names it.
    """
    write_bytes(path, content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically.

    Raises:
        OSError: The file cannot be written; the message names it.
    """
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file.

    Raises:
        ValueError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}.") from error


def versions() -> dict[str, str]:
    """Return the versions of Python, dilax and the libraries that affect results."""
    libraries = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "python": platform.python_version(),
        "dilax": dilax._version.__version__,
        **{name: importlib.metadata.version(name) for name in libraries},
    }


def git_commit(folder: Path = Path(dilax._version.__file__).parent) -> str | None:
    """Return the git commit of the source in ``folder``, with ``-dirty`` if it has been changed.

    Only Python files of the repository count: a record that was just written is no change of the
    source. None outside a git checkout, or if git does not track the files of the folder.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", ".")
        changed = git("diff", "--name-only", "HEAD", "--", ":/*.py")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of ``summary.json``."""

    program: str
    """The program that made the run."""
    config: Mapping[str, Any]
    """Its flags."""
    dataset: str
    dataset_sha256: str
    """Fingerprint of all arrays of the data set."""
    dataset_source: str
    """Where these came from, and what was done to them."""
    model: str
    weights: str
    """The weights behind ``tests``, chosen before the run: final, ema or best."""
    tests: Mapping[str, float]
    """Results on the test examples by name, such as ``accuracy`` (a fraction) and ``loss`` of the
    reported weights, ``accuracy_final`` of those of the last step, and ``accuracy_ema`` of the
    moving average. In JSON their names begin with ``test_``."""
    classes: Sequence[Mapping[str, Any]]
    """The results on each class, such as those of ``class_accuracies``, of the weights that are
    reported; empty without classes."""
    parameters: int
    multiply_adds: int
    """For one example, in the forward pass; products with padding are counted."""
    epochs: int
    train_seconds: float
    """Time in training steps, without compilation, evaluation and saving."""
    compile_seconds: float
    device: str
    devices: int
    """How many devices shared a batch."""
    processes: int
    rollbacks: int
    """How often the run diverged and went back to a checkpoint."""
    seed: int
    versions: Mapping[str, str] = dataclasses.field(default_factory=versions)
    git_commit: str | None = dataclasses.field(default_factory=git_commit)

    def as_json(self) -> dict[str, Any]:
        """Convert the record to a JSON object."""
        content: dict[str, Any] = {}
        for name, value in dataclasses.asdict(self).items():
            each = name == "tests"
            content |= {f"test_{key}": one for key, one in value.items()} if each else {name: value}
        return content


def combine_records(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine the records of runs with several seeds, JSON objects of ``RunRecord``, into one.

    Results on the test examples become their means, with all statistics under ``over_seeds``;
    seconds add up; everything else is taken from the first record.
    """
    by_class = zip(*(record["classes"] for record in records), strict=True)
    measured = [name for name in records[0] if name.startswith("test_")]
    over = {name: over_seeds([record[name] for record in records]) for name in measured}
    spent = ("train_seconds", "compile_seconds")
    return {
        **records[0],
        **{name: summary["mean"] for name, summary in over.items()},
        **{name: sum(record[name] for record in records) for name in spent},
        "classes": [_over_records(each) for each in by_class],
        "seeds": [record["seed"] for record in records],
        "over_seeds": over,
        "each": [{name: record[name] for name in ("seed", *measured)} for record in records],
    }


def best_step(history: Sequence[Mapping[str, Any]], *, score: str) -> int | None:
    """Find the step after the epoch of the highest validation score, the last of equal ones.

    Args:
        history: The lines of ``metrics.jsonl``.
        score: The metric, the larger the better.

    Returns:
        The step, or None without validation.
    """
    key = f"validation_{score}"
    validated = [(line[key], line["step"]) for line in history if key in line]
    return max(validated)[1] if validated else None


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Compute mean, sample standard deviation, minimum, maximum and number of ``values``.

    The standard deviation of a single value is 0.

    Raises:
        ValueError: There is no value, or one is not finite.
        TypeError: A value is not a number.

    >>> over_seeds([0.5, 1.0, 1.5])
    {'mean': 1.0, 'std': 0.5, 'min': 0.5, 'max': 1.5, 'n': 3}
    """
    given = entries(values, "values", "numbers")
    array = np.asarray([number(value, "each of values") for value in given], np.float64)
    if not given:
        raise ValueError("values must hold at least one number, got none.")
    return {
        "mean": float(array.mean()),
        "std": float(array.std(ddof=1)) if len(given) > 1 else 0.0,
        "min": float(array.min()),
        "max": float(array.max()),
        "n": len(given),
    }


def class_accuracies(
    labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Compute the accuracy on the images of each class, which is the recall of the class.

    Args:
        labels: ``(N,)`` integers, indices into ``class_names``.
        predictions: ``(N,)`` integers, indices into ``class_names``.
        class_names: One name per class.

    Returns:
        For each class a JSON object: its ``name``, the number of its ``images``, and the
        ``accuracy`` on these; None if there are none.

    Raises:
        ValueError: An entry is not a class, or the lengths differ.
        TypeError: The entries are not integers.

    >>> class_accuracies(np.array([0, 1, 1]), np.array([0, 1, 0]), ["cat", "dog"])[1]
    {'name': 'dog', 'images': 2, 'accuracy': 0.5}
    """
    classes = len(class_names)
    labels, predictions = _pairs_of(labels, predictions, classes)
    images = np.bincount(labels, minlength=classes).tolist()
    right = np.bincount(labels[labels == predictions], minlength=classes).tolist()
    return [
        {"name": name, "images": count, "accuracy": hits / count if count else None}
        for name, count, hits in zip(class_names, images, right, strict=True)
    ]


def _over_records(one_class: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Average the results of one class over several records; integers are counts, and equal."""
    averaged = {}
    for name in (key for key, value in one_class[0].items() if not isinstance(value, str | int)):
        found = [each[name] for each in one_class if each[name] is not None]
        averaged[name] = sum(found) / len(found) if found else None
    return {name: averaged.get(name, value) for name, value in one_class[0].items()}


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, *, classes: int) -> np.ndarray:
    """Count how often each class is predicted for the images of each class.

    Args:
        labels: ``(N,)`` integers in ``[0, classes)``.
        predictions: ``(N,)`` integers in ``[0, classes)``.
        classes: Number of classes.

    Returns:
        ``(classes, classes)`` counts: rows are labels, columns predictions.

    Raises:
        ValueError: An entry is not a class, or the lengths differ.
        TypeError: The entries are not integers.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), classes=2).tolist()
    [[1, 0], [1, 1]]
    """
    classes = integer(classes, "classes", minimum=1, maximum=MAX_CLASSES)
    rows, columns = _pairs_of(labels, predictions, classes)
    pairs = rows * classes + columns
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def _pairs_of(
    labels: np.ndarray, predictions: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Check labels and predictions; return both as integers."""
    rows = _classes_of(labels, "labels", classes)
    columns = _classes_of(predictions, "predictions", classes)
    if rows.shape != columns.shape:
        raise ValueError(
            f"labels and predictions must be equally many, got {rows.shape} and {columns.shape}."
        )
    return rows, columns


def _classes_of(values: np.ndarray, name: str, classes: int) -> np.ndarray:
    try:
        array = np.asarray(values)
        integers = array.astype(np.int64) if array.size else np.zeros(array.shape, np.int64)
        whole = array.ndim == 1 and np.array_equal(integers, array)
    except Exception as error:  # conversion of an arbitrary object can raise anything
        raise TypeError(f"{name} must be integers (N,), got {shown(values)}.") from error
    if not whole or not np.all((integers >= 0) & (integers < classes)):
        raise ValueError(
            f"{name} must be integers (N,) in [0, classes={classes}), got {shown(values)}."
        )
    return integers

"""What the program of time series does with them: read, augment, compare and draw them."""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from common import series_sets
from common.job import Examples, parts_of, require_held_out
from common.terminal import say, stage
from dilax import data, models, training
from dilax.models import Sequences
from dilax.training import Batch

SKLEARN = 'pip install "dilax-jax[text]"'
MOST_DRAWN = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeriesExamples(Examples):
    """Time series as a network takes them, with what a baseline is."""

    @functools.cached_property
    def baseline(self) -> float | None:
        """The accuracy of logistic regression on the test series; None without scikit-learn."""
        return baseline_accuracy(self.train, self.test, self.preparation)


def read(config: Any) -> SeriesExamples:
    """Read the data set that the flags name, and hold series out.

    Raises:
        ValueError: It cannot be read, or no series is left for training.
    """
    with stage(f"loading {config.dataset}", show=training.is_main_process()):
        found = load(config.dataset)
        parts = parts_of(config, found.splits, data.SeriesSplit.take, what="series")
        batches = {name: batch_of(split) for name, split in parts.items()}
    require_held_out(config, batches["validation"])
    return SeriesExamples(
        name=found.name,
        source=found.source,
        sha256=found.fingerprint,
        train=batches["train"],
        held_out=batches["validation"],
        test=batches["test"],
        class_names=found.class_names,
        preparation=models.SeriesPreparation.of_series(
            *batches["train"].inputs, each=config.normalise == "series"
        ),
    )


def batch_of(split: Any) -> Batch:
    """Return series with their lengths, and their labels."""
    return Batch(Sequences(split.series, split.lengths), split.labels)


def load(dataset: str) -> data.SeriesDataset:
    """Load a fetched set by its name, or the series at a path."""
    if dataset in series_sets.SHA256:
        return series_sets.load(dataset)
    if not Path(dataset).exists():
        raise ValueError(
            f"--dataset must be one of {', '.join(series_sets.SHA256)}, a file (.ts) or a folder "
            f"of NAME_TRAIN.ts and NAME_TEST.ts, got {dataset}."
        )
    return data.load_time_series(dataset)


def random_window(key: Array, inputs: Sequences, *, share: float, shift: float) -> Sequences:
    r"""Take a random part of each series, stretched to its length, and let it begin elsewhere.

    Value :math:`t` of a series of length :math:`L` becomes the one at :math:`(s + w t) \bmod L`,
    interpolated linearly: :math:`w` is drawn from ``[1 - share, 1]``, and :math:`s` so that the
    window lies inside, plus up to ``shift`` times :math:`L` in either direction. It is rounded
    down: without a ``share``, values stay as they are.

    Args:
        key: A PRNG key.
        inputs: Series ``(N, T, channels)`` with their lengths.
        share: Largest share of a series that is cut off, in ``[0, 1)``.
        shift: Largest shift in lengths of the series; what leaves at one end enters at the other.

    Source: A. Le Guennec et al., "Data Augmentation for Time Series Classification using
    Convolutional Neural Networks", 2016.
    """
    values, lengths = inputs.values, inputs.lengths.astype(jnp.float32)[:, None]
    drawn = jax.random.uniform(key, (3, len(values), 1))
    width = 1 - share * drawn[0]
    start = (1 - width) * drawn[1] + shift * (2 * drawn[2] - 1)
    places = jnp.floor(start * lengths) + width * jnp.arange(values.shape[1])[None]
    stretched = interpolate(values, places, lengths)
    return inputs._replace(values=jnp.where(inputs.mask[..., None], stretched, 0))


def interpolate(values: Array, places: Array, lengths: Array) -> Array:
    """Return the values of series ``(N, T, channels)`` at fractional places, around their ends.

    Args:
        values: The series.
        places: ``(N, T)``; those beyond an end enter at the other.
        lengths: ``(N, 1)`` floats, the number of values of each series.

    >>> interpolate(jnp.array([[[0.0], [4.0]]]), jnp.array([[-1.0, 0.25]]), jnp.array([[2.0]]))
    Array([[[4.],
            [1.]]], dtype=float32)
    """
    inside = places % lengths  # of a number just below 0, the length itself
    before = jnp.floor(inside)
    first, second = (
        jnp.take_along_axis(values, (place % lengths).astype(jnp.int32)[..., None], axis=1)
        for place in (before, before + 1)
    )
    return first + (inside - before)[..., None] * (second - first)


def random_scale(key: Array, inputs: Sequences, *, deviation: float) -> Sequences:
    """Multiply each channel of each series by a factor about 1, normally distributed."""
    shape = (len(inputs.values), 1, inputs.values.shape[2])
    factors = 1 + deviation * jax.random.normal(key, shape)
    return inputs._replace(values=inputs.values * factors)


def jitter(key: Array, inputs: Sequences, *, deviation: float) -> Sequences:
    """Add normally distributed noise to each value."""
    noise = deviation * jax.random.normal(key, inputs.values.shape)
    return inputs._replace(values=inputs.values + noise)


def reverse_half(key: Array, inputs: Sequences) -> Sequences:
    """Run each series backwards with probability one half."""
    steps = jnp.arange(inputs.values.shape[1])[None]
    back = jnp.where(inputs.mask, inputs.lengths[:, None] - 1 - steps, steps)
    mirrored = jnp.take_along_axis(inputs.values, back[..., None], axis=1)
    chosen = jax.random.bernoulli(key, shape=(len(inputs.values), 1, 1))
    return inputs._replace(values=jnp.where(chosen, mirrored, inputs.values))


def baseline_accuracy(
    train: Batch, test: Batch, preparation: models.SeriesPreparation
) -> float | None:
    """Compute the test accuracy of logistic regression on all values of the normalised series.

    None without scikit-learn.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        say(f"note: the baseline needs scikit-learn ({SKLEARN}), and is left out", file=sys.stderr)
        return None

    def flat(inputs: Sequences) -> np.ndarray:
        values = np.asarray(preparation.normalise(inputs).values)
        return values.reshape(len(values), -1)

    if len(np.unique(train.targets)) < 2:
        return None
    with stage("fitting the baseline", show=training.is_main_process()):
        model = LogisticRegression(max_iter=2000)
        model.fit(flat(train.inputs), train.targets)
        return float(model.score(flat(test.inputs), test.targets))


def draw_evidence(
    path: Path, model: models.TrainedSeriesClassifier, inputs: Sequences, labels: np.ndarray
) -> None:
    """Draw test series with what each time adds to the answer, red if it speaks against it.

    Args:
        path: The PNG file.
        model: The trained network.
        inputs: The series, as they are in files.
        labels: The class of each series.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    rows = spread(labels, MOST_DRAWN)
    height = -(-len(rows) // 3)
    figure = Figure(figsize=(12, 1.6 * height), dpi=100, layout="constrained")
    axes = figure.subplots(height, 3, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, row in zip(axes, rows, strict=False):
        values = np.asarray(inputs.values[row, : inputs.lengths[row]])
        scores, answer = model.explain(values), model.predict([values]).classes[0]
        limit = max(abs(scores).max(), 1e-6)
        for channel in np.moveaxis((values - values.mean(axis=0)) / (values.std() + 1e-6), -1, 0):
            points = list(enumerate(channel.tolist()))
            lines = LineCollection(list(itertools.pairwise(points)), linewidth=1.0)
            lines.set(array=scores[1:], cmap="RdYlGn", clim=(-limit, limit))
            axis.add_collection(lines)
        axis.autoscale()
        axis.set_title(f"{model.class_names[labels[row]]}, answer {answer}", fontsize=8)
    figure.savefig(path)


def spread(labels: np.ndarray, most: int) -> np.ndarray:
    """Choose a few rows, of each class in turn.

    >>> spread(np.array([0, 0, 0, 1, 1]), 3).tolist()
    [0, 1, 3]
    """
    turn = np.zeros(len(labels), int)
    for label in np.unique(labels):
        own = labels == label
        turn[own] = np.arange(own.sum())
    return np.sort(np.argsort(turn, kind="stable")[:most])


def by_class(labels: np.ndarray, found: np.ndarray, names: Any) -> list[Mapping[str, Any]]:
    """Compute the accuracy on the test series of each class."""
    rows = training.class_accuracies(labels, found, names)
    return [
        {"name": row["name"], "series": row["images"], "accuracy": row["accuracy"]} for row in rows
    ]

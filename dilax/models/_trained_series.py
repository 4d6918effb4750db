"""A trained classifier of time series."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dilax._checks import integer, shown
from dilax.data._series_files import read_file
from dilax.models._sequences import SequenceClassifier, Sequences
from dilax.models._series_preparation import SeriesPreparation
from dilax.models._text_preparation import padded
from dilax.models._trained import Predictions, TrainedNetwork, logits_of, probabilities_of

_LARGEST_BATCH = 2**16


class TrainedSeriesClassifier(TrainedNetwork):
    """A trained classifier of time series, its classes, and how series become its input.

    ``load`` creates it from the folder of a run or from a file.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.

    >>> from dilax.models import Description
    >>> description = Description(
    ...     model="tcn_dsdc", task="series_classification", class_names=("still", "moving"),
    ...     preparation=SeriesPreparation(mean=(0.0, 0.0), std=(1.0, 1.0)),
    ...     options={"in_features": 2},
    ... )
    >>> model = TrainedSeriesClassifier(description.create(), description)
    >>> model.predict([np.zeros((50, 2)), np.zeros((70, 2))]).probabilities.shape
    (2, 2)
    """

    task = "series_classification"
    network: SequenceClassifier

    def __repr__(self) -> str:
        return (
            f"TrainedSeriesClassifier({self.description.model}, {len(self.class_names)} classes, "
            f"{self.preparation.channels} channels)"
        )

    @property
    def preparation(self) -> SeriesPreparation:
        """How time series become its input."""
        found: Any = self.description.preparation
        return found

    def predict(
        self, series: str | os.PathLike[str] | Sequence[np.ndarray], *, batch_size: int = 64
    ) -> Predictions:
        """Compute the probability of each class for time series.

        The answer to a series does not depend on the others, nor on their lengths.

        Args:
            series: The path of a ``.ts`` file, with or without classes; or a sequence of arrays
                ``(T, channels)``, or ``(T,)`` of one channel.
            batch_size: Number of series that are computed together.

        Returns:
            The probabilities, in the order of the series.

        Raises:
            DataError: The file is damaged, or a series has other channels, no value, or one that is
                not finite.
            ValueError: ``batch_size`` is below 1.
            TypeError: ``series`` is neither.
        """
        size = integer(batch_size, "batch_size", minimum=1, maximum=_LARGEST_BATCH)
        encoded = self.preparation.encode(_as_arrays(series))
        found = np.empty((len(encoded.values), len(self.class_names)), np.float32)
        order = np.argsort(encoded.lengths, kind="stable")  # alike ones together: less padding
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            some = _padded(encoded, rows)
            answers = probabilities_of(*nnx.split(self.network), some, self.preparation)
            found[rows] = np.asarray(answers)[: len(rows)]
        return Predictions(found, self.class_names)

    def explain(self, series: np.ndarray, *, class_name: str | None = None) -> np.ndarray:
        """Say how far each time of a series moves the answer.

        A logit is the mean of the scores of all times, so that the mean of what is returned is
        exactly the logit of the class less the mean of the other logits. A score depends on the
        values up to its time.

        Args:
            series: Values ``(T, channels)``, or ``(T,)`` of one channel.
            class_name: The class to explain; the most probable one when left out.

        Returns:
            float32 ``(T,)``: above 0 where a time speaks for the class.

        Raises:
            DataError: The series has other channels, no value, or one that is not finite.
            ValueError: There is no such class.
            TypeError: It is no array of numbers.
        """
        if class_name is not None and class_name not in self.class_names:
            raise ValueError(
                f"class_name must be one of {', '.join(self.class_names)}, got {shown(class_name)}."
            )
        encoded = self.preparation.encode([series])
        some = _padded(encoded, np.array([0]))
        scores = np.asarray(_scores(*nnx.split(self.network), some, self.preparation))
        found = scores[0, : len(encoded.values[0])]
        if class_name is None:
            label = int(found.mean(axis=0).argmax())
        else:
            label = self.class_names.index(class_name)
        others = np.delete(found, label, axis=-1)
        return found[:, label] - (others.mean(axis=-1) if others.size else 0)

    def logits(self, values: jax.typing.ArrayLike) -> jax.Array:
        """Map series of one length ``(N, T, channels)`` to logits ``(N, classes)``.

        A pure function of its argument, to be used under ``jax.jit`` and other transformations.
        """
        series = jnp.asarray(values)
        lengths = jnp.full(series.shape[:1], series.shape[1])
        inputs = Sequences(series, lengths)
        return logits_of(*nnx.split(self.network), inputs, self.preparation)


def _as_arrays(series: Any) -> Sequence[np.ndarray]:
    if isinstance(series, str | os.PathLike):
        return [one.values for one in read_file(Path(series), labelled=False)]
    if not isinstance(series, Sequence | np.ndarray) or isinstance(series, bytes):
        raise TypeError(
            f"series must be the path of a .ts file or a sequence of arrays, got {shown(series)}."
        )
    return list(series)


def _padded(encoded: Sequences, rows: np.ndarray) -> Sequences:
    """Select some series, and pad them to powers of two, so that few shapes are compiled."""
    lengths = np.asarray(encoded.lengths)[rows]
    values: Any = padded(np.asarray(encoded.values)[rows, : lengths.max()])
    filled: Any = np.pad(lengths, (0, len(values) - len(rows)))
    return Sequences(values, filled)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _scores(
    graphdef: Any, state: Any, inputs: Sequences, preparation: SeriesPreparation
) -> jax.Array:
    values = preparation.normalise(inputs).values
    return nnx.merge(graphdef, state).scores(values).astype(jnp.float32)

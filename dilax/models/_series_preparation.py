"""How time series become the input of a trained network: their scale, and their lengths."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from dilax._checks import entries, number, shown
from dilax.data import DataError
from dilax.data._series import pad_series
from dilax.models._sequences import Sequences

SMALLEST = 1e-6
"""Least standard deviation by which a channel is divided, so that a constant one stays finite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeriesPreparation:
    """How time series become what a network was trained on: each channel gets mean 0, deviation 1.

    Either all series are shifted and scaled alike, by the statistics of the training series, or
    each one by its own, so that only its shape is seen.

    Raises:
        TypeError: A value is of another type.
        ValueError: There is no channel, or not one deviation for each mean, or one is not positive.

    >>> preparation = SeriesPreparation.of_series(np.array([[[1.0], [3.0], [0.0]]]), np.array([2]))
    >>> preparation.mean, preparation.std
    ((2.0,), (1.0,))
    >>> preparation.normalise(preparation.encode([np.array([3.0, 2.0])])).values.ravel().tolist()
    [1.0, 0.0]
    """

    mean: tuple[float, ...]
    """Mean of each channel over the training series."""
    std: tuple[float, ...]
    """Standard deviation of each channel."""
    each: bool = False
    """Whether each series is normalised by its own mean and deviation, and not by these."""

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = entries(getattr(self, name), name, "numbers")
            object.__setattr__(self, name, tuple(number(one, f"each of {name}") for one in values))
        if not self.mean or len(self.std) != len(self.mean):
            raise ValueError(
                "mean and std must have one entry for each channel, got "
                f"{len(self.mean)} and {len(self.std)}."
            )
        if not all(deviation > 0 for deviation in self.std):
            raise ValueError(f"std must be positive, got {self.std}.")
        if not isinstance(self.each, bool):
            raise TypeError(f"each must be True or False, got {shown(self.each)}.")

    @classmethod
    def of_series(
        cls, series: np.ndarray, lengths: np.ndarray, *, each: bool = False
    ) -> SeriesPreparation:
        """Compute the statistics of training series.

        Args:
            series: ``(N, T, channels)``.
            lengths: ``(N,)``, the number of values of each.
            each: Whether each series is normalised by its own statistics.
        """
        there = np.arange(series.shape[1])[None] < lengths[:, None]
        values = np.asarray(series, np.float64)[there]
        std = np.maximum(values.std(axis=0), SMALLEST)
        return cls(mean=tuple(values.mean(axis=0).tolist()), std=tuple(std.tolist()), each=each)

    @property
    def channels(self) -> int:
        """The number of values at each time."""
        return len(self.mean)

    def encode(self, series: Sequence[np.ndarray]) -> Sequences:
        """Fill series up to the longest one.

        Args:
            series: Arrays ``(T, channels)``, or ``(T,)`` of one channel.

        Raises:
            TypeError: There is something else than arrays of numbers.
            DataError: A series has another shape, no value, or one that is not finite.
        """
        given = [self._checked(one, place) for place, one in enumerate(series)]
        padded: Any = pad_series(given, max(map(len, given), default=1))
        return Sequences(*padded)

    def normalise(self, inputs: Sequences) -> Sequences:
        """Give each channel mean 0 and deviation 1; what is beyond the end becomes 0.

        Args:
            inputs: Values ``(N, T, channels)``, and lengths ``(N,)``.
        """
        values, there = jnp.asarray(inputs.values), inputs.mask[..., None]
        if self.each:
            counts = jnp.maximum(inputs.lengths, 1).astype(values.dtype)[:, None, None]
            mean = jnp.sum(values, axis=1, where=there, keepdims=True) / counts
            squares = jnp.sum((values - mean) ** 2, axis=1, where=there, keepdims=True)
            std = jnp.maximum(jnp.sqrt(squares / counts), SMALLEST)
        else:
            mean, std = (
                jnp.array(each, values.dtype)[None, None] for each in (self.mean, self.std)
            )
        return inputs._replace(values=jnp.where(there, (values - mean) / std, 0))

    def _checked(self, series: Any, place: int) -> np.ndarray:
        try:
            values = np.asarray(series, np.float32)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"series[{place}] must be an array of numbers, got {shown(series)}."
            ) from error
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or values.shape[1] != self.channels or not len(values):
            raise DataError(
                f"series[{place}] must have shape (T, {self.channels}), got {np.shape(series)}."
            )
        if not np.isfinite(values).all():
            raise DataError(
                f"series[{place}] must be finite, got NaN or infinity; fill missing values."
            )
        return values

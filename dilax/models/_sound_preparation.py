"""How a sound becomes the input of a trained network: its rate, its length, its mel bands."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dilax._checks import LONGEST, entries, integer, number
from dilax.data import log_mel_spectrogram

_TOGETHER = 256
_LEAST_STD = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundPreparation:
    """How sounds become the log-mel spectrograms that a network was trained on.

    Raises:
        TypeError: A value is of another type.
        ValueError: A value is out of range, or there is not one mean and deviation of each band.

    >>> preparation = SoundPreparation(mean=(-5.0,) * 40, std=(2.0,) * 40)
    >>> preparation.normalise(np.zeros((2, 16_000), np.int16)).shape
    (2, 100, 40)
    """

    rate: int = 16_000
    """Samples a second."""
    samples: int = 16_000
    """Samples of each sound."""
    window: int = 400
    """Samples in a frame."""
    hop: int = 160
    """Samples between frames."""
    low: float = 20.0
    """Lower edge of the lowest band, in hertz; the upper edge of the highest is half the rate."""
    mean: tuple[float, ...]
    """Mean of each band, which is subtracted."""
    std: tuple[float, ...]
    """Standard deviation of each band, by which the result is divided."""

    def __post_init__(self) -> None:
        for name in ("rate", "samples", "window", "hop"):
            integer(getattr(self, name), name, minimum=1, maximum=LONGEST)
        for name in ("mean", "std"):
            values = entries(getattr(self, name), name, "numbers")
            object.__setattr__(self, name, tuple(number(one, f"each of {name}") for one in values))
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(
                "mean and std must have one entry for each band, got "
                f"{len(self.mean)} and {len(self.std)}."
            )
        if not all(deviation > 0 for deviation in self.std):
            raise ValueError(f"std must be positive, got {self.std}.")
        if self.samples < self.hop:
            raise ValueError(
                f"samples must be at least hop, one frame, got {self.samples} and {self.hop}."
            )

    @classmethod
    def of_sounds(cls, sounds: np.ndarray, *, bands: int = 40, **options: Any) -> SoundPreparation:
        """Prepare sounds as training sounds are, int16 ``(N, samples)``.

        Args:
            sounds: The training sounds, of which the mean and the deviation of each band are taken.
            bands: Number of bands.
            **options: Other fields, such as ``rate``.
        """
        ones = (1.0,) * bands
        plain = cls(samples=sounds.shape[1], mean=(0.0,) * bands, std=ones, **options)
        normalise = jax.jit(plain.normalise)
        parts = [
            np.asarray(normalise(np.resize(part, (_TOGETHER, sounds.shape[1])))[: len(part)])
            for part in np.split(sounds, range(_TOGETHER, len(sounds), _TOGETHER))
        ]
        frames = np.concatenate(parts, dtype=np.float64).reshape(-1, bands)
        deviation = np.maximum(frames.std(axis=0), _LEAST_STD)
        return dataclasses.replace(
            plain, mean=tuple(frames.mean(axis=0).tolist()), std=tuple(deviation.tolist())
        )

    def normalise(self, sounds: jax.typing.ArrayLike) -> jax.Array:
        """Map sounds ``(..., samples)`` to frames ``(..., T, bands)`` of mean 0 and deviation 1.

        They are int16, or floats in [-1, 1]. Each frame depends on earlier samples alone.
        """
        x = jnp.asarray(sounds)
        if x.dtype == jnp.int16:
            x = x.astype(jnp.float32) / 32_768
        found = log_mel_spectrogram(
            x,
            rate=self.rate,
            window=self.window,
            hop=self.hop,
            bands=len(self.mean),
            low=self.low,
            padding="CAUSAL",
        )
        shape = (*[1] * (found.ndim - 1), len(self.mean))
        mean, std = (
            jnp.asarray(each, found.dtype).reshape(shape) for each in (self.mean, self.std)
        )
        return (found - mean) / std

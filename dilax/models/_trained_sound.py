"""A trained classifier of sounds, for whole ones and for sound as it arrives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dilax._checks import integer, shown
from dilax.data import DataError, read_sound
from dilax.data._finding import find_sounds
from dilax.data._sound_files import fit_length, resampling_notes
from dilax.models._sequences import SequenceClassifier
from dilax.models._sound_preparation import SoundPreparation
from dilax.models._trained import Predictions, TrainedNetwork, as_paths, logits_of, probabilities_of

_LARGEST_BATCH = 2**16


class TrainedSoundClassifier(TrainedNetwork):
    """A trained classifier of sounds, its classes, and how sounds become its input.

    ``load`` creates it from the folder of a run or from a file.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.

    >>> from dilax.models import Description
    >>> preparation = SoundPreparation(mean=(-5.0,) * 40, std=(2.0,) * 40)
    >>> description = Description(
    ...     model="tcn_dsdc", task="sound_classification", class_names=("no", "yes"),
    ...     preparation=preparation,
    ... )
    >>> model = TrainedSoundClassifier(description.create(), description)
    >>> model.predict(np.zeros((3, 16_000), np.int16)).probabilities.shape
    (3, 2)
    """

    task = "sound_classification"
    network: SequenceClassifier

    def __repr__(self) -> str:
        kept = self.preparation
        return (
            f"TrainedSoundClassifier({self.description.model}, {len(self.class_names)} classes, "
            f"{kept.samples / kept.rate:g} s at {kept.rate:,} Hz)"
        )

    @property
    def preparation(self) -> SoundPreparation:
        """How sounds become its input."""
        found: Any = self.description.preparation
        return found

    def predict(self, sounds: Any, *, batch_size: int = 64) -> Predictions:
        """Compute the probability of each class for sounds.

        A sound of another length is padded with silence at both ends, or its part with the most
        energy is taken.

        Args:
            sounds: A path of a WAV file or of a folder of them, or a sequence of paths; or an
                array ``(samples,)`` or ``(N, samples)`` at ``preparation.rate``, int16 or floats in
                [-1, 1].
            batch_size: Number of sounds that are computed together.

        Returns:
            The probabilities, in the order of the sounds. Files that cannot be used are left out
            and listed in ``unread``; ``notes`` say which ones were resampled.

        Raises:
            FileNotFoundError: A path leads nowhere.
            DataError: A folder holds no sound.
            ValueError: An array has another shape or no samples, or ``batch_size`` is below 1.
            TypeError: ``sounds`` is neither.
        """
        size = integer(batch_size, "batch_size", minimum=1, maximum=_LARGEST_BATCH)
        paths = as_paths(sounds, find=find_sounds, name="sounds")
        if paths is None:
            return Predictions(
                self._probabilities(list(_as_sounds(sounds)), size), self.class_names
            )
        read: dict[Path, np.ndarray] = {}
        rates: dict[Path, int] = {}
        unread = []
        for path in paths:
            try:
                read[path], rates[path] = read_sound(path, rate=self.preparation.rate)
            except DataError as error:
                unread.append((path, str(error)))
        found = self._probabilities(list(read.values()), size)
        notes = resampling_notes(rates, self.preparation.rate)
        return Predictions(found, self.class_names, tuple(read), tuple(unread), notes)

    def logits(self, sounds: jax.typing.ArrayLike) -> jax.Array:
        """Map sounds ``(N, samples)``, int16 or floats in [-1, 1], to logits ``(N, classes)``.

        A pure function of its argument, to be used under ``jax.jit`` and other transformations.
        """
        return logits_of(*nnx.split(self.network), jnp.asarray(sounds), self.preparation)

    def follow(self, sounds: jax.typing.ArrayLike) -> jax.Array:
        """Compute what was heard so far: the probability of each class after each frame.

        It is that of the last ``preparation.samples`` before: of the mean of their scores. So it
        needs no later sound, and ``dilax.inference.stream`` makes of it a step for each chunk of
        sound, whose length is a multiple of ``preparation.hop``.

        Args:
            sounds: ``(N, samples)``, int16 or floats in [-1, 1].

        Returns:
            ``(N, samples // hop, classes)``.

        >>> from dilax.models import Description
        >>> preparation = SoundPreparation(mean=(-5.0,) * 40, std=(2.0,) * 40)
        >>> description = Description(
        ...     model="tcn_dsdc", task="sound_classification", class_names=("no", "yes"),
        ...     preparation=preparation,
        ... )
        >>> model = TrainedSoundClassifier(description.create(), description)
        >>> jax.eval_shape(model.follow, jnp.zeros((1, 32_000))).shape
        (1, 200, 2)
        """
        scores = self.network.scores(self.preparation.normalise(sounds)).astype(jnp.float32)
        count = self.preparation.samples // self.preparation.hop
        ahead = ((0, 0), (count - 1, 0), (0, 0))
        total = jax.lax.reduce_window(scores, 0.0, jax.lax.add, (1, count, 1), (1, 1, 1), ahead)
        return jax.nn.softmax(total / count)

    def _probabilities(self, sounds: Sequence[np.ndarray], size: int) -> np.ndarray:
        """Compute the probabilities of sounds of any length, in batches of one shape."""
        length, size = self.preparation.samples, min(size, 1 << (len(sounds) - 1).bit_length())
        parts = [np.empty((0, len(self.class_names)), np.float32)]
        for start in range(0, len(sounds), max(size, 1)):
            batch = np.stack([fit_length(each, length) for each in sounds[start : start + size]])
            filled = np.pad(batch, [(0, size - len(batch)), (0, 0)])
            found = probabilities_of(*nnx.split(self.network), filled, self.preparation)
            parts.append(np.asarray(found)[: len(batch)])
        return np.concatenate(parts)


def _as_sounds(sounds: Any) -> np.ndarray:
    """Check an array of sounds, and give it an axis for them.

    Raises:
        ValueError: It has another shape, or no samples.
        TypeError: It is no array of int16 or floats.
    """
    try:
        x = np.asarray(sounds)
    except Exception as error:  # converting an arbitrary object may raise anything
        raise TypeError(f"sounds must be paths or an array, got {shown(sounds)}.") from error
    if x.dtype != np.int16 and x.dtype.kind != "f":
        raise TypeError(f"sounds must be int16 or floats in [-1, 1], got {x.dtype}.")
    if x.ndim not in (1, 2) or not x.shape[-1]:
        raise ValueError(f"sounds must have shape (samples,) or (N, samples), got {x.shape}.")
    return np.atleast_2d(x if x.dtype == np.int16 else x.astype(np.float32))

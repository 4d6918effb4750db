"""What the program of spoken words does with sounds: read, augment, follow and draw them."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.io.wavfile
from jax import Array, lax

from common import spoken_words
from common.job import Examples, parts_of, require_held_out
from common.terminal import say, stage
from dilax import data, inference, models, training
from dilax.training import Batch

SOFTEST = 1e-5
"""Amplitude of the softest noise in training; full scale is 1."""
QUIET, PAUSE, SHORTEST = 0.03, 0.2, 0.08
"""Share of the loudest chunk so far below which sound is quiet; and seconds: of quiet after which a
word is over, and of the shortest word."""
BETWEEN, DRAWN = 0.6, 6
"""Seconds of silence between words that are strung together, and how many are drawn."""


def read(config: Any) -> Examples:
    """Read the data set that the flags name, and hold sounds out.

    Raises:
        ValueError: It cannot be read, or no sound is left for training.
    """
    with stage(f"loading {config.dataset}", show=training.is_main_process()):
        found = load(config.dataset, config.seconds)
        parts = parts_of(config, found.splits, take, what="sounds")
        batches = {name: Batch(part.sounds, part.labels) for name, part in parts.items()}
        preparation = models.SoundPreparation.of_sounds(
            batches["train"].inputs, bands=config.bands, rate=found.rate
        )
    for note in found.notes:
        say(f"note: --dataset {found.name}: {note}", file=sys.stderr)
    require_held_out(config, batches["validation"])
    return Examples(
        name=found.name,
        source=found.source,
        sha256=found.fingerprint,
        train=batches["train"],
        held_out=batches["validation"],
        test=batches["test"],
        class_names=found.class_names,
        preparation=preparation,
    )


def take(split: data.SoundSplit, rows: np.ndarray) -> data.SoundSplit:
    """Select some sounds by their indices."""
    return data.SoundSplit(split.sounds[rows], split.labels[rows])


def load(dataset: str, seconds: float) -> data.SoundDataset:
    """Load the synthetic words, or the sounds in a folder."""
    if dataset == spoken_words.NAME:
        return spoken_words.load(seconds)
    if not Path(dataset).is_dir():
        raise ValueError(
            f"--dataset must be {spoken_words.NAME} or a folder of WAV files, CLASS/NAME.wav, got "
            f"{dataset}."
        )
    return data.load_sounds(dataset, seconds=seconds)


# --- augmentation ---------------------------------------------------------------------------------


def shift(key: Array, sounds: Array, *, most: int) -> Array:
    """Shift each of ``(N, samples)`` by up to ``most`` samples either way; zeros come in."""
    padded = jnp.pad(sounds, ((0, 0), (most, most)))
    starts = up_to(2 * most, jax.random.uniform(key, (len(sounds),)))
    size = sounds.shape[1]
    return jax.vmap(lambda sound, start: lax.dynamic_slice(sound, (start,), (size,)))(
        padded, starts
    )


def change_level(key: Array, sounds: Array, *, decibels: float) -> Array:
    """Make each of ``(N, samples)`` louder or softer by up to so many decibels."""
    levels = jax.random.uniform(key, (len(sounds), 1), minval=-decibels, maxval=decibels)
    return sounds * 10 ** (levels / 20)


def add_noise(key: Array, sounds: Array, *, loudest: float) -> Array:
    """Add white noise to each of ``(N, samples)``, of an amplitude up to ``loudest``."""
    level_key, noise_key = jax.random.split(key)
    low, high = np.log(min(SOFTEST, loudest)), np.log(loudest)
    levels = jnp.exp(jax.random.uniform(level_key, (len(sounds), 1), minval=low, maxval=high))
    return sounds + levels * jax.random.normal(noise_key, sounds.shape)


def mask(key: Array, spectrograms: Array, *, frames: int, bands: int) -> Array:
    """Set a run of frames and a run of bands of each of ``(N, T, bands)`` to the mean, zero.

    Source: D. Park et al., "SpecAugment", 2019.
    """
    draws = jax.random.uniform(key, (2, 2, len(spectrograms), 1))
    for axis, most in ((1, frames), (2, bands)):
        size = spectrograms.shape[axis]
        widths = up_to(min(most, size), draws[axis - 1, 0])
        starts = up_to(size - widths, draws[axis - 1, 1])
        places = jnp.arange(size)[None]
        kept = (places < starts) | (places >= starts + widths)
        spectrograms = spectrograms * jnp.expand_dims(kept, 3 - axis)
    return spectrograms


def up_to(most: int | Array, shares: Array) -> Array:
    """Convert random numbers from 0 to 1 to integers from 0 to ``most``."""
    return jnp.minimum(jnp.floor(shares * (most + 1)).astype(jnp.int32), most)


# --- sound as it arrives --------------------------------------------------------------------------


class Step(NamedTuple):
    """What is known after a chunk of sound."""

    seconds: float
    """Time in the sound, at its end."""
    probabilities: np.ndarray
    """``(classes,)``: of the word that is being said."""
    word_is_over: bool
    """Whether a pause after sound says that the word is complete."""
    milliseconds: float
    """How long the step took."""


class Pauses:
    """Finds where words end, by how loud their sound is: where it was quiet for a while after it.

    >>> pauses = Pauses()
    >>> [pauses.end_word(loudness, 0.1) for loudness in (0.0, 0.5, 0.5, 0.0, 0.0, 0.0)]
    [False, False, False, False, True, False]
    """

    def __init__(self) -> None:
        self._loudest = self._loud = self._quiet = 0.0

    def end_word(self, loudness: float, seconds: float) -> bool:
        """Take the loudness of a chunk of so many seconds; return whether a word is over."""
        self._loudest = max(self._loudest, loudness)
        if loudness > QUIET * self._loudest:
            self._loud, self._quiet = self._loud + seconds, 0.0
            return False
        self._quiet += seconds
        if self._quiet < PAUSE - 1e-6:
            return False
        ended, self._loud = self._loud > SHORTEST, 0.0
        return ended


def follow(
    model: models.TrainedSoundClassifier, samples: np.ndarray, *, milliseconds: int = 20
) -> Iterator[Step]:
    """Give sound ``(samples,)`` to a network chunk by chunk, and say what it knows after each.

    After each word the network begins anew: it was trained on sounds of one word.
    """
    kept, size = model.preparation, step_size(model, milliseconds)
    sound = samples.astype(np.float32) / (32_768 if samples.dtype == np.int16 else 1)
    sound = np.pad(sound, (0, -len(sound) % size)).reshape(-1, 1, size)
    streaming = inference.stream(model.follow, jnp.zeros((1, kept.samples // size * size)))
    state, pauses = streaming.initial_state, Pauses()
    streaming.step(state, jnp.zeros((1, size)))  # compiles
    for count, chunk in enumerate(sound, start=1):
        begin = time.perf_counter()
        state, answers = streaming.step(state, chunk)
        found = np.asarray(answers)[0, -1]
        took = 1000 * (time.perf_counter() - begin)
        over = pauses.end_word(float(np.sqrt(np.square(chunk).mean())), size / kept.rate)
        yield Step(count * size / kept.rate, found, over, took)
        if over:
            state = streaming.initial_state


def step_size(model: models.TrainedSoundClassifier, milliseconds: int) -> int:
    """Return the samples in a step: those of the whole number of frames that is nearest."""
    kept = model.preparation
    return max(round(kept.rate * milliseconds / 1000 / kept.hop), 1) * kept.hop


def string_together(sounds: np.ndarray, rate: int) -> np.ndarray:
    """Put sounds ``(N, samples)`` one after the other, without their silence but with pauses."""
    pause = np.zeros(round(BETWEEN * rate), sounds.dtype)
    parts = [pause]
    for sound in sounds:
        loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > 0.01 * np.abs(sound).max())
        parts += [sound[loud[0] : loud[-1] + 1] if len(loud) else sound, pause]
    return np.concatenate(parts)


def draw_heard(
    path: Path, model: models.TrainedSoundClassifier, examples: Examples, *, seed: int = 0
) -> None:
    """Draw test words, strung together, with what was heard of them as they came.

    The sound is written beside the picture, as a WAV file.

    Args:
        path: The PNG file.
        model: The trained network.
        examples: Those with the test words.
        seed: Seed of which words are drawn.
    """
    from matplotlib.figure import Figure

    sounds, labels = examples.test
    chosen = np.random.default_rng(seed).permutation(len(labels))[:DRAWN]
    samples, rate = string_together(sounds[chosen], model.preparation.rate), model.preparation.rate
    scipy.io.wavfile.write(path.with_suffix(".wav"), rate, samples)
    steps = list(follow(model, samples))
    figure = Figure(figsize=(12, 5), dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    bands = np.asarray(model.preparation.normalise(samples[None]))[0].T
    extent = (0, len(samples) / rate, 0, len(bands))
    above.imshow(bands, origin="lower", aspect="auto", extent=extent, cmap="magma")
    spoken = ", ".join(model.class_names[label] for label in labels[chosen])
    above.set(title=f"said: {spoken}", ylabel="mel band")
    curves = np.stack([step.probabilities for step in steps])
    below.plot([step.seconds for step in steps], curves, label=model.class_names)
    for step in (step for step in steps if step.word_is_over):
        below.axvline(step.seconds, color="gray", linewidth=0.8)
        name = model.class_names[step.probabilities.argmax()]
        below.text(step.seconds, 1.02, name, ha="center", fontsize=9)
    below.set(xlabel="seconds", ylabel="probability", xlim=extent[:2], ylim=(0, 1.12))
    below.legend(fontsize=7, ncols=2, loc="upper left")
    figure.savefig(path)

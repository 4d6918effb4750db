"""Tasks: images to classify, and canvases of digits to label pixel by pixel."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dilax import data
from dilax.training import Batch

CANVAS = 56
DIGITS = 4
"""Number of digits on each canvas, at random positions; later ones cover earlier ones."""
INK = 128
"""Least brightness of a pixel that counts as part of a digit."""
BACKGROUND = 0
"""The label of all other pixels; digit ``d`` has the label ``d + 1``."""


class Task(NamedTuple):
    """Images and labels to learn, and to test on."""

    name: str
    train: Batch
    held_out: Batch
    test: Batch
    classes: int
    per_pixel: bool
    sha256: str
    """Fingerprint of the data set that the task is made from."""


def classification(name: str, *, limit: int, held_out: int) -> Task:
    """Make a task of a classification data set, with ``limit`` training images, or all if 0."""
    dataset = data.load(name)
    train, held = data.holdout(_first(dataset.splits["train"], limit), held_out)
    return Task(
        name,
        train=on_device(train),
        held_out=on_device(held),
        test=on_device(dataset.splits["test"]),
        classes=len(dataset.class_names),
        per_pixel=False,
        sha256=dataset.fingerprint,
    )


def composed_digits(*, train: int, held_out: int, test: int, seed: int = 0) -> Task:
    """Compose canvases of MNIST digits; only those for testing use digits of the test images."""
    dataset = data.load("mnist")
    own, held = data.holdout(dataset.splits["train"], 10_000)
    rngs = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(3))
    return Task(
        "digits",
        train=compose(next(rngs), own, train),
        held_out=compose(next(rngs), held, held_out),
        test=compose(next(rngs), dataset.splits["test"], test),
        classes=11,
        per_pixel=True,
        sha256=dataset.fingerprint,
    )


def compose(rng: np.random.Generator, split: data.Split, number: int) -> Batch:
    """Compose ``number`` canvases, with a label for each pixel."""
    images = np.zeros((number, CANVAS, CANVAS, 1), np.uint8)
    labels = np.full((number, CANVAS, CANVAS), BACKGROUND, np.int32)
    size = split.images.shape[1]
    chosen = rng.integers(len(split), size=(number, DIGITS))
    corners = rng.integers(CANVAS - size + 1, size=(number, DIGITS, 2))
    for canvas in range(number):
        for index, (row, column) in zip(chosen[canvas], corners[canvas], strict=True):
            digit = split.images[index, ..., 0]
            inked = digit >= INK
            place = (canvas, slice(row, row + size), slice(column, column + size))
            images[place][inked, 0] = digit[inked]
            labels[place][inked] = split.labels[index] + 1
    return Batch(jnp.asarray(images), jnp.asarray(labels))


def on_device(split: data.Split) -> Batch:
    """Copy images and labels to the device."""
    return Batch(jnp.asarray(split.images), jnp.asarray(split.labels))


def _first(split: data.Split, limit: int) -> data.Split:
    return data.Split(split.images[:limit], split.labels[:limit]) if limit else split

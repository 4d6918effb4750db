"""What the program of videos does with clips: compose, read, move and draw them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from common.canvases import make_examples
from common.job import Examples
from common.terminal import stage
from dilax import data, models, training
from dilax.training import Batch

NAME = "digits"
MOST_DRAWN = 10
FRAMES_DRAWN = 12
LINE = 90
"""Brightness of the line between two frames."""


def of_digits(config: Any) -> Examples:
    """Compose clips of digits; those for testing have digits of the test images alone."""
    digits = data.load("mnist")
    counts = {"train": config.clips, "test": config.test_clips}
    with stage("composing clips", show=training.is_main_process()):
        found = {
            name: data.compose_clips(
                digits.splits[name], count, frames=config.frames, size=config.size, seed=seed
            )
            for seed, (name, count) in enumerate(counts.items())
        }
    form = f"{config.frames} frames of {config.size}x{config.size} pixels"
    source = f"clips of {form}, composed of the digits of MNIST"
    return examples_of(config, NAME, source, found, data.ACTIONS)


def of_folder(config: Any) -> Examples:
    """Read a folder of videos, whose classes are folders."""
    if not Path(config.dataset).is_dir():
        raise ValueError(
            f"--dataset must be {NAME}, or a folder with train/CLASS/NAME.mp4 and "
            f"test/CLASS/NAME.mp4, or with CLASS/NAME.mp4, got {config.dataset}."
        )
    pictures = data.PictureOptions(size=config.size, channels=3)
    with stage(f"loading {config.dataset}", show=training.is_main_process()):
        found = data.load_videos(config.dataset, frames=config.frames, pictures=pictures)
    return examples_of(config, found.name, found.source, found.splits, found.class_names)


def examples_of(config: Any, name: str, source: str, splits: Any, names: Sequence[str]) -> Examples:
    """Hold clips out for validation, and measure the statistics of the others."""
    batches = {split: Batch(one.clips, one.labels) for split, one in splits.items()}
    prepared = models.VideoPreparation.of_clips
    return make_examples(config, name, source, batches, tuple(names), prepared=prepared)


def roll(key: Array, clips: Array) -> Array:
    """Move each clip ``(N, T, H, W, C)`` round by a random offset; what leaves comes in again."""
    count, _, height, width, _ = clips.shape
    rows, columns = jax.random.split(key)
    down = jax.random.randint(rows, (count,), 0, height)
    right = jax.random.randint(columns, (count,), 0, width)
    return jax.vmap(lambda clip, *by: jnp.roll(clip, by, axis=(1, 2)))(clips, down, right)


def shift(key: Array, clips: Array, *, pixels: int) -> Array:
    """Shift all frames of each clip by one random offset; what comes in is black."""
    offsets = jax.random.randint(key, (len(clips), 2), -pixels, pixels + 1)
    floats = clips.astype(jnp.float32) / 255
    moved = jax.vmap(lambda frames: data.augment.shift(frames, offsets), in_axes=1, out_axes=1)
    return moved(floats)


def strip(clip: np.ndarray) -> np.ndarray:
    """Set up to 12 frames of a clip ``(T, H, W, C)`` side by side, with lines between them."""
    chosen = np.linspace(0, len(clip) - 1, min(len(clip), FRAMES_DRAWN)).round().astype(int)
    beside = np.pad(clip[chosen], ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=LINE)
    return np.concatenate(list(beside), axis=1)


def draw(
    path: Path, clips: np.ndarray, labels: np.ndarray, logits: np.ndarray, names: Sequence[str]
) -> None:
    """Draw a clip of each class with truth and answer, and then those with a wrong answer.

    Args:
        path: The PNG file.
        clips: ``(N, T, H, W, C)`` uint8.
        labels: ``(N,)`` integers.
        logits: ``(N, classes)``.
        names: One name per class.
    """
    answers = logits.argmax(axis=-1)
    first = np.unique(labels, return_index=True)[1][:MOST_DRAWN]
    wrong = np.flatnonzero(answers != labels)
    shown = [*first, *[place for place in wrong if place not in first][:MOST_DRAWN]]
    draw_strips(
        path,
        [clips[place] for place in shown],
        [f"{names[labels[place]]}, answer {names[answers[place]]}" for place in shown],
        ["black" if answers[place] == labels[place] else "firebrick" for place in shown],
    )


def draw_strips(
    path: Path, clips: Sequence[np.ndarray], titles: Sequence[str], colours: Sequence[str] = ()
) -> None:
    """Draw clips ``(T, H, W, C)``, one below the other, each with a title above it."""
    from matplotlib.figure import Figure

    strips = [strip(clip) for clip in clips]
    heights = [10 * one.shape[0] / one.shape[1] for one in strips]
    size = (10, sum(heights) + 0.25 * len(strips))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    grid = figure.subplots(len(strips), 1, squeeze=False, height_ratios=heights)[:, 0]
    colours = colours or ["black"] * len(strips)
    for axes, one, title, colour in zip(grid, strips, titles, colours, strict=True):
        axes.imshow(one, cmap="gray", vmin=0, vmax=255)
        shown = title.replace("$", r"\$")
        axes.set_title(shown, fontsize=7, loc="left", pad=2, color=colour)
        axes.axis("off")
    figure.savefig(path)

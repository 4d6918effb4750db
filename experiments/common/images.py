"""The data set that the flags name, and what its user should know of it."""

import sys
from collections.abc import Callable

from common.config import Config
from common.terminal import say, stage
from dilax import data, training

Adapt = Callable[[data.Dataset], data.Dataset]
"""Converts a data set to one that the program's networks can take."""


def read_data(config: Config, *, adapt: Adapt = lambda dataset: dataset) -> data.Dataset:
    """Read the data set of the flags; pictures get the size and the colours of the networks.

    Raises:
        ValueError: It cannot be got, is damaged, or has another size than ``--size`` or other
            channels than the networks take.
    """
    pictures = data.PictureOptions(size=config.size or config.own_size, channels=config.channels)
    with stage(f"loading {config.dataset}", show=training.is_main_process()):
        dataset = adapt(data.load(config.dataset, pictures=pictures))
    shape = dataset.image_shape
    if config.size and shape[:2] != (config.size, config.size):
        raise ValueError(
            f"--size must be left out with --dataset {dataset.name}, whose images are "
            f"{shape[0]}x{shape[1]}, got {config.size}; it is for folders of pictures."
        )
    if shape[-1] != config.channels:
        raise ValueError(
            f"--dataset {dataset.name} must have images (N, H, W, {config.channels}), got "
            f"(N, {', '.join(map(str, shape))}){conversion(shape[-1])}."
        )
    for note in dataset.notes:
        say(f"note: --dataset {dataset.name}: {note}", file=sys.stderr)
    return dataset


def conversion(channels: int) -> str:
    """Return the code that makes colour of grey, or opaque images on white of transparent ones."""
    if channels == 1:
        return "; convert them by images.repeat(3, axis=-1)"
    if channels not in (2, 4):
        return ""
    colours, alpha = "images[..., :-1]", "images[..., -1:]"
    code = f"({colours} * ({alpha} / 255) + 255 - {alpha}).round().astype('uint8')"
    return f"; if the last channel is opacity, convert them by {code}"

"""The data set that the flags name, and what its user should know of it."""

import sys
from collections.abc import Callable

from common.config import Config
from dilax import data

Adapt = Callable[[data.Dataset], data.Dataset]
"""Converts a data set to one that the program's networks can take."""


def read_data(config: Config, *, adapt: Adapt = lambda dataset: dataset) -> data.Dataset:
    """Read the data set of the flags; pictures get the size and the colours of the networks.

    Raises:
        ValueError: It cannot be got, is damaged, or has another size than ``--size``.
    """
    pictures = data.PictureOptions(size=config.size or config.own_size, channels=config.channels)
    dataset = adapt(data.load(config.dataset, pictures=pictures))
    shape = dataset.image_shape
    if config.size and shape[:2] != (config.size, config.size):
        raise ValueError(
            f"--size must be left out with --dataset {dataset.name}, whose images are "
            f"{shape[0]}x{shape[1]}, got {config.size}; it is for folders of pictures."
        )
    for note in dataset.notes:
        print(f"note: --dataset {dataset.name}: {note}", file=sys.stderr)
    return dataset

"""Separable dilated convolution on MNIST.

The network `mnist_dsdc`, of fewer than 8,000 parameters, learns the 60,000 training images in 15
epochs; the test images choose nothing. The five-seed record of

    python experiments/mnist_dsdc.py --seeds 5

lies in `experiments/results/mnist_dsdc.json`: test accuracy (mean, deviation, least, greatest),
parameters, multiply-adds, seconds, device and versions.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
from jax import Array

from dilax import data
from dilax.training.plan import Plan
from dilax.training.step import Augment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """Train a separable dilated classifier on MNIST, and leave a folder of results."""

    model: str = "mnist_dsdc"
    """Network to train: mnist_dsdc, mnist_textbook or mnist_tutorial."""
    dataset: str = "mnist"
    """Data set, by name (mnist, fashion_mnist, kmnist, shapes, ...) or by path."""
    rotation: float = 7.0
    """Largest random rotation, in degrees."""
    scale: float = 0.07
    """Largest random change of size, as a fraction."""
    shift: float = 1.6
    """Largest random shift along each axis, in pixels."""
    shear: float = 0.08
    """Largest random shear, as a fraction."""
    output: Path = Path("runs/mnist_dsdc")
    """Folder for the results; it must be new or empty, unless the run in it is resumed."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        super().__post_init__()
        for name in ("rotation", "shift", "shear"):
            self.require(name, 0 <= getattr(self, name) < float("inf"), "0 or more")
        self.require("scale", 0 <= self.scale < 1, "at least 0 and below 1")


def augmentation(config: Config, normalise: common.Normalise, plan: Plan) -> Augment:
    """Move, turn, resize and shear each training image a little."""
    del plan  # all epochs are alike

    def augment(key: Array, images: Array, step: Array) -> Array:
        moved = data.augment.random_affine(
            key,
            images.astype("float32") / 255,
            degrees=config.rotation,
            scale=config.scale,
            shift=config.shift,
            shear=config.shear,
        )
        return normalise(moved)

    return augment


def grey(dataset: data.Dataset) -> data.Dataset:
    """Turn colour images grey (ITU-R BT.601), for the networks here see one channel."""
    if dataset.image_shape[-1] != 3:
        return dataset
    luma = np.array([0.299, 0.587, 0.114], np.float32)
    splits = {
        name: data.Split((split.images @ luma).round().astype(np.uint8)[..., None], split.labels)
        for name, split in dataset.splits.items()
    }
    source = f"{dataset.source}, turned grey"
    return data.Dataset(dataset.name, splits, dataset.class_names, source=source)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    return common.main(Config, augmentation=augmentation, adapt=grey, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

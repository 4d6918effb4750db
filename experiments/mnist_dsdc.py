"""Separable dilated convolution on MNIST.

By default, the network ``mnist_dsdc``, with fewer than 8,000 parameters, trains on all 60,000
training images for 15 epochs. The test images were not used to choose anything. The record of

    python experiments/mnist_dsdc.py --seeds 5

is ``experiments/results/mnist_dsdc.json``. It has the test accuracy (mean, standard deviation,
minimum, maximum), parameters, multiply-adds, seconds, device and versions.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals()

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from jax import Array

from dilax import data
from dilax.training import Plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.ClassifierConfig):
    """Train a separable dilated classifier on MNIST, and write the results to a folder."""

    own_size = 28
    channels = 1

    model: str = "mnist_dsdc"
    """Network to train: mnist_dsdc, mnist_textbook or mnist_tutorial."""
    dataset: str = "mnist"
    """Data set, by name (mnist, fashion_mnist, kmnist, shapes, ...) or by path, such as that of an
    .npz file or of a folder of pictures (train/CLASS/*.jpg and test/CLASS/*.jpg)."""
    kernel_dilation: tuple[int, ...] = ()
    """Dilation of each separable block (mnist_dsdc has 7 blocks); by default the network's own."""
    rotation: float = 7.0
    """Largest random rotation, in degrees."""
    scale: float = 0.07
    """Largest random change of size, as a fraction."""
    shift: float = 1.6
    """Largest random shift along each axis, in pixels."""
    shear: float = 0.08
    """Largest random shear, as a fraction."""
    output: Path = Path("runs/mnist_dsdc")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        for name in ("rotation", "shift", "shear"):
            self.require(name, 0 <= getattr(self, name) < float("inf"), "0 or more")
        self.require("scale", 0 <= self.scale < 1, "at least 0 and below 1")
        self.require_positive("kernel_dilation")

    def network_options(self) -> dict[str, Any]:
        """Return the kernel dilation, if it is given."""
        return {"kernel_dilation": self.kernel_dilation} if self.kernel_dilation else {}


def augmentation(config: Config, normalise: common.Normalise, plan: Plan) -> common.AugmentImages:
    """Shift, rotate, scale and shear each training image at random."""
    del plan  # all epochs use the same augmentation

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
    """Convert colour images to grey (ITU-R BT.601), because these networks take one channel."""
    if dataset.image_shape[-1] != 3:
        return dataset
    luma = np.array([0.299, 0.587, 0.114], np.float32)
    splits = {
        name: data.Split((split.images @ luma).round().astype(np.uint8)[..., None], split.labels)
        for name, split in dataset.splits.items()
    }
    source = f"{dataset.source}, converted to grey"
    return dataclasses.replace(dataset, splits=splits, source=source)


JOB = common.Classify(augmentation, adapt=grey)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, JOB, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

"""Dense and separable dilated convolution on CIFAR-10 and CIFAR-100.

    python experiments/cifar_dsdc.py --model ds_dcn
    python experiments/cifar_dsdc.py --model keras_dilated --epochs 10 --learning-rate 3e-3

`python -m dilax.data fetch cifar10` prepares the images where TensorFlow Datasets cannot.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import common
import jax
from jax import Array

from dilax import data
from dilax.training.step import Augment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """Train a classifier on CIFAR, and leave a folder of results."""

    model: str = "ds_dcn"
    """Network to train: keras_dilated, keras_separable, cnn, ds_dcn, ds_dcn_wide, dsdc, tiniest,
    context, drn, eesp or vgg16_dilated."""
    dataset: str = "cifar10"
    """Data set, by name (cifar10, cifar100, shapes, ...) or by path."""
    learning_rate: float = 1e-2
    """Peak of the one-cycle schedule."""
    crop: int = 4
    """Largest random shift along each axis, in pixels, zeros beyond the edge."""
    flip: bool = True
    """Mirror every second image, at random."""
    cutout: int = 0
    """Side of a square that is blanked in each image, in pixels."""
    output: Path = Path("runs/cifar_dsdc")
    """Folder for the results; it must be new or empty, unless the run in it is resumed."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        super().__post_init__()
        for name in ("crop", "cutout"):
            self.require(name, getattr(self, name) >= 0, "0 or more")


def augmentation(config: Config, normalise: common.Normalise) -> Augment:
    """Shift, mirror and blank each training image a little."""

    def augment(key: Array, images: Array) -> Array:
        crop_key, flip_key, cutout_key = jax.random.split(key, 3)
        images = images.astype("float32") / 255
        if config.crop:
            images = data.augment.random_shift(crop_key, images, pixels=config.crop)
        if config.flip:
            images = data.augment.random_flip(flip_key, images)
        images = normalise(images)
        if config.cutout:
            images = data.augment.random_cutout(cutout_key, images, size=config.cutout)
        return images

    return augment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    return common.main(
        Config, augmentation=augmentation, adapt=lambda dataset: dataset, arguments=arguments
    )


if __name__ == "__main__":
    sys.exit(main())

"""Dense and separable dilated convolution on CIFAR-10 and CIFAR-100.

    python experiments/cifar_dsdc.py --model ds_dcn
    python experiments/cifar_dsdc.py --model keras_dilated --epochs 10 --learning-rate 3e-3
    python experiments/cifar_dsdc.py --model vgg16_dilated --weights vgg16-397923af.pth \
        --freeze 2 --learning-rate 1e-4 --validation 5000 --evaluate best

If TensorFlow Datasets cannot download the images, ``python experiments/fetch_data.py cifar10`` may.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals()

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import common
import jax
from jax import Array

from dilax import data, models
from dilax.models import _torch, _vgg
from dilax.training import Plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.ClassifierConfig):
    """Train a classifier on CIFAR, and write the results to a folder."""

    own_size = 32
    channels = 3

    model: str = "ds_dcn"
    """Network to train: keras_dilated, keras_separable, cnn, ds_dcn, ds_dcn_wide, dsdc, tiniest,
    context, drn, eesp or vgg16_dilated."""
    dataset: str = "cifar10"
    """Data set, by name (cifar10, cifar100, shapes, ...) or by path, such as that of an .npz file
    or of a folder of pictures (train/CLASS/*.jpg and test/CLASS/*.jpg)."""
    learning_rate: float = 1e-2
    """Peak of the one-cycle schedule."""
    crop: int = 4
    """Largest random shift along each axis, in pixels; the border is filled with zeros."""
    flip: Literal["random", "alternating", "none"] = "random"
    """Mirror each image at random with probability 1/2, or in every second epoch (alternating)."""
    rotation: float = 0.0
    """Largest random rotation, in degrees."""
    cutout: int = 0
    """Side of a random square that is set to zero in each image, in pixels; 0 for none."""
    weights: str | None = None
    """File of published parameters (.pth or .safetensors) for all of vgg16_dilated but its head.
    Images are then normalised as these parameters expect."""
    freeze: int = 0
    """With --weights: number of blocks, from the first, whose parameters stay as published."""
    output: Path = Path("runs/cifar_dsdc")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        for name in ("crop", "cutout"):
            self.require(name, getattr(self, name) >= 0, "0 or more")
        self.require("rotation", 0 <= self.rotation < float("inf"), "0 or more")
        self.require("freeze", 0 <= self.freeze <= len(_vgg.BLOCKS), f"0 to {len(_vgg.BLOCKS)}")
        self.require("freeze", not self.freeze or self.weights is not None, "given with --weights")


def augmentation(config: Config, normalise: common.Normalise, plan: Plan) -> common.AugmentImages:
    """Mirror, rotate, shift and cut out each training image at random."""

    def augment(key: Array, images: Array, step: Array) -> Array:
        side = min(images.shape[1:3])
        for name in ("crop", "cutout"):
            config.require(name, getattr(config, name) < side, f"below {side}, the images' side")
        crop_key, flip_key, cutout_key, rotation_key = jax.random.split(key, 4)
        if config.flip == "alternating":
            images = data.augment.alternating_flip(images, step // plan.steps_per_epoch)
        images = images.astype("float32") / 255
        if config.flip == "random":
            images = data.augment.random_flip(flip_key, images)
        if config.rotation:
            images = data.augment.random_rotation(rotation_key, images, degrees=config.rotation)
        if config.crop:
            images = data.augment.random_shift(crop_key, images, pixels=config.crop)
        images = normalise(images)
        if config.cutout:
            images = data.augment.random_cutout(cutout_key, images, size=config.cutout)
        return images

    return augment


def tune(config: Config) -> common.Tuning | None:
    """Read the published parameters that the flags name, if any."""
    if config.weights is None:
        return None
    if config.model != "vgg16_dilated":
        raise ValueError(f"--weights must be used with --model vgg16_dilated, got {config.model}.")
    arrays = data.read_state_dict(config.weights)

    def load(network: models.Classifier) -> None:
        assert isinstance(network, _vgg.VGG16Dilated)
        network.load_torch(arrays)

    return common.Tuning(
        load=load,
        frozen=lambda path: _vgg.in_first_blocks(path, config.freeze),
        mean=_torch.MEAN,
        std=_torch.STD,
    )


JOB = common.Classify(augmentation, published=tune)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, JOB, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

"""A class for each pixel: small networks of separable dilated blocks, beside their dense twins.

    python experiments/segmentation.py                            # digits among clutter, offline
    python experiments/segmentation.py --model unet_dsdc
    python experiments/segmentation.py --dataset photos/          # photos/images and photos/masks

By default canvases are composed from the digits of MNIST, of several sizes, over clutter, which
hide each other; those for testing have digits of the test images alone. The picture
``segments.png`` shows images, truth, predictions and errors.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals()

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import jax
import numpy as np
from common import segments

from dilax.training import Augment, Batch, Fitted, Plan, Segmentation

VOID = 255
"""The label of pixels that do not count."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """Train a network that finds the class of each pixel, and write the results to a folder."""

    model: str = "deeplab_dsdc"
    """Network to train: deeplab_dsdc, unet_dsdc, or their dense twins deeplab_dense and
    unet_dense."""
    dataset: str = "digits"
    """Canvases of digits (digits), or a folder with images/NAME.jpg and masks/NAME.png, or with
    these two in train and test."""
    kernel_dilation: tuple[int, ...] = ()
    """Dilation of each dilated block; by default the network's own."""
    size: int = 72
    """Height and width of the canvases, or to which pictures of a folder are resized."""
    canvases: int = 20_000
    """Number of canvases to train on."""
    test_canvases: int = 2000
    """Number of canvases to test on, of other digits."""
    epochs: int = 6
    """Passes over the training images."""
    batch_size: int = 16
    """Images in one step."""
    learning_rate: float = 1e-2
    """Peak of the learning rate schedule."""
    shift: int = 4
    """Largest random shift of image and mask along each axis, in pixels."""
    flip: bool = False
    """Mirror image and mask at random; not for digits."""
    output: Path = Path("runs/segmentation")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        for name in ("canvases", "test_canvases"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        self.require("shift", 0 <= self.shift < self.size, f"0 or more, and below {self.size}")
        self.require_positive("kernel_dilation")

    def network_options(self) -> dict[str, Any]:
        """Return the kernel dilation, if it is given."""
        return {"kernel_dilation": self.kernel_dilation} if self.kernel_dilation else {}


class Segment(common.Job):
    """Train a network that finds the class of each pixel."""

    task_name = "segmentation"

    def read(self, config: Config, tuning: common.Tuning | None) -> common.Examples:
        """Compose canvases of digits, or read a folder of images and masks."""
        if config.dataset == "digits":
            return segments.of_digits(config)
        return segments.of_folder(config)

    def augment(self, config: Config, examples: common.Examples, plan: Plan) -> Augment:
        """Shift and mirror images and masks together; what comes in from outside is void."""
        normalise = examples.preparation.normalise

        def augment(key: jax.Array, batch: Batch, step: jax.Array) -> Batch:
            images, masks = segments.shift(key, *batch, pixels=config.shift, void=VOID)
            if config.flip:
                images, masks = segments.flip(key, images, masks)
            return Batch(normalise(images), masks)

        return augment

    def training_task(self, config: Config, examples: common.Examples) -> Segmentation:
        """Judge by the cross-entropy of pixels, and by intersection over union."""
        return Segmentation(classes=len(examples.class_names), void=VOID)

    def test_batch(self, config: Config) -> int:
        """Return a few images: the logits of all pixels are large."""
        return config.batch_size

    def network_options(self, config: Config, examples: common.Examples) -> dict[str, Any]:
        """Return what the network must know of the images."""
        return {"in_features": examples.train.inputs.shape[-1]}

    def by_class(
        self, examples: common.Examples, decoded: np.ndarray
    ) -> Sequence[Mapping[str, Any]]:
        """Compute intersection over union and pixels of each class."""
        return segments.by_class(examples.test.targets, decoded, examples.class_names)

    def further_tests(
        self, config: Config, examples: common.Examples, decoded: np.ndarray
    ) -> Mapping[str, float]:
        """Compute the intersection over union of boundaries."""
        masks, classes = examples.test.targets, len(examples.class_names)
        return {"boundary_iou": segments.boundary_iou(masks, decoded, classes=classes)}

    def draw(
        self, config: Config, examples: common.Examples, module: Any, fitted: Fitted, decoded: Any
    ) -> None:
        """Draw images with truth, predictions and errors."""
        path = common.picture_path(config, "segments")
        segments.draw(path, *examples.test, decoded, examples.class_names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, Segment(), arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

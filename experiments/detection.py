"""Boxes of objects: a small detector of separable dilated blocks, beside its dense twin.

    python experiments/detection.py                            # digits among clutter, offline
    python experiments/detection.py --dataset photos/          # COCO's JSON, or VOC's XML

By default canvases are composed from the digits of MNIST, of several sizes, over clutter, which
hide each other; those for testing have digits of the test images alone. The network finds objects
by their centres. The picture ``boxes.png`` shows the true boxes above those found. With pycocotools
(``pip install -e ".[detection]"``) the record has COCO's average precision.
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
from common import boxes

from dilax import models
from dilax.training import Augment, Batch, Detection, Detections, Fitted, Plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """Train a network that finds objects, and write the results to a folder."""

    model: str = "centers_dsdc"
    """Network to train: centers_dsdc, or its dense twin centers_dense."""
    dataset: str = "digits"
    """Canvases of digits (digits), or a folder with annotations.json and images, or with
    Annotations and JPEGImages, or with one of these in train and test."""
    kernel_dilation: tuple[int, ...] = ()
    """Dilation of each dilated block; by default the network's own."""
    size: int = 72
    """Height and width of the canvases, or of the squares into which pictures are resized."""
    canvases: int = 20_000
    """Number of canvases to train on."""
    test_canvases: int = 2000
    """Number of canvases to test on, of other digits."""
    most: int = 20
    """Most objects that are found in an image."""
    epochs: int = 6
    """Passes over the training images."""
    batch_size: int = 16
    """Images in one step."""
    learning_rate: float = 5e-3
    """Peak of the learning rate schedule."""
    shift: int = 4
    """Largest random shift of image and boxes along each axis, in pixels."""
    flip: bool = False
    """Mirror image and boxes at random; not for digits."""
    output: Path = Path("runs/detection")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        for name in ("canvases", "test_canvases", "most"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        self.require("shift", 0 <= self.shift < self.size, f"0 or more, and below {self.size}")
        self.require_positive("kernel_dilation")

    def network_options(self) -> dict[str, Any]:
        """Return the kernel dilation, if it is given."""
        return {"kernel_dilation": self.kernel_dilation} if self.kernel_dilation else {}


class Detect(common.Job):
    """Train a network that finds objects."""

    task_name = "detection"

    def read(self, config: Config, tuning: common.Tuning | None) -> common.Examples:
        """Compose canvases of digits, or read a folder of images and boxes."""
        return boxes.of_digits(config) if config.dataset == "digits" else boxes.of_folder(config)

    def augment(self, config: Config, examples: common.Examples, plan: Plan) -> Augment:
        """Shift and mirror images and boxes together."""
        normalise = examples.preparation.normalise

        def augment(key: jax.Array, batch: Batch, step: jax.Array) -> Batch:
            images, marks = boxes.shift(key, *batch, pixels=config.shift)
            if config.flip:
                images, marks = boxes.flip(key, images, marks)
            return Batch(normalise(images), marks)

        return augment

    def network_options(self, config: Config, examples: common.Examples) -> dict[str, Any]:
        """Return what the network must know of the images."""
        return {"in_features": examples.train.inputs.shape[-1]}

    def training_task(self, config: Config, examples: common.Examples) -> Detection:
        """Judge by heat maps, sizes and offsets, and by the objects that are found."""
        classes, grid = len(examples.class_names), models.Detector.GRID
        return Detection(classes=classes, stride=grid, most=config.most)

    def by_class(
        self, examples: common.Examples, decoded: Detections
    ) -> Sequence[Mapping[str, Any]]:
        """Compute the share of the objects of each class that are found."""
        return boxes.by_class(examples.test.targets, decoded, examples.class_names)

    def further_tests(
        self, config: Config, examples: common.Examples, decoded: Detections
    ) -> Mapping[str, float]:
        """Compute COCO's average precision."""
        classes = len(examples.class_names)
        return boxes.average_precision(examples.test.targets, decoded, classes)

    def draw(
        self, config: Config, examples: common.Examples, module: Any, fitted: Fitted, decoded: Any
    ) -> None:
        """Draw images with their true boxes and those found."""
        path = common.picture_path(config, "boxes")
        boxes.draw(path, *examples.test, decoded, examples.class_names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, Detect(), arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

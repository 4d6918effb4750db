"""Few pictures are enough: a published MobileNetV2, fine-tuned on a folder of them or on CIFAR-10.

    python experiments/fetch_data.py mobilenet_v2          # the parameters, 14 MB, once
    python experiments/transfer.py --dataset ./flowers     # flowers/CLASS/*.jpg
    python experiments/transfer.py --dataset cifar10 --validation 500 --evaluate best

First the head alone is trained, on features of the published network, which are computed once. Then
all layers are trained, the published ones at a lower learning rate.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals()

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import common
import jax
import jax.numpy as jnp
import numpy as np
from common import heads
from jax import Array

from dilax import data, models, training
from dilax.data import _cache
from dilax.models import _torch
from dilax.training import Plan, Prepare

PUBLISHED = "mobilenet_v2-b0353104.pth"
"""The file of published parameters, as fetch_data.py writes it."""
FEW = 5000
"""Training images of CIFAR-10 that are used unless --limit says otherwise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.ClassifierConfig):
    """Fine-tune a published network on your own pictures, and write the results to a folder."""

    own_size = 96
    channels = 3
    resizes = True

    model: str = "mobilenet_v2"
    """Network to fine-tune: mobilenet_v2."""
    dataset: str = "cifar10"
    """A folder of pictures (CLASS/*.jpg, or train/CLASS/*.jpg and test/CLASS/*.jpg), or the name of
    a data set of colour images."""
    size: int = 0
    """Height and width to which images are resized; 0 for 96."""
    output_stride: Literal[32, 16, 8] = 32
    """Pixels between neighbouring positions of the last layer; below 32, later layers are dilated
    in place of strides."""
    weights: str | None = None
    """File of published parameters (.pth or .safetensors); by default the one that
    experiments/fetch_data.py mobilenet_v2 got."""
    head_epochs: int = 20
    """Passes of the head alone over the features of the training images, before the other layers
    are trained; 0 for none. With --init there are none."""
    head_rate: float = 3e-3
    """Peak of the learning rate in these passes."""
    backbone_rate: float = 0.1
    """Learning rate of the published parameters, relative to that of the head; 0 freezes them."""
    freeze_statistics: bool = True
    """Normalise by the published running statistics in training, too, and keep them."""
    epochs: int = 6
    """Passes over the training images of all layers."""
    batch_size: int = 32
    """Images in one step."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule, of the head."""
    clean_epochs: int = 0
    """Number of last epochs without augmentation."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of the weights, after the first steps; 0 for none."""
    crop: float = 0.125
    """Largest random shift along each axis, as a share of the images; the border repeats."""
    flip: bool = True
    """Mirror images at random."""
    limit: int = 0
    """Number of training images to use, from the first on; 0 for all, but 5,000 of cifar10."""
    output: Path = Path("runs/transfer")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        if self.dataset == "cifar10" and not self.limit:
            object.__setattr__(self, "limit", FEW)
        super().__post_init__()
        self.require("model", self.model == "mobilenet_v2", "mobilenet_v2")
        self.require("head_epochs", self.head_epochs >= 0, "0 or more")
        self.require("head_rate", 0 < self.head_rate < float("inf"), "positive")
        self.require("backbone_rate", 0 <= self.backbone_rate <= 1, "0 to 1")
        self.require("crop", 0 <= self.crop <= 0.5, "0 to 0.5")

    def network_options(self) -> dict[str, Any]:
        """Return the output stride."""
        return {"output_stride": self.output_stride}


def augmentation(config: Config, prepare: common.Normalise, plan: Plan) -> common.AugmentImages:
    """Mirror and shift each training image at random, then resize it."""

    def augment(key: Array, images: Array, step: Array) -> Array:
        flip_key, crop_key = jax.random.split(key)
        images = images.astype("float32") / 255
        if config.flip:
            images = data.augment.random_flip(flip_key, images)
        pixels = round(config.crop * min(images.shape[1:3]))
        wide = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
        wide = data.augment.random_shift(crop_key, wide, pixels=pixels)
        return prepare(
            wide[:, pixels : pixels + images.shape[1], pixels : pixels + images.shape[2]]
        )

    return augment


def published(path: training.Path) -> bool:
    """Tell whether a parameter of the network is a published one: all but those of the head."""
    return path[0].key != "head"


def tune(config: Config) -> common.Tuning:
    """Read the published parameters."""
    path = _cache.default_dir() / PUBLISHED if config.weights is None else Path(config.weights)
    if not path.is_file():
        raise ValueError(
            f"--weights must be a file of published parameters, got {path}, which is not there; "
            "get it by: python experiments/fetch_data.py mobilenet_v2"
        )
    arrays = data.read_state_dict(path)

    def load(network: models.Classifier) -> None:
        assert isinstance(network, models.MobileNetV2)
        network.load_torch(arrays)

    return common.Tuning(
        load=load,
        frozen=published if not config.backbone_rate else lambda path: False,
        mean=_torch.MEAN,
        std=_torch.STD,
        rate=config.backbone_rate,
        published=published,
        keep_statistics=config.freeze_statistics,
    )


@dataclasses.dataclass(frozen=True)
class Transfer(common.Classify):
    """Fine-tune a published classifier, whose head is trained first."""

    def read(
        self, config: common.ClassifierConfig, tuning: common.Tuning | None
    ) -> common.Examples:
        """Read the data set of the flags; the network sees its images in the size of the flags."""
        examples = super().read(config, tuning)
        side = config.size or config.own_size
        seen = dataclasses.replace(examples.preparation, height=side, width=side, object_size=None)
        return dataclasses.replace(examples, preparation=seen)

    def prepare(self, examples: common.Examples) -> Prepare:
        """Build the function that resizes images, if they have another size, and normalises."""
        return resized(examples.preparation)

    def begin(self, config: Config, examples: common.Examples, module: Any) -> None:
        """Train the head alone."""
        if config.head_epochs and config.init is None:
            heads.fit_head(
                module,
                self.prepare(examples),
                examples.train,
                epochs=config.head_epochs,
                learning_rate=config.head_rate,
                mirrored=config.flip,
                seed=config.seed,
            )

    def test_batch(self, config: Config) -> int:
        """Return a few images: the first layers of large images need much memory."""
        return 100


def resized(preparation: models.Preparation) -> Callable[[Array], Array]:
    """Build the function that resizes images of any size, and normalises them."""
    height, width, _ = preparation.image_shape

    def prepare(images: Array) -> Array:
        count, *size, channels = images.shape
        if size == [height, width]:
            return preparation.normalise(images)
        images = images.astype("float32") / (255 if images.dtype == np.uint8 else 1)
        images = jax.image.resize(images, (count, height, width, channels), "cubic")
        return preparation.normalise(jnp.clip(images, 0, 1))

    return prepare


JOB = Transfer(augmentation, published=tune)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, JOB, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

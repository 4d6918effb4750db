"""Photographs enlarged: a small network of separable dilated blocks, beside its dense twin.

    python experiments/super_resolution.py                        # twice as large, offline
    python experiments/super_resolution.py --scale 4
    python experiments/super_resolution.py --model sr_dense
    python experiments/super_resolution.py --dataset photos/      # any pictures

By default the network learns from photographs that scikit-image comes with (pip install
"dilax-jax[photographs]"), and is tested on others of them, as wholes: shrunk bicubically, and
enlarged again. The picture ``photographs.png`` shows parts of them beside bicubic enlargement and
the truth.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals()

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import common
import jax
import numpy as np
from common import photographs

from dilax.training import Augment, Batch, Fitted, Plan, Restoration

FILES = {
    "train": (
        *("motorcycle_left.png", "motorcycle_right.png", "brick.png", "grass.png", "gravel.png"),
        *("coins.png", "moon.png", "ihc.png", "page.png", "camera.png", "rocket.jpg"),
    ),
    "test": ("astronaut.png", "chelsea.png", "coffee.png"),
}
"""Photographs of scikit-image; ``--validation 2`` holds out the last ones to train on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """Train a network that enlarges photographs, and write the results to a folder."""

    model: str = "sr_dsdc"
    """Network to train: sr_dsdc, or its dense twin sr_dense."""
    dataset: str = "photographs"
    """Photographs of scikit-image (photographs), or a folder of pictures, which may have the
    folders train and test."""
    scale: Literal[2, 4] = 2
    """The factor by which height and width grow."""
    features: int = 0
    """Features of every block; 0 for the network's own."""
    kernel_dilation: tuple[int, ...] = ()
    """Dilation of the first convolution of each block; by default the network's own."""
    patches: int = 4000
    """Number of patches to train on, which are cut at random places."""
    small_size: int = 24
    """Height and width of a patch in pixels of the small photograph."""
    epochs: int = 8
    """Passes over the patches."""
    batch_size: int = 16
    """Patches in one step."""
    learning_rate: float = 4e-3
    """Peak of the learning rate schedule."""
    weight_decay: float = 0.0
    """Weight decay of the arrays that --decay selects."""
    validation: int = 0
    """Number of photographs held out of training, the last ones; the score on patches of them is
    shown after each epoch."""
    output: Path = Path("runs/super_resolution")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        self.require("small_size", self.small_size >= 8, "at least 8")
        self.require("patches", self.patches >= 10, "at least 10")
        self.require("features", self.features >= 0, "0 or more")
        self.require_positive("kernel_dilation")

    def network_options(self) -> dict[str, Any]:
        """Return the scale and, if they are given, features and kernel dilation."""
        given = {"features": self.features, "kernel_dilation": self.kernel_dilation}
        return {"scale": self.scale, **{name: value for name, value in given.items() if value}}


class Enlarge(common.Job):
    """Train a network that enlarges photographs."""

    task_name = "super_resolution"

    rows = "photograph"

    def read(self, config: Config, tuning: common.Tuning | None) -> common.Examples:
        """Cut patches of photographs."""
        if config.dataset == "photographs":
            return photographs.make_examples(config, photographs.of_scikit_image(FILES))
        return photographs.make_examples(config, photographs.of_folder(Path(config.dataset)))

    def augment(self, config: Config, examples: common.Examples, plan: Plan) -> Augment:
        """Turn and mirror small and large patches together."""
        normalise = examples.preparation.normalise

        def augment(key: jax.Array, batch: Batch, step: jax.Array) -> Batch:
            inputs, targets = photographs.turn(key, *batch)
            return Batch(normalise(inputs), targets)

        return augment

    def training_task(self, config: Config, examples: common.Examples) -> Restoration:
        """Judge by the absolute error of pixels, and by peak signal-to-noise ratio."""
        return Restoration(border=config.scale)

    def test_batch(self, config: Config) -> int:
        """Return as many patches as in training."""
        return config.batch_size

    def by_class(self, examples: common.Examples, decoded: Any) -> Sequence[Mapping[str, Any]]:
        """Compute PSNR and SSIM of each test photograph, beside those of bicubic enlargement."""
        return [one.judged() for one in photographs.restored(examples, decoded)]

    def further_tests(
        self, config: Config, examples: common.Examples, decoded: Any
    ) -> Mapping[str, float]:
        """Compute the means over photographs of SSIM, and of what bicubic enlargement gives."""
        rows = self.by_class(examples, decoded)
        names = ("ssim", "bicubic_psnr", "bicubic_ssim")
        return {name: float(np.mean([row[name] for row in rows])) for name in names}

    def draw(
        self, config: Config, examples: common.Examples, module: Any, fitted: Fitted, decoded: Any
    ) -> None:
        """Draw parts of test photographs beside bicubic and truth."""
        path = common.picture_path(config, "photographs")
        photographs.draw(path, photographs.restored(examples, decoded))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, Enlarge(), arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

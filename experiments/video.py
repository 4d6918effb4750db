"""A class for each video: a small network of separable dilated blocks over time and space.

    python experiments/video.py                                   # how a digit moves, offline
    python experiments/video.py --model video_dense               # its dense twin
    python experiments/video.py --model video_frame               # sees one frame: must fail
    python experiments/video.py --dataset videos/                 # videos/CLASS/NAME.mp4
    python experiments/predict.py runs/video clip.mp4             # the trained network's answer

By default clips are composed of the digits of MNIST, of which a single frame has the same
distribution in all classes; those for testing have digits of the test images alone. The picture
``clips.png`` shows frames, truth and answers.
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
from common import videos

from dilax import training
from dilax.training import Augment, Batch, Classification, Fitted, Plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """Train a network that finds the class of a video, and write the results to a folder."""

    model: str = "video_dsdc"
    """Network to train: video_dsdc, its dense twin video_dense, or video_frame, which sees one
    frame of each clip."""
    dataset: str = videos.NAME
    """Clips of moving digits (digits), or a folder with CLASS/NAME.mp4, or with these folders in
    train and test; a folder of frames may take the place of a video."""
    kernel_dilation: tuple[int, ...] = ()
    """Dilation of each residual block; by default the network's own."""
    factorised: bool = False
    """Give video_dsdc a depthwise kernel over space and one over time in place of one over both."""
    frames: int = 12
    """Frames of a clip."""
    size: int = 32
    """Height and width of the frames, or to which those of videos are resized."""
    clips: int = 6000
    """Number of clips to train on."""
    test_clips: int = 2000
    """Number of clips to test on, of other digits."""
    epochs: int = 5
    """Passes over the training clips."""
    batch_size: int = 32
    """Clips in one step."""
    learning_rate: float = 1e-2
    """Peak of the learning rate schedule."""
    shift: int = 4
    """Largest random shift of the videos of a folder along each axis, in pixels; clips of digits
    are moved round by any offset."""
    output: Path = Path("runs/video")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        for name in ("clips", "test_clips", "frames", "size"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        self.require("shift", 0 <= self.shift < self.size, f"0 or more, and below {self.size}")
        self.require_positive("kernel_dilation")

    def network_options(self) -> dict[str, Any]:
        """Return the form of the network, where it is given."""
        dilation = {"kernel_dilation": self.kernel_dilation} if self.kernel_dilation else {}
        return dilation | ({"factorised": True} if self.factorised else {})


class ClassifyVideos(common.Job):
    """Train a network that finds the class of a video."""

    task_name = "video_classification"

    def read(self, config: Config, tuning: common.Tuning | None) -> common.Examples:
        """Compose clips of digits, or read a folder of videos."""
        if config.dataset == videos.NAME:
            return videos.of_digits(config)
        return videos.of_folder(config)

    def augment(self, config: Config, examples: common.Examples, plan: Plan) -> Augment:
        """Shift clips; those of digits round, as their digits move."""
        normalise = self.prepare(examples)

        def augment(key: jax.Array, batch: Batch, step: jax.Array) -> Batch:
            if config.dataset == videos.NAME:
                moved = videos.roll(key, batch.inputs)
            else:
                moved = videos.shift(key, batch.inputs, pixels=config.shift)
            return batch._replace(inputs=normalise(moved))

        return augment

    def training_task(self, config: Config, examples: common.Examples) -> Classification:
        """Judge by cross-entropy and accuracy."""
        return Classification()

    def test_batch(self, config: Config) -> int:
        """Return a few clips: their layers are large."""
        return 50

    def network_options(self, config: Config, examples: common.Examples) -> dict[str, Any]:
        """Return what the network must know of the clips."""
        return {"in_features": examples.train.inputs.shape[-1]}

    def by_class(
        self, examples: common.Examples, decoded: np.ndarray
    ) -> Sequence[Mapping[str, Any]]:
        """Compute the accuracy on the test clips of each class."""
        labels, found = examples.test.targets, decoded.argmax(-1)
        rows = training.class_accuracies(labels, found, examples.class_names)
        return [
            {"name": row["name"], "clips": row["images"], "accuracy": row["accuracy"]}
            for row in rows
        ]

    def draw(
        self, config: Config, examples: common.Examples, module: Any, fitted: Fitted, decoded: Any
    ) -> None:
        """Draw mistakes by class, and clips with truth and answers."""
        names, (inputs, labels) = examples.class_names, examples.test
        counts = training.confusion_matrix(labels, decoded.argmax(-1), classes=len(names))
        path = common.picture_path(config, "confusion_matrix")
        training.draw_confusion_matrix(path, counts, names)
        path = common.picture_path(config, "clips")
        videos.draw(path, inputs, labels, decoded, names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, ClassifyVideos(), arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

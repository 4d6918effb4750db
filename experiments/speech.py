"""A word for each sound: a small network of causal separable dilated blocks over time.

    python experiments/fetch_data.py spoken_words            # once: ten words of a synthesiser
    python experiments/speech.py                             # voices that training never heard
    python experiments/speech.py --dataset recordings/       # CLASS/NAME.wav
    python experiments/predict.py runs/speech yes.wav        # the trained network's answer
    python experiments/listen.py runs/speech runs/speech/heard.wav    # words as they come

Sounds become log-mel spectrograms on the device, after a random shift, level and noise. The picture
``heard.png`` shows test words, strung together, with what was heard of them as they came.
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
import jax.numpy as jnp
import numpy as np
from common import sounds
from common.job import class_rows, draw_confusions

from dilax import models
from dilax.training import Augment, Batch, Classification, Fitted, Plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """Train a network that finds the word, or another class, of a sound."""

    model: str = "tcn_dsdc"
    """Network to train: tcn_dsdc, or its dense twin tcn_dense."""
    dataset: str = "spoken_words"
    """Ten synthetic words (spoken_words), or a folder of WAV files: CLASS/NAME.wav, or train and
    test of such folders."""
    seconds: float = 1.0
    """Length of each sound; shorter ones are padded."""
    bands: int = 40
    """Bands of the mel scale."""
    features: int = 64
    """Features of each frame."""
    kernel_size: int = 9
    """Frames that the kernel of each block takes."""
    kernel_dilation: tuple[int, ...] = (1, 2, 4, 8)
    """Dilation of each block."""
    dropout: float = 0.1
    """Share of features that training sets to zero."""
    shift: float = 0.1
    """Largest shift of training sounds, in seconds."""
    level: float = 10.0
    """Largest change of the level of training sounds, in decibels."""
    noise: float = 0.03
    """Amplitude of the loudest noise in training, of full scale; 0 for no noise."""
    mask_frames: int = 20
    """Most neighbouring frames that training hides."""
    mask_bands: int = 8
    """Most neighbouring bands that training hides."""
    label_smoothing: float = 0.0
    """Share of each target that is spread evenly over all classes."""
    epochs: int = 30
    """Passes over the training sounds."""
    batch_size: int = 64
    """Sounds in one step."""
    learning_rate: float = 4e-3
    """Peak of the learning rate schedule."""
    ema_decay: float = 0.99
    """Decay of the exponential moving average of the weights, after the first steps; 0 for none."""
    output: Path = Path("runs/speech")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        for name in ("bands", "features", "kernel_size"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        self.require_positive("kernel_dilation")
        for name in ("shift", "level", "noise", "mask_frames", "mask_bands"):
            self.require(name, 0 <= getattr(self, name) < float("inf"), "0 or more")
        for name in ("dropout", "label_smoothing"):
            self.require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        self.require("seconds", 0.1 <= self.seconds <= 60, "from 0.1 to 60")

    def network_options(self) -> dict[str, Any]:
        """Return the form of the network."""
        names = ("features", "kernel_size", "kernel_dilation", "dropout")
        return {name: getattr(self, name) for name in names}


class ClassifySounds(common.Job):
    """Train a network that finds the class of a sound."""

    task_name = "sound_classification"

    def read(self, config: Config, tuning: common.Tuning | None) -> common.Examples:
        """Read the sounds."""
        return sounds.read(config)

    def augment(self, config: Config, examples: common.Examples, plan: Plan) -> Augment:
        """Shift sounds, change their level, add noise, and hide frames and bands."""
        preparation = examples.preparation
        most = round(config.shift * preparation.rate)

        def augment(key: jax.Array, batch: Batch, step: jax.Array) -> Batch:
            keys = jax.random.split(key, 4)
            x = sounds.shift(keys[0], batch.inputs.astype(jnp.float32) / 32_768, most=most)
            x = sounds.change_level(keys[1], x, decibels=config.level)
            if config.noise:
                x = sounds.add_noise(keys[2], x, loudest=config.noise)
            frames = preparation.normalise(x)
            hidden = sounds.mask(
                keys[3], frames, frames=config.mask_frames, bands=config.mask_bands
            )
            return batch._replace(inputs=hidden)

        return augment

    def training_task(self, config: Config, examples: common.Examples) -> Classification:
        """Judge by cross-entropy and accuracy."""
        return Classification(label_smoothing=config.label_smoothing)

    def test_task(self, config: Config, examples: common.Examples) -> Classification:
        """Judge by cross-entropy, without smoothing, and accuracy."""
        return Classification()

    def network_options(self, config: Config, examples: common.Examples) -> dict[str, Any]:
        """Return the features of each frame."""
        return {"in_features": config.bands}

    def by_class(
        self, examples: common.Examples, decoded: np.ndarray
    ) -> Sequence[Mapping[str, Any]]:
        """Compute the accuracy on the test sounds of each class."""
        return class_rows(examples, decoded, what="sounds")

    def draw(
        self, config: Config, examples: common.Examples, module: Any, fitted: Fitted, decoded: Any
    ) -> None:
        """Draw mistakes by class, and what is heard of test sounds as they come."""
        draw_confusions(config, examples, decoded)
        options = {**self.network_options(config, examples), **config.network_options()}
        described = models.Description.from_json(self.describe(config, examples, options))
        model = models.TrainedSoundClassifier(module, described)
        sounds.draw_heard(common.picture_path(config, "heard"), model, examples)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, ClassifySounds(), arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

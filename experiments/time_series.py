"""A class for each time series: a small network of causal separable dilated blocks.

    python experiments/fetch_data.py time_series                 # once
    python experiments/time_series.py                            # leaves, by their outlines
    python experiments/time_series.py --dataset BasicMotions     # or ACSF1, JapaneseVowels
    python experiments/time_series.py --dataset FOLDER           # of NAME_TRAIN.ts, NAME_TEST.ts
    python experiments/predict.py runs/time_series NAME_TEST.ts  # the trained network's answers

Beside the network, logistic regression on the values is fitted, if scikit-learn is installed. The
picture ``evidence.png`` shows which times of test series spoke for the answer.
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
from common import series

from dilax import models, training
from dilax.training import Augment, Batch, Classification, Fitted, Plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """Train a network that finds the class of a time series, and write the results to a folder."""

    model: str = "tcn_dsdc"
    """Network to train: tcn_dsdc, or its dense twin tcn_dense."""
    dataset: str = "OSULeaf"
    """A set that fetch_data.py time_series fetches: OSULeaf, ACSF1, BasicMotions or JapaneseVowels;
    or a .ts file, or a folder with NAME_TRAIN.ts and NAME_TEST.ts."""
    normalise: Literal["channel", "series"] = "channel"
    """Give each channel mean 0 and deviation 1 over all training series, or over each series."""
    features: int = 64
    """Features of each time."""
    kernel_size: int = 9
    """Times that the kernel of each block takes."""
    kernel_dilation: tuple[int, ...] = (1, 2, 4, 8)
    """Dilation of each block."""
    first_kernel_size: int = 9
    """Times that the kernel of the first, dense convolution takes."""
    dropout: float = 0.1
    """Share of features that training sets to zero."""
    window: float = 0.1
    """Largest share of a series that training cuts off; the rest is stretched to its length."""
    shift: float = 0.5
    """Largest shift of a series in training, in lengths; what leaves at one end enters at the
    other."""
    scaling: float = 0.1
    """Deviation of the factor on each channel in training."""
    jitter: float = 0.05
    """Deviation of the noise that training adds, in deviations of the channel."""
    reverse: bool = False
    """Let series run backwards in training with probability one half."""
    baseline: bool = True
    """Also fit logistic regression on the values, if scikit-learn is installed."""
    label_smoothing: float = 0.1
    """Share of each target that is spread evenly over all classes."""
    epochs: int = 100
    """Passes over the training series."""
    batch_size: int = 16
    """Series in one step."""
    learning_rate: float = 5e-3
    """Peak of the learning rate schedule."""
    weight_decay: float = 0.05
    """Weight decay of the arrays that --decay selects."""
    clean_epochs: int = 0
    """Number of last epochs without augmentation."""
    ema_decay: float = 0.99
    """Decay of the exponential moving average of the weights, after the first steps; 0 for none."""
    output: Path = Path("runs/time_series")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        for name in ("features", "kernel_size", "first_kernel_size"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        self.require_positive("kernel_dilation")
        for name in ("dropout", "window", "label_smoothing"):
            self.require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        for name in ("shift", "scaling", "jitter"):
            self.require(name, 0 <= getattr(self, name) < float("inf"), "0 or more")

    def network_options(self) -> dict[str, Any]:
        """Return the form of the network."""
        names = ("features", "kernel_size", "kernel_dilation", "first_kernel_size", "dropout")
        return {name: getattr(self, name) for name in names}


class ClassifySeries(common.Job):
    """Train a network that finds the class of a time series."""

    task_name = "series_classification"

    def read(self, config: Config, tuning: common.Tuning | None) -> series.SeriesExamples:
        """Read the series, and measure those for training."""
        return series.read(config)

    def augment(self, config: Config, examples: common.Examples, plan: Plan) -> Augment:
        """Normalise, cut, shift, scale and blur series."""

        def augment(key: jax.Array, batch: Batch, step: jax.Array) -> Batch:
            keys = jax.random.split(key, 4)
            x = examples.preparation.normalise(batch.inputs)
            x = series.random_window(keys[0], x, share=config.window, shift=config.shift)
            x = series.reverse_half(keys[1], x) if config.reverse else x
            x = series.random_scale(keys[2], x, deviation=config.scaling)
            return batch._replace(inputs=series.jitter(keys[3], x, deviation=config.jitter))

        return augment

    def training_task(self, config: Config, examples: common.Examples) -> Classification:
        """Judge by smoothed cross-entropy and accuracy."""
        return Classification(label_smoothing=config.label_smoothing)

    def test_task(self, config: Config, examples: common.Examples) -> Classification:
        """Smooth nothing."""
        return Classification()

    def network_options(self, config: Config, examples: common.Examples) -> dict[str, Any]:
        """Return the number of channels."""
        return {"in_features": examples.preparation.channels}

    def by_class(
        self, examples: common.Examples, decoded: np.ndarray
    ) -> Sequence[Mapping[str, Any]]:
        """Compute the accuracy on the test series of each class."""
        return series.by_class(examples.test.targets, decoded.argmax(-1), examples.class_names)

    def further_tests(
        self, config: Config, examples: common.Examples, decoded: np.ndarray
    ) -> Mapping[str, float]:
        """Fit the baseline, once for all seeds."""
        assert isinstance(examples, series.SeriesExamples)
        accuracy = examples.baseline if config.baseline else None
        return {} if accuracy is None else {"baseline_accuracy": accuracy}

    def draw(
        self, config: Config, examples: common.Examples, module: Any, fitted: Fitted, decoded: Any
    ) -> None:
        """Draw mistakes by class, and the times that spoke for the answers."""
        names, (inputs, labels) = examples.class_names, examples.test
        counts = training.confusion_matrix(labels, decoded.argmax(-1), classes=len(names))
        path = common.picture_path(config, "confusion_matrix")
        training.draw_confusion_matrix(path, counts, names)
        options = {**self.network_options(config, examples), **config.network_options()}
        described = models.Description.from_json(self.describe(config, examples, options))
        model = models.TrainedSeriesClassifier(module, described)
        series.draw_evidence(common.picture_path(config, "evidence"), model, inputs, labels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, ClassifySeries(), arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

"""A class for each text: a small network of separable dilated blocks over words.

    python experiments/fetch_data.py sentences                    # once
    python experiments/text.py                                    # sentiment of film reviews
    python experiments/text.py --dataset reviews.csv              # lines of text and label
    python experiments/predict.py runs/text "A warm, funny film." # the trained network's answer

Beside the network, a linear classifier of words and pairs of words is fitted, if scikit-learn is
installed. The picture ``words.png`` shows which words of test sentences moved the answer.
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
from common import texts
from common.job import class_rows, draw_confusions

from dilax import models
from dilax.training import Augment, Batch, Classification, Fitted, Plan, Prepare


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """Train a network that finds the class of a text, and write the results to a folder."""

    model: str = "text_dsdc"
    """Network to train: text_dsdc, or its dense twin text_dense."""
    dataset: str = "sentences"
    """Sentences of film reviews (sentences), or a file (.tsv, .csv, .jsonl) with a text and its
    label in each line, or a folder with train and test, of such files or of CLASS/NAME.txt."""
    features: int = 64
    """Features of each word."""
    kernel_size: int = 3
    """Words that each kernel takes."""
    kernel_dilation: tuple[int, ...] = (1, 2, 4)
    """Dilation of each block."""
    pooling: Literal["max", "mean", "both"] = "max"
    """What is taken over the words of a text; both are the maximum and the mean, side by side."""
    dropout: float = 0.5
    """Share of features that training sets to zero."""
    word_dropout: float = 0.1
    """Share of words that training replaces by the unknown word."""
    unit: Literal["words", "characters"] = "words"
    """What counts as a word."""
    vocabulary: int = 10_000
    """Largest number of words to know, the most frequent ones of the training texts."""
    least_count: int = 2
    """How often a word must occur in them to be known."""
    longest: int = 128
    """Number of words after which a text is cut."""
    baseline: bool = True
    """Also fit a linear classifier of words and pairs of words, if scikit-learn is installed."""
    epochs: int = 10
    """Passes over the training texts."""
    batch_size: int = 64
    """Texts in one step."""
    learning_rate: float = 4e-3
    """Peak of the learning rate schedule."""
    weight_decay: float = 0.1
    """Weight decay of the arrays that --decay selects."""
    clean_epochs: int = 0
    """Number of last epochs without word dropout."""
    ema_decay: float = 0.99
    """Decay of the exponential moving average of the weights, after the first steps; 0 for none."""
    output: Path = Path("runs/text")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        for name in ("features", "kernel_size", "vocabulary", "least_count", "longest"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        self.require_positive("kernel_dilation")
        for name in ("dropout", "word_dropout"):
            self.require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")

    def network_options(self) -> dict[str, Any]:
        """Return the form of the network."""
        names = ("features", "kernel_size", "kernel_dilation", "pooling", "dropout")
        return {name: getattr(self, name) for name in names}


class ClassifyTexts(common.Job):
    """Train a network that finds the class of a text."""

    task_name = "text_classification"

    def read(self, config: Config, tuning: common.Tuning | None) -> texts.TextExamples:
        """Read the texts, and collect the vocabulary of those for training."""
        return texts.read(config)

    def prepare(self, examples: common.Examples) -> Prepare:
        """Leave the numbers of words as they are."""
        return lambda words: words

    def augment(self, config: Config, examples: common.Examples, plan: Plan) -> Augment:
        """Replace random words by the unknown one."""

        def augment(key: jax.Array, batch: Batch, step: jax.Array) -> Batch:
            words = texts.drop_words(key, batch.inputs, share=config.word_dropout)
            return batch._replace(inputs=words)

        return augment

    def training_task(self, config: Config, examples: common.Examples) -> Classification:
        """Judge by cross-entropy and accuracy."""
        return Classification()

    def network_options(self, config: Config, examples: common.Examples) -> dict[str, Any]:
        """Return the number of words that the network must know."""
        return {"words": len(examples.preparation.vocabulary)}

    def by_class(
        self, examples: common.Examples, decoded: np.ndarray
    ) -> Sequence[Mapping[str, Any]]:
        """Compute the accuracy on the test texts of each class."""
        return class_rows(examples, decoded, what="texts")

    def further_tests(
        self, config: Config, examples: common.Examples, decoded: np.ndarray
    ) -> Mapping[str, float]:
        """Fit the baseline, once for all seeds."""
        assert isinstance(examples, texts.TextExamples)
        accuracy = examples.baseline if config.baseline else None
        return {} if accuracy is None else {"baseline_accuracy": accuracy}

    def draw(
        self, config: Config, examples: common.Examples, module: Any, fitted: Fitted, decoded: Any
    ) -> None:
        """Draw mistakes by class, and the words that moved answers."""
        draw_confusions(config, examples, decoded)
        options = {**self.network_options(config, examples), **config.network_options()}
        described = models.Description.from_json(self.describe(config, examples, options))
        assert isinstance(examples, texts.TextExamples)
        test = examples.texts["test"]
        labels = [examples.class_names[label] for label in test.labels]
        model = models.TrainedTextClassifier(module, described)
        texts.draw_words(common.picture_path(config, "words"), model, test.texts, labels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, ClassifyTexts(), arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

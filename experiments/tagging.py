"""A label for each word: a small network of iterated dilated blocks, and a chain of labels.

python experiments/fetch_data.py addresses                    # once; or brown
python experiments/tagging.py                                 # the parts of addresses
python experiments/tagging.py --dataset FOLDER                # train.conll and test.conll
python experiments/predict.py runs/tagging "5 Main St. Apt 2, Springfield IL 62701"
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
from common import tags

from dilax import training
from dilax.training import Augment, Batch, Fitted, Plan, Prepare, Tagging


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(common.Config):
    """Train a network that labels each word, and write the results to a folder."""

    model: str = "tagger_dsdc"
    """Network to train."""
    dataset: str = "addresses"
    """Addresses in the United States (addresses), parts of speech in the Brown corpus (brown), or a
    folder with train.conll and test.conll (and validation.conll, more.conll): a word and, last, its
    label in each line, and an empty line after each text."""
    more: bool = False
    """Also train on more.conll, if there is one, of which nothing is held out."""
    features: int = 64
    """Features of each word."""
    kernel_dilation: tuple[int, ...] = (1, 2)
    """Dilation of each block."""
    iterations: int = 2
    """How often the blocks are applied."""
    chain: bool = True
    """Score pairs of neighbouring labels, too; slow where labels are many."""
    dropout: float = 0.3
    """Share of features that training sets to zero."""
    word_dropout: float = 0.4
    """Share of words that training makes unknown, but for their form."""
    affix_dropout: float = 1.0
    """Share of these words whose first and last letters become unknown, too."""
    least_count: int = 2
    """How often a word must occur in the training texts to be known."""
    longest: int = 128
    """Number of words after which a text is cut."""
    epochs: int = 40
    """Passes over the training texts."""
    batch_size: int = 32
    """Texts in one step."""
    learning_rate: float = 1e-2
    """Peak of the learning rate schedule."""
    clean_epochs: int = 0
    """Number of last epochs without word dropout."""
    ema_decay: float = 0.99
    """Decay of the exponential moving average of the weights, after the first steps; 0 for none."""
    output: Path = Path("runs/tagging")
    """Folder for the results; it must be new or empty, unless --resume is given."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        for name in ("features", "iterations", "least_count", "longest"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        self.require_positive("kernel_dilation")
        for name in ("dropout", "word_dropout"):
            self.require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        self.require("affix_dropout", 0 <= self.affix_dropout <= 1, "0 to 1")

    def network_options(self) -> dict[str, Any]:
        """Return the form of the network."""
        names = ("features", "kernel_dilation", "iterations", "chain", "dropout")
        return {name: getattr(self, name) for name in names}


class Tag(common.Job):
    """Train a network that labels each word."""

    task_name = "tagging"

    def read(self, config: Config, tuning: common.Tuning | None) -> common.Examples:
        """Read the texts, and number the words and labels of those for training."""
        return tags.read(config)

    def prepare(self, examples: common.Examples) -> Prepare:
        """Leave the numbers of words as they are."""
        return lambda words: words

    def augment(self, config: Config, examples: common.Examples, plan: Plan) -> Augment:
        """Make random words unknown."""

        def augment(key: jax.Array, batch: Batch, step: jax.Array) -> Batch:
            words = tags.drop_words(
                key, batch.inputs, share=config.word_dropout, affixes=config.affix_dropout
            )
            return batch._replace(inputs=words)

        return augment

    def training_task(self, config: Config, examples: common.Examples) -> Tagging:
        """Judge by the probability of the whole chain, and by words and texts that are right."""
        return Tagging(classes=len(examples.class_names))

    def network_options(self, config: Config, examples: common.Examples) -> dict[str, Any]:
        """Return how many numbers there are for each column of a word."""
        return {"sizes": examples.preparation.sizes}

    def by_class(
        self, examples: common.Examples, decoded: np.ndarray
    ) -> Sequence[Mapping[str, Any]]:
        """Compute the accuracy on the test words of each label."""
        return tags.by_label(examples.test.targets, decoded, examples.class_names)

    def further_tests(
        self, config: Config, examples: common.Examples, decoded: np.ndarray
    ) -> Mapping[str, float]:
        """Compute the F1 of whole parts, if its library is installed."""
        f1 = tags.entity_f1(examples.test.targets, decoded, examples.class_names)
        return {} if f1 is None else {"f1": f1}

    def draw(
        self, config: Config, examples: common.Examples, module: Any, fitted: Fitted, decoded: Any
    ) -> None:
        """Draw the mistakes by label."""
        names = examples.class_names
        labels = examples.test.targets
        found = labels[labels >= 0], decoded[labels >= 0]
        counts = training.confusion_matrix(*found, classes=len(names))
        path = common.picture_path(config, "confusion_matrix")
        training.draw_confusion_matrix(path, counts, names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return common.main(Config, Tag(), arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())

"""What the program of texts does with them: read, number, compare and draw them."""

import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from common import sentences
from common.job import Examples, parts_of, require_held_out, split_off
from common.terminal import say, stage
from dilax import data, models, training
from dilax.training import Batch

SKLEARN = 'pip install "dilax-jax[text]"'
STRENGTHS = (1, 3, 10, 30, 100)
"""Inverse strengths of regularisation that the baseline tries."""
MOST_DRAWN = 12
LONGEST_DRAWN = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextExamples(Examples):
    """Texts as numbers of words, and the texts themselves."""

    texts: Mapping[str, data.TextSplit]
    """By ``train`` (without those held out) and ``test``."""

    @functools.cached_property
    def baseline(self) -> float | None:
        """The accuracy of a linear classifier on the test texts; None without scikit-learn."""
        return baseline_accuracy(self.texts["train"], self.texts["test"])


def read(config: Any) -> TextExamples:
    """Read the data set that the flags name, hold texts out, and number the words of all.

    Raises:
        ValueError: It cannot be read, or no text is left for training.
    """
    with stage(f"loading {config.dataset}", show=training.is_main_process()):
        found = load(config.dataset)
        return number(config, found, parts_of(config, found.splits, take, what="texts"))


def load(dataset: str) -> data.TextDataset:
    """Load the sentences of film reviews, or the texts at a path."""
    if dataset == sentences.NAME:
        return sentences.load()
    if not Path(dataset).exists():
        raise ValueError(
            f"--dataset must be {sentences.NAME}, a file (.tsv, .csv, .jsonl) or a folder of "
            f"texts, got {dataset}."
        )
    return data.load_texts(dataset)


def take(split: data.TextSplit, rows: np.ndarray) -> data.TextSplit:
    """Select some texts by their indices."""
    return data.TextSplit(tuple(split.texts[row] for row in rows), split.labels[rows])


def number(
    config: Any, found: data.TextDataset, texts: Mapping[str, data.TextSplit]
) -> TextExamples:
    """Collect the vocabulary of the training texts, and number the words of all."""
    preparation = models.TextPreparation.of_texts(
        texts["train"].texts,
        longest=config.longest,
        unit=config.unit,
        most=config.vocabulary,
        least_count=config.least_count,
    )
    longest = max(preparation.encode(split.texts).shape[1] for split in texts.values())
    batches = {
        name: Batch(preparation.encode(split.texts, length=longest), split.labels)
        for name, split in texts.items()
    }
    require_held_out(config, batches["validation"])
    return TextExamples(
        name=found.name,
        source=found.source,
        sha256=found.fingerprint,
        train=batches["train"],
        held_out=batches["validation"],
        test=batches["test"],
        class_names=found.class_names,
        preparation=preparation,
        texts=texts,
    )


def drop_words(key: Array, words: Array, *, share: float) -> Array:
    """Replace a random share of the words ``(N, T)`` by the unknown word."""
    dropped = jax.random.bernoulli(key, share, words.shape) & (words != 0)
    return jnp.where(dropped, 1, words)


def baseline_accuracy(train: data.TextSplit, test: data.TextSplit) -> float | None:
    """Compute the test accuracy of logistic regression on single words and pairs (TF-IDF).

    Its regularisation is the best of a few on a tenth of the training texts, which it does not
    learn from; it then learns from all. None without scikit-learn.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        say(f"note: the baseline needs scikit-learn ({SKLEARN}), and is left out", file=sys.stderr)
        return None

    def accuracy(strength: float, learned: data.TextSplit, judged: data.TextSplit) -> float:
        features = TfidfVectorizer(
            ngram_range=(1, 2), tokenizer=data.tokenize, token_pattern=None, lowercase=False
        )
        model = LogisticRegression(C=strength, max_iter=1000)
        model.fit(features.fit_transform(learned.texts), learned.labels)
        return float(model.score(features.transform(judged.texts), judged.labels))

    with stage("fitting the baseline", show=training.is_main_process()):
        rows = np.arange(len(train))
        learned, judged = split_off(Batch(rows, rows), max(len(train) // 10, 1))
        parts = take(train, learned.inputs), take(train, judged.inputs)
        if len(np.unique(parts[0].labels)) < 2:
            return None
        best = max(STRENGTHS, key=lambda strength: accuracy(strength, *parts))
        return accuracy(best, train, test)


def draw_words(
    path: Path, model: models.TrainedTextClassifier, texts: Sequence[str], labels: Sequence[str]
) -> None:
    """Draw the first texts with what each word adds to the predicted class, red if it is less.

    Args:
        path: The PNG file.
        model: The trained network.
        texts: The texts.
        labels: The class of each text.
    """
    import matplotlib
    from matplotlib.figure import Figure

    shown = list(zip(texts, labels, strict=True))[:MOST_DRAWN]
    figure = Figure(figsize=(14, 0.55 * len(shown) + 0.3), dpi=110)
    answers = model.predict([text for text, _ in shown])
    for row, ((text, label), answer) in enumerate(zip(shown, answers.classes, strict=True)):
        words = model.explain(text)[:LONGEST_DRAWN]
        largest = max(max(abs(word.score) for word in words), 1e-6)
        place, height = 0.01, 1 - (row + 0.6) / len(shown)
        figure.text(place, height, f"{label}, answer {answer}", fontsize=7, color="dimgray")
        for word in words:
            colour = matplotlib.colormaps["RdYlGn"](0.5 + 0.5 * word.score / largest)
            box = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
            shown_word = word.word.replace("$", r"\$")
            figure.text(place, height - 0.3 / len(shown), shown_word, fontsize=8, bbox=box)
            place += 0.0065 * len(word.word) + 0.006
    figure.savefig(path)

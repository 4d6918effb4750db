"""What the program of tagging does with labelled words: read, number, judge and draw them."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from common import addresses, brown
from common.job import Examples, parts_of, require_held_out
from common.terminal import say, stage
from dilax import data, models, training
from dilax.training import Batch

FETCHED = {addresses.NAME: addresses, brown.NAME: brown}
"""For each fetched set, the module that reads it."""
SPLITS = ("train", "more", "validation", "test")
SEQEVAL = 'pip install "dilax-jax[text]"'


def read(config: Any) -> Examples:
    """Read the data set that the flags name, and number words and labels.

    Raises:
        ValueError: It cannot be read, no text is left for training, or there is one label.
    """
    with stage(f"loading {config.dataset}", show=training.is_main_process()):
        texts, source = load(config.dataset)
        parts = parts_of(config, texts, lambda split, rows: split.take(rows.tolist()), what="texts")
        if config.more and "more" in texts:
            parts["train"] = parts["train"] + texts["more"]
        return number(config, parts, source)


def load(dataset: str) -> tuple[dict[str, data.TaggedTexts], str]:
    """Load a fetched set, or ``train.conll`` and ``test.conll`` of a folder; say their source."""
    if dataset in FETCHED:
        return FETCHED[dataset].load(), FETCHED[dataset].SOURCE
    folder = Path(dataset)
    files = {split: folder / f"{split}.conll" for split in SPLITS}
    if not files["train"].is_file() or not files["test"].is_file():
        raise ValueError(
            f"--dataset must be {', '.join(FETCHED)}, or a folder with train.conll and test.conll, "
            f"got {dataset}."
        )
    return {split: data.load_tagged(file) for split, file in files.items() if file.is_file()}, (
        f"{folder}"
    )


def number(config: Any, texts: Mapping[str, data.TaggedTexts], source: str) -> Examples:
    """Number the labels of all texts, and their words, of which those of training are known."""
    learned = set_of_labels(texts["train"])
    names = sorted(set().union(*map(set_of_labels, texts.values())))
    if len(names) < 2:
        raise ValueError(f"--dataset {config.dataset} must have two labels, got only {names[0]}.")
    if absent := [name for name in names if name not in learned]:
        few = ", ".join(absent[:5])
        say(f"note: --dataset {config.dataset} has no training words of {few}", file=sys.stderr)
    preparation = models.TaggingPreparation.of_texts(
        texts["train"].words, longest=config.longest, least_count=config.least_count
    )
    length = min(
        max(len(words) for split in texts.values() for words in split.words), config.longest
    )
    batches = {
        name: Batch(
            preparation.encode(split.words, length=length),
            numbers_of(split.labels, names, length),
        )
        for name, split in texts.items()
    }
    require_held_out(config, batches["validation"])
    return Examples(
        name=Path(config.dataset).name,
        source=source,
        sha256="-".join(texts[name].fingerprint for name in ("train", "test")),
        train=batches["train"],
        held_out=batches["validation"],
        test=batches["test"],
        class_names=tuple(names),
        preparation=preparation,
    )


def set_of_labels(texts: data.TaggedTexts) -> set[str]:
    """Return the labels that occur in texts."""
    return {label for labels in texts.labels for label in labels}


def numbers_of(labels: Sequence[Sequence[str]], names: Sequence[str], length: int) -> np.ndarray:
    """Number labels as int32 ``(N, length)``, -1 after the last word."""
    known = {name: place for place, name in enumerate(names)}
    numbers = np.full((len(labels), length), -1, np.int32)
    for row, text in zip(numbers, labels, strict=True):
        row[: len(text)] = [known[label] for label in text[:length]]
    return numbers


def drop_words(key: Array, words: Array, *, share: float, affixes: float) -> Array:
    """Make a random share of the words ``(N, T, columns)`` unknown, but for their form.

    Args:
        key: A PRNG key.
        words: Their numbers.
        share: Share of words whose letters become unknown.
        affixes: Share of these whose first and last letters become unknown, too.
    """
    drawn = jax.random.uniform(key, words.shape[:2])[..., None]
    of_columns = {"word": share, "form": 0.0, "start": share * affixes, "end": share * affixes}
    shares = jnp.array([of_columns[name] for name in models.TaggingPreparation.COLUMNS])
    return jnp.where((drawn < shares[None, None]) & (words != 0), 1, words)


def by_label(
    labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Compute the accuracy on the words of each label."""
    counted = labels >= 0
    rows = training.class_accuracies(labels[counted], predicted[counted], names)
    return [
        {"name": row["name"], "words": row["images"], "accuracy": row["accuracy"]} for row in rows
    ]


def entity_f1(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> float | None:
    """Compute the F1 of whole parts (of labels B-NAME and I-NAME, or of neighbouring words).

    None without seqeval.
    """
    try:
        from seqeval.metrics import f1_score
    except ImportError:
        say(f"note: the F1 of parts needs seqeval ({SEQEVAL}), and is left out", file=sys.stderr)
        return None
    prefixed = all(name == "O" or name[:2] in ("B-", "I-") for name in names)
    prefix = "" if prefixed else "I-"
    told = [
        [
            [f"{prefix}{names[label]}" for label in row[own >= 0]]
            for row, own in zip(each, labels, strict=True)
        ]
        for each in (labels, predicted)
    ]
    return float(f1_score(*told))

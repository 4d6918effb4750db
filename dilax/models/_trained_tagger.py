"""A trained tagger: a label for each word of texts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from dilax._checks import integer, shown
from dilax.models._tagger import Tagger
from dilax.models._tagging_preparation import TaggingPreparation
from dilax.models._text_preparation import padded
from dilax.models._trained import TrainedNetwork

_LARGEST_BATCH = 2**16


class Tags(NamedTuple):
    """The label of each word of texts.

    >>> Tags([("5", "Main", "St")], [("number", "street", "street")]).parts(0)
    [('number', '5'), ('street', 'Main St')]
    """

    words: list[tuple[str, ...]]
    """The words of each text."""
    labels: list[tuple[str, ...]]
    """The label of each word."""

    def parts(self, place: int) -> list[tuple[str, str]]:
        """Join neighbouring words of one label in one text: pairs of label and words."""
        joined: list[tuple[str, str]] = []
        for word, label in zip(self.words[place], self.labels[place], strict=True):
            if joined and joined[-1][0] == label:
                joined[-1] = (label, f"{joined[-1][1]} {word}")
            else:
                joined.append((label, word))
        return joined


class TrainedTagger(TrainedNetwork):
    """A trained network that labels each word of texts.

    ``load`` creates it from the folder of a run or from a file.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.

    >>> from dilax.models import Description
    >>> preparation = TaggingPreparation.of_texts([("5", "Main", "St")])
    >>> description = Description(
    ...     model="tagger_dsdc", task="tagging", class_names=("number", "street"),
    ...     preparation=preparation, options={"sizes": preparation.sizes},
    ... )
    >>> model = TrainedTagger(description.create(), description)
    >>> len(model.predict("7 Long Road").labels[0])
    3
    """

    task = "tagging"
    network: Tagger

    def __repr__(self) -> str:
        return f"TrainedTagger({self.description.model}, {len(self.class_names)} labels)"

    @property
    def preparation(self) -> TaggingPreparation:
        """How words become its input."""
        found: Any = self.description.preparation
        return found

    def predict(self, texts: str | Sequence[str | Sequence[str]], *, batch_size: int = 64) -> Tags:
        """Label the words of texts.

        Args:
            texts: A text, whose words are separated by white space, or a sequence of texts; a text
                may also be a sequence of words. Of long texts, only the first words are labelled.
            batch_size: Number of texts that are computed together.

        Raises:
            ValueError: A text has no word, or ``batch_size`` is below 1.
            TypeError: There is something else than a text.
        """
        size = integer(batch_size, "batch_size", minimum=1, maximum=_LARGEST_BATCH)
        given = [words[: self.preparation.longest] for words in _as_words(texts)]
        labels: list[tuple[str, ...]] = []
        for start in range(0, len(given), size):
            some = given[start : start + size]
            numbers = padded(self.preparation.encode(some))
            found = np.asarray(_labels(*nnx.split(self.network), numbers))
            labels += [
                tuple(self.class_names[label] for label in row[: len(words)])
                for row, words in zip(found, some, strict=False)
            ]
        return Tags(given, labels)


def _as_words(texts: Any) -> list[tuple[str, ...]]:
    listed = [texts] if isinstance(texts, str) else texts
    if not isinstance(listed, Sequence) or isinstance(listed, bytes):
        raise TypeError(f"texts must be a text or a sequence of texts, got {shown(texts)}.")
    found = []
    for place, text in enumerate(listed):
        words = text.split() if isinstance(text, str) else text
        if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
            raise TypeError(f"texts[{place}] must be a text or its words, got {shown(text)}.")
        if not words or not all(words):
            raise ValueError(
                f"texts[{place}] must have words that are not empty, got {shown(text)}."
            )
        found.append(tuple(words))
    return found


@functools.partial(jax.jit, static_argnums=0)
def _labels(graphdef: Any, state: Any, numbers: jax.Array) -> jax.Array:
    from dilax.training import Tagging, TagScores

    scores = TagScores(*nnx.merge(graphdef, state)(numbers))
    return Tagging(classes=scores.scores.shape[-1]).decode(scores)

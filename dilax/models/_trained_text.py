"""A trained classifier of texts, with its vocabulary, and what moves its answers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dilax._checks import integer, shown
from dilax.data import tokenize
from dilax.models._text import TextClassifier
from dilax.models._text_preparation import TextPreparation, padded
from dilax.models._trained import Predictions, TrainedNetwork

_LARGEST_BATCH = 2**16


class WordScore(NamedTuple):
    """How far a word moves an answer."""

    word: str
    """The word, as ``dilax.data.tokenize`` gives it."""
    score: float
    """What it adds to the logit of the class, less the mean of the others, to first order."""
    known: bool
    """Whether the vocabulary has the word; all unknown words have one vector."""


class TrainedTextClassifier(TrainedNetwork):
    """A trained classifier of texts, its classes and its vocabulary.

    ``load`` creates it from the folder of a run or from a file.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.

    >>> from dilax.models import Description
    >>> preparation = TextPreparation.of_texts(["a good film", "a bad film"])
    >>> description = Description(
    ...     model="text_dsdc", task="text_classification", class_names=("bad", "good"),
    ...     preparation=preparation, options={"words": 6},
    ... )
    >>> model = TrainedTextClassifier(description.create(), description)
    >>> model.predict(["A good film!", "bad"]).probabilities.shape
    (2, 2)
    """

    task = "text_classification"
    network: TextClassifier

    def __repr__(self) -> str:
        return (
            f"TrainedTextClassifier({self.description.model}, {len(self.class_names)} classes, "
            f"{len(self.preparation.vocabulary):,} words)"
        )

    @property
    def preparation(self) -> TextPreparation:
        """How texts become its input."""
        found: Any = self.description.preparation
        return found

    def predict(self, texts: str | Sequence[str], *, batch_size: int = 64) -> Predictions:
        """Compute the probability of each class for texts.

        The answer to a text does not depend on the others. Of a text that is longer than
        ``preparation.longest``, the first words are read.

        Args:
            texts: A text, or a sequence of texts.
            batch_size: Number of texts that are computed together.

        Returns:
            The probabilities, in the order of the texts.

        Raises:
            ValueError: A text is empty, or ``batch_size`` is below 1.
            TypeError: There is something else than a text.
        """
        size = integer(batch_size, "batch_size", minimum=1, maximum=_LARGEST_BATCH)
        given = self._checked(texts)
        found = np.empty((len(given), len(self.class_names)), np.float32)
        lengths = [len(self.preparation.vocabulary.numbers(text)) for text in given]
        order = np.argsort(lengths, kind="stable")  # alike ones together: less padding
        for start in range(0, len(given), size):
            rows = order[start : start + size]
            found[rows] = self._probabilities([given[row] for row in rows])
        return Predictions(found, self.class_names)

    def logits(self, words: jax.typing.ArrayLike) -> jax.Array:
        """Map numbers of words ``(N, T)``, 0 for padding, to logits ``(N, classes)``.

        A pure function of its argument, to be used under ``jax.jit`` and other transformations.
        """
        return _logits(*nnx.split(self.network), jnp.asarray(words))

    def explain(self, text: str, *, class_name: str | None = None) -> list[WordScore]:
        """Say how far each word of a text moves the answer: gradient times input.

        The score of a word is the scalar product of its vector with the gradient, with respect to
        it, of the logit of the class less the mean of the other logits.

        Args:
            text: The text.
            class_name: The class to explain; the most probable one when left out.

        Returns:
            The words in their order, with their scores.

        Raises:
            ValueError: The text is empty, or there is no such class.
            TypeError: It is no text.

        Source: A. Shrikumar et al., "Not Just a Black Box", 2016.
        """
        (given,) = self._checked([text])
        if class_name is not None and class_name not in self.class_names:
            raise ValueError(
                f"class_name must be one of {', '.join(self.class_names)}, got {shown(class_name)}."
            )
        words = self.preparation.encode([given])
        label = -1 if class_name is None else self.class_names.index(class_name)
        scores = np.asarray(_word_scores(*nnx.split(self.network), padded(words), label))
        names = tokenize(given, unit=self.preparation.unit)
        return [
            WordScore(name, float(score), bool(number != 1))
            for name, score, number in zip(names, scores[0], words[0], strict=False)
        ]

    def _checked(self, texts: Any) -> tuple[str, ...]:
        listed = [texts] if isinstance(texts, str) else texts
        if not isinstance(listed, Sequence) or isinstance(listed, bytes):
            raise TypeError(f"texts must be a text or a sequence of texts, got {shown(texts)}.")
        for place, text in enumerate(listed):
            if not isinstance(text, str):
                raise TypeError(f"texts[{place}] must be a text, got {shown(text)}.")
            if not text.strip():
                raise ValueError(f"texts[{place}] must have a word, got an empty text.")
        return tuple(listed)

    def _probabilities(self, texts: Sequence[str]) -> np.ndarray:
        words = padded(self.preparation.encode(texts))
        found = _softmax_of_logits(*nnx.split(self.network), words)
        return np.asarray(found)[: len(texts)]


def _logits(graphdef: Any, state: Any, words: jax.Array) -> jax.Array:
    return nnx.merge(graphdef, state)(words).astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def _softmax_of_logits(graphdef: Any, state: Any, words: jax.Array) -> jax.Array:
    return jax.nn.softmax(_logits(graphdef, state, words))


@functools.partial(jax.jit, static_argnums=0)
def _word_scores(graphdef: Any, state: Any, words: jax.Array, label: jax.Array) -> jax.Array:
    network = nnx.merge(graphdef, state)
    embedded, mask = network.embed(words), words != 0

    def margin(vectors: jax.Array) -> jax.Array:
        logits = network.layers(vectors, mask)["logits"].astype(jnp.float32)
        chosen = jnp.where(label < 0, logits.argmax(-1), label)
        own = jax.nn.one_hot(chosen, logits.shape[-1])
        others = (1 - own) / max(logits.shape[-1] - 1, 1)
        return (logits * (own - others)).sum()

    return (embedded * jax.grad(margin)(embedded)).sum(axis=-1)

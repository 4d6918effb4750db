"""How a text becomes the input of a trained network: its words, and their numbers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dilax._checks import LONGEST, integer
from dilax.data import Vocabulary

_LONGEST_TEXT = 2**16
SHORTEST = 16
"""Words to which shorter texts are padded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextPreparation:
    """How texts become the numbers of words that a network was trained on.

    Raises:
        TypeError: A value is of another type.
        ValueError: A value is out of range, or a word is there twice.

    >>> preparation = TextPreparation.of_texts(["a good film", "a bad film"])
    >>> preparation.encode(["A good, good film!"]).tolist()
    [[2, 5, 1, 5, 3, 1]]
    """

    words: tuple[str, ...]
    """The known words, whose numbers begin with 2; 0 is padding, and 1 an unknown word."""
    unit: Any = "words"
    """What counts as a word: ``"words"`` or ``"characters"``, as in ``dilax.data.tokenize``."""
    longest: int = 512
    """Number of words after which a text is cut."""

    def __post_init__(self) -> None:
        integer(self.longest, "longest", minimum=1, maximum=_LONGEST_TEXT)
        object.__setattr__(self, "words", self.vocabulary.words)

    @classmethod
    def of_texts(
        cls, texts: Iterable[str], *, longest: int = 512, **options: Any
    ) -> TextPreparation:
        """Collect the words of training texts.

        Args:
            texts: The texts for training.
            longest: Number of words after which a text is cut.
            **options: Those of ``dilax.data.Vocabulary.of_texts``.
        """
        known = Vocabulary.of_texts(texts, **options)
        return cls(words=known.words, unit=known.unit, longest=longest)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The words with their numbers."""
        return Vocabulary(words=self.words, unit=self.unit)

    def encode(self, texts: Sequence[str], *, length: int | None = None) -> np.ndarray:
        """Number the words of texts, int32 ``(N, T)``, filled up with 0.

        Args:
            texts: The texts; of long ones the first words.
            length: Number of words of each row; that of the longest text when left out.

        Raises:
            TypeError: A text is no text.
            ValueError: ``length`` is below 1.
        """
        if length is None:
            numbers = self.vocabulary.encode(texts)
            return numbers[:, : self.longest]
        integer(length, "length", minimum=1, maximum=LONGEST)
        return self.vocabulary.encode(texts, length=min(length, self.longest))


def padded(numbers: np.ndarray) -> np.ndarray:
    """Pad texts and words ``(N, T, ...)`` to powers of two with 0, so that few shapes are compiled.

    >>> padded(np.ones((3, 5), np.int32)).shape
    (4, 16)
    """
    rows, length, *others = numbers.shape
    sizes = [1 << (size - 1).bit_length() for size in (rows, max(length, SHORTEST))]
    beyond = [(0, sizes[0] - rows), (0, sizes[1] - length), *[(0, 0)] * len(others)]
    return np.pad(numbers, beyond)

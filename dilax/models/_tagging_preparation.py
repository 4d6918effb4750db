"""How a sequence of words becomes the input of a trained tagger: their letters and their form."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import numpy as np

from dilax._checks import entries, integer
from dilax.data import Vocabulary

Words = Sequence[str]
FEATURES: dict[str, Callable[[str], str]] = {
    "word": lambda word: _letters(word),
    "form": lambda word: _form(word),
    "start": lambda word: _letters(word)[:3],
    "end": lambda word: _letters(word)[-3:],
}
"""What is numbered of each word: its letters, without punctuation around them; its form, as ``Aa.``
or ``00000,``; its first letters and its last ones."""
_MOST_ALIKE = {"0": 6, "A": 2, "a": 1}
"""How many neighbouring letters of a kind a form tells apart."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaggingPreparation:
    """How the words of texts become the numbers that a tagger was trained on.

    Raises:
        TypeError: A value is of another type.
        ValueError: There is another number of vocabularies, or a word is there twice.

    >>> preparation = TaggingPreparation.of_texts([("5", "Main", "St.")])
    >>> preparation.encode([("7", "main")]).tolist()
    [[[1, 2, 1, 1], [3, 1, 3, 3]]]
    """

    COLUMNS: ClassVar[tuple[str, ...]] = tuple(FEATURES)
    """What is numbered of each word."""
    FORM: ClassVar[int] = COLUMNS.index("form")
    """The column of the form of a word."""

    vocabularies: tuple[tuple[str, ...], ...]
    """What is known of words: letters, forms, first and last letters. Numbers begin with 2."""
    longest: int = 512
    """Number of words after which a text is cut."""

    def __post_init__(self) -> None:
        integer(self.longest, "longest", minimum=1, maximum=2**16)
        given = entries(self.vocabularies, "vocabularies", "vocabularies")
        known = tuple(Vocabulary(words=tuple(entries(each, "words", "texts"))) for each in given)
        if len(known) != len(FEATURES):
            raise ValueError(f"vocabularies must be {len(FEATURES)}, got {len(known)}.")
        object.__setattr__(self, "vocabularies", tuple(each.words for each in known))

    @classmethod
    def of_texts(
        cls, texts: Iterable[Words], *, longest: int = 512, least_count: int = 1
    ) -> TaggingPreparation:
        """Collect what is known of the words of training texts.

        Args:
            texts: The words of each text.
            longest: Number of words after which a text is cut.
            least_count: How often a word, a form and so on must occur to be known.
        """
        words = collections.Counter(word for text in texts for word in text)
        found = []
        for feature in FEATURES.values():
            counts: collections.Counter[str] = collections.Counter()
            for word, count in words.items():
                counts[feature(word)] += count
            found.append(tuple(sorted(each for each in counts if counts[each] >= least_count)))
        return cls(vocabularies=tuple(found), longest=longest)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers there are for each column, those of padding and unknown included."""
        return tuple(len(words) + 2 for words in self.vocabularies)

    def encode(self, texts: Sequence[Words], *, length: int | None = None) -> np.ndarray:
        """Number the words of texts, int32 ``(N, T, 4)``, filled up with 0.

        Args:
            texts: The words of each text; of long ones, the first.
            length: Number of words of each row; that of the longest text when left out.
        """
        longest = max(max(map(len, texts), default=0), 1) if length is None else length
        numbers = np.zeros((len(texts), min(longest, self.longest), len(FEATURES)), np.int32)
        of_word = {
            word: self._numbers_of(word) for word in {word for text in texts for word in text}
        }
        for row, text in zip(numbers, texts, strict=True):
            some = [of_word[word] for word in text[: len(row)]]
            row[: len(some)] = np.array(some, np.int32).reshape(-1, len(FEATURES))
        return numbers

    def _numbers_of(self, word: str) -> list[int]:
        pairs = zip(FEATURES.values(), self._numbers, strict=True)
        return [known.get(feature(word), 1) for feature, known in pairs]

    @functools.cached_property
    def _numbers(self) -> list[dict[str, int]]:
        return [{word: n for n, word in enumerate(each, start=2)} for each in self.vocabularies]


def _letters(word: str) -> str:
    """Return a word in small letters, without what stands around its letters and digits."""
    return re.sub(r"^\W+|\W+$", "", word.lower()) or word


def _form(word: str) -> str:
    """Return the kind of each letter; of many alike, as few as matter."""
    runs = itertools.groupby(map(_kind, word))
    return "".join(kind * min(len(list(run)), _MOST_ALIKE.get(kind, 1)) for kind, run in runs)


def _kind(letter: str) -> str:
    """Return 0 for digits, A for capital letters, a for others, and what is neither as it is."""
    if letter.isdigit():
        return "0"
    if letter.isalpha():
        return "A" if letter.isupper() else "a"
    return letter

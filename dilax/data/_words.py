"""Texts as numbers: words by one rule, and the vocabulary that numbers them."""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, get_args

import numpy as np

from dilax._checks import LONGEST, check_instance, entries, integer, shown

PADDING, UNKNOWN = 0, 1
"""The numbers of no word, and of a word that the vocabulary lacks."""
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # noqa: RUF001
Unit = Literal["words", "characters"]


def tokenize(text: str, *, unit: Unit = "words") -> list[str]:
    """Split a text into words, in small letters.

    A word is a run of letters and digits of any script, also with apostrophes inside, as in
    ``don't``; any other character but white space is a word of its own.

    Args:
        text: The text.
        unit: ``"characters"`` makes each character a word; white space between others is one space.

    Raises:
        TypeError: ``text`` is no text.
        ValueError: ``unit`` is neither of the two.

    >>> tokenize("It's not bad... 8/10!")
    ["it's", 'not', 'bad', '.', '.', '.', '8', '/', '10', '!']
    """
    check_instance(text, str, "text")
    _check_unit(unit)
    lowered = text.lower()
    return list(" ".join(lowered.split())) if unit == "characters" else _WORD.findall(lowered)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Words with numbers: 0 is padding, 1 any unknown word, and 2 the first of ``words``.

    Raises:
        TypeError: The words are no texts.
        ValueError: A word is there twice, or ``unit`` is unknown.

    >>> vocabulary = Vocabulary.of_texts(["a good film", "a bad film"])
    >>> vocabulary.words
    ('a', 'film', 'bad', 'good')
    >>> vocabulary.encode(["a good film", "good!"]).tolist()
    [[2, 5, 3], [5, 1, 0]]
    """

    words: tuple[str, ...]
    """The known words, the most frequent first."""
    unit: Unit = "words"
    """What counts as a word, as in ``tokenize``."""

    def __post_init__(self) -> None:
        words = entries(self.words, "words", "texts")
        if other := [word for word in words if not isinstance(word, str)]:
            raise TypeError(f"words must be texts, got {shown(other[0])}.")
        if len(set(words)) < len(words):
            twice = collections.Counter(words).most_common(1)[0][0]
            raise ValueError(f"words must differ, got {shown(twice)} twice.")
        _check_unit(self.unit)
        object.__setattr__(self, "words", words)

    @classmethod
    def of_texts(
        cls,
        texts: Iterable[str],
        *,
        unit: Unit = "words",
        most: int = 10_000,
        least_count: int = 1,
    ) -> "Vocabulary":
        """Collect the words of texts, which should be those of training alone.

        Args:
            texts: The texts.
            unit: What counts as a word, as in ``tokenize``.
            most: Number of words to keep, the most frequent ones; of equally frequent ones, the
                first by their letters.
            least_count: How often a word must occur to be kept. The others are unknown words, from
                which a network learns what to make of one.

        Raises:
            TypeError: A text is no text, or a number no integer.
            ValueError: A number is below 1.
        """
        integer(most, "most", minimum=1, maximum=LONGEST)
        integer(least_count, "least_count", minimum=1, maximum=LONGEST)
        counts: collections.Counter[str] = collections.Counter()
        for text in texts:
            counts.update(tokenize(text, unit=unit))
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        words = (word for word, count in ordered if count >= least_count)
        return cls(words=tuple(words)[:most], unit=unit)

    def __len__(self) -> int:
        """Return the number of numbers, those of padding and unknown words included."""
        return len(self.words) + 2

    def numbers(self, text: str) -> list[int]:
        """Return the number of each word of a text."""
        return [self._numbers.get(word, UNKNOWN) for word in tokenize(text, unit=self.unit)]

    def encode(self, texts: Sequence[str], *, length: int | None = None) -> np.ndarray:
        """Number the words of texts.

        Args:
            texts: The texts.
            length: Number of words to which each text is cut, or filled up with padding; that of
                the longest text when left out.

        Returns:
            int32 ``(N, length)``.

        Raises:
            TypeError: A text is no text.
            ValueError: ``length`` is below 1.
        """
        numbered = [self.numbers(text) for text in texts]
        longest = max(map(len, numbered), default=0)
        length = max(longest, 1) if length is None else integer(length, "length", minimum=1)
        encoded = np.full((len(numbered), length), PADDING, np.int32)
        for row, numbers in zip(encoded, numbered, strict=True):
            row[: len(numbers)] = numbers[:length]
        return encoded

    def __iter__(self) -> Iterator[str]:
        """Iterate over the known words."""
        return iter(self.words)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, start=UNKNOWN + 1)}


def _check_unit(unit: object) -> None:
    if unit not in get_args(Unit):
        raise ValueError(f"unit must be words or characters, got {shown(unit)}.")

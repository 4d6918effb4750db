"""Texts with a label for each word: files of one word and its label in each line."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from dilax._checks import entries, shown
from dilax.data._dataset import DataError
from dilax.data._text_files import read_text

_COMMENT = ("-DOCSTART-", "# ")


@dataclasses.dataclass(frozen=True)
class TaggedTexts:
    """Texts, each a sequence of words, with a label for each word.

    Attributes:
        words: The words of each text.
        labels: The label of each word.

    Raises:
        TypeError: A word or a label is no text.
        DataError: A text has no word, or another number of labels.

    >>> len(TaggedTexts((("5", "Main", "St"),), (("number", "street", "street"),)))
    1
    """

    words: tuple[tuple[str, ...], ...]
    labels: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for name in ("words", "labels"):
            texts = entries(getattr(self, name), name, "texts")
            rows = tuple(entries(text, f"each of {name}", name) for text in texts)
            if other := [one for row in rows for one in row if not isinstance(one, str)]:
                raise TypeError(f"{name} must be texts, got {shown(other[0])}.")
            object.__setattr__(self, name, rows)
        if [*map(len, self.words)] != [*map(len, self.labels)] or not all(self.words):
            raise DataError("each text must have a word, and a label for each word.")

    def __len__(self) -> int:
        return len(self.words)

    def take(self, rows: Sequence[int]) -> "TaggedTexts":
        """Select some texts by their indices."""
        return TaggedTexts(
            tuple(self.words[row] for row in rows), tuple(self.labels[row] for row in rows)
        )

    def __add__(self, other: "TaggedTexts") -> "TaggedTexts":
        return TaggedTexts(self.words + other.words, self.labels + other.labels)

    @property
    def fingerprint(self) -> str:
        """The SHA-256, in hexadecimal, of all words and labels."""
        return hashlib.sha256(json.dumps([self.words, self.labels]).encode()).hexdigest()


def load_tagged(path: str | os.PathLike[str]) -> TaggedTexts:
    """Load texts with a label for each word, as the CoNLL shared tasks write them.

    Each line has a word and, last, its label, separated by white space; what stands between them is
    left out. An empty line ends a text. Lines that begin with ``-DOCSTART-`` or ``#`` and a space
    are left out.

    Args:
        path: The file.

    Raises:
        DataError: There is no such file, it is not UTF-8, or a line has one column only; the
            message names file and line.
        TypeError: ``path`` is no path.
    """
    if not isinstance(path, str | os.PathLike) or not str(path).strip("\0"):
        raise TypeError(f"path must be the path of a file, got {shown(path)}.")
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} must be a file with a word and its label in each line, got none.")
    texts: list[list[tuple[str, str]]] = [[]]
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        fields = line.split()
        if not fields and texts[-1]:
            texts.append([])
        if not fields or line.startswith(_COMMENT):
            continue
        if len(fields) < 2:
            raise DataError(
                f"{file}, line {number}, must have a word and its label, got {shown(line.strip())}."
            )
        texts[-1].append((fields[0], fields[-1]))
    found = [text for text in texts if text]
    if not found:
        raise DataError(f"{file} must have a word and its label in each line, got no word.")
    words, labels = (
        tuple(tuple(pair[place] for pair in text) for text in found) for place in (0, 1)
    )
    return TaggedTexts(words, labels)

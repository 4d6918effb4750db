"""Texts with labels: from a file of lines, or from a folder whose classes are folders."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dilax._checks import entries, integer, shown
from dilax.data._dataset import DataError, SplitDataset
from dilax.data._splits import SPLITS, check_labels, check_place, hold_out, trained_classes
from dilax.data._text_files import SUFFIXES, Line, read_file, read_text


@dataclasses.dataclass(frozen=True, eq=False)
class TextSplit:
    """The texts of one split, and their labels.

    Attributes:
        texts: ``N`` texts.
        labels: int32 ``(N,)``, indices into the class names of the data set.

    Raises:
        TypeError: The texts are none.
        DataError: The labels have another dtype or shape, or another number.

    >>> len(TextSplit(("good", "bad"), np.array([1, 0], np.int32)))
    2
    """

    texts: tuple[str, ...]
    labels: np.ndarray

    def __post_init__(self) -> None:
        texts = entries(self.texts, "texts", "texts")
        if other := [text for text in texts if not isinstance(text, str)]:
            raise TypeError(f"texts must be texts, got {shown(other[0])}.")
        object.__setattr__(self, "texts", texts)
        labels = self.labels
        kind = (getattr(labels, "dtype", None), getattr(labels, "shape", None))
        if kind != (np.int32, (len(texts),)):
            raise DataError(
                f"labels must be int32 ({len(texts)},), one for each text, got {kind[0]} {kind[1]}."
            )

    def __len__(self) -> int:
        return len(self.texts)


@dataclasses.dataclass(frozen=True, eq=False)
class TextDataset(SplitDataset):
    """A named set of texts with labels, held in memory.

    Attributes:
        name: The name by which it was asked for.
        splits: A :class:`TextSplit` by its name (``"train"``, ``"test"``, ...).
        class_names: The name of each class, in the order of the labels.
        source: Where the texts came from, for records of experiments.

    Raises:
        DataError: There is one class only, or a label is no class.

    >>> split = TextSplit(("good", "bad"), np.array([1, 0], np.int32))
    >>> len(TextDataset("toy", {"train": split}, ("no", "yes"), source="by hand").fingerprint)
    64
    """

    splits: Mapping[str, TextSplit]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_labels(self)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hexadecimal, of all splits: their names, texts and labels."""
        digest = hashlib.sha256()
        for name, split in sorted(self.splits.items()):
            content = [name, *split.texts, *split.labels.tolist(), *self.class_names]
            digest.update(json.dumps(content).encode())
        return digest.hexdigest()


def load_texts(
    path: str | os.PathLike[str], *, test_share: float = 0.2, seed: int = 0
) -> TextDataset:
    """Load texts with labels from a file or a folder.

    A file has a text and its label in each line: ``.tsv`` (separated by a tab, without quotes),
    ``.csv`` (with commas, quoted where necessary) or ``.jsonl`` (objects with ``text`` and
    ``label``). If the first line of ``.tsv`` and ``.csv`` names columns ``text`` and ``label``,
    other columns are left out; else there are these two. A folder has files ``train.tsv``,
    ``test.tsv`` and ``validation.tsv``, or folders ``train/CLASS/*.txt``, ``test/CLASS/*.txt``, or
    one folder for each class. Without a test, a share of the texts is held out.

    Args:
        path: The file or folder.
        test_share: Share of the texts that is held out as the split ``test``, if there is none.
        seed: Seed of which ones are held out.

    Returns:
        The texts and labels of all splits. Classes are in the order of their names.

    Raises:
        DataError: A file is not UTF-8, a text is empty, there is one class only, or a class is only
            tested; the message names file and line.
        ValueError: The share is not between 0 and 1.
        TypeError: ``path`` is no path, or a number is none.
    """
    place = check_place(path, test_share)
    lines = _read(place)
    source = str(place)
    if "test" not in lines:
        seed = integer(seed, "seed", minimum=0)
        lines |= hold_out(lines["train"], share=test_share, seed=seed, path=place, what="texts")
        source += f", {test_share:.0%} held out as test (seed {seed})"
    names = trained_classes(lines, path=place, what="texts")
    numbers = {name: number for number, name in enumerate(names)}
    splits = {
        split: TextSplit(
            tuple(line.text for line in listed),
            np.array([numbers[line.label] for line in listed], np.int32),
        )
        for split, listed in lines.items()
    }
    return TextDataset(place.resolve().stem, splits, names, source=source)


def _read(path: Path) -> dict[str, list[Line]]:
    """Read the lines of each split."""
    if path.is_file():
        return {"train": read_file(path)}
    if not path.is_dir():
        raise DataError(f"{path} must be a file ({', '.join(SUFFIXES)}) or a folder, got neither.")
    files = {
        split: path / f"{split}{suffix}"
        for split in SPLITS
        for suffix in SUFFIXES
        if (path / f"{split}{suffix}").is_file()
    }
    if "train" in files:
        return {split: read_file(file) for split, file in files.items()}
    if not (path / "train").is_dir():
        return {"train": _read_classes(path)}
    folders = [split for split in SPLITS if (path / split).is_dir()]
    return {split: _read_classes(path / split) for split in folders}


def _read_classes(folder: Path) -> list[Line]:
    """Read ``CLASS/*.txt``, one text each."""
    files = sorted(file for file in folder.glob("*/*.txt") if file.name[0] != ".")
    if not files:
        raise DataError(
            f"{folder} must hold train.tsv (or .csv, .jsonl), or folders of classes with .txt "
            "files, got neither."
        )
    lines = [Line(read_text(file).strip(), file.parent.name, str(file)) for file in files]
    if empty := [line.place for line in lines if not line.text]:
        raise DataError(f"{empty[0]} must have a text, got an empty file; delete it.")
    return lines

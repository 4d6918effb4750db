"""Folders whose classes are folders: which files are there, their labels, and a share held out.

Either the splits are folders, ``train/CLASS/NAME`` and ``test/CLASS/NAME``, or there is only one
folder for each class, ``CLASS/NAME``.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dilax.data._dataset import DataError
from dilax.data._splits import few

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
"""The names of a split's folder, in small or capital letters."""


class Kind(NamedTuple):
    """What the folders of classes hold."""

    name: str
    """What one is called; an s makes several of it."""
    suffixes: Collection[str]
    """Those of its files."""
    holds: Callable[[Path], bool]
    """Whether a path is one."""


class Labelled(NamedTuple):
    """The files of a split, and their labels."""

    paths: list[Path]
    labels: np.ndarray

    def only(self, mask: np.ndarray) -> "Labelled":
        """Select some."""
        return Labelled([self.paths[n] for n in np.flatnonzero(mask)], self.labels[mask])


class Found(NamedTuple):
    """The files of a data set, by split."""

    parts: dict[str, Labelled]
    class_names: tuple[str, ...]
    held_out: str
    """Says, for records, what was held out; empty if the folder has a split for testing."""
    notes: tuple[str, ...]
    """What a user should know, such as files that were left out."""


def find_labelled(path: Path, kind: Kind, *, test_share: float, seed: int) -> Found:
    """Find the files of all splits; hold a share of each class out, if there is no folder ``test``.

    Raises:
        DataError: A class has no file, or is only tested, or there are fewer than two.
    """
    folders = _split_folders(path)
    classes = {split: _list_classes(folder, kind) for split, folder in folders.items()}
    names = tuple(sorted(set().union(*classes.values())))
    _check_classes(classes, names, folders["train"], kind)
    parts = {split: _label(listed, names, seed) for split, listed in classes.items()}
    said = ""
    if "test" not in parts:
        held = _held_out(parts["train"].labels, test_share)
        parts["test"], parts["train"] = parts["train"].only(held), parts["train"].only(~held)
        said = f", {test_share:.0%} of each class held out as test (seed {seed})"
    notes = (*_left_out(path, parts, kind), *_untested(parts["test"].labels, names, kind))
    return Found(parts, names, said, notes)


def _split_folders(path: Path) -> dict[str, Path]:
    """Find the folders of the splits; without them, ``path`` itself holds the training classes."""
    found = {
        split: folder
        for folder in _subfolders(path)
        for split, names in _SPLITS.items()
        if folder.name.lower() in names
    }
    by_split = any(any(_subfolders(folder)) for folder in found.values())
    if not by_split:  # classes may have these names
        return {"train": path}
    if "train" not in found:
        raise DataError(f"{path} must have a folder train beside {', '.join(sorted(found))}.")
    return {split: found[split] for split in _SPLITS if split in found}


def _list_classes(folder: Path, kind: Kind) -> dict[str, list[Path]]:
    """List the files of each class, in the order of their names."""
    return {
        os.fsencode(each.name).decode("utf-8", "replace"): sorted(
            file for file in each.iterdir() if kind.holds(file)
        )
        for each in _subfolders(folder)
    }


def _check_classes(
    classes: Mapping[str, Mapping[str, list[Path]]], names: Sequence[str], train: Path, kind: Kind
) -> None:
    """Refuse classes that cannot be learned."""
    what = f"{kind.name}s"
    if empty := [name for name, files in classes["train"].items() if not files]:
        raise DataError(
            f"each class folder of {train} must hold {what} ({', '.join(sorted(kind.suffixes))}), "
            f"got none in {few(empty)}; delete it, or put {what} into it."
        )
    if only := [name for name in names if name not in classes["train"]]:
        raise DataError(
            f"{train} must have a folder for each class of the other splits, got none for "
            f"{few(only)} (it has {few(list(classes['train']))}); are the names written alike?"
        )
    if len(names) < 2:
        raise DataError(
            f"{train} must have a folder for each of at least two classes, got {few(names)}; "
            f"give the folder that holds train, or the classes."
        )


def _label(listed: Mapping[str, list[Path]], names: Sequence[str], seed: int) -> Labelled:
    """Label the files of a split, in a random order, so that the first are of all classes."""
    paths = [path for name in names for path in listed.get(name, ())]
    counts = [len(listed.get(name, ())) for name in names]
    labels = np.repeat(np.arange(len(names), dtype=np.int32), counts)
    order = np.random.default_rng(seed).permutation(len(paths))
    return Labelled([paths[n] for n in order], labels[order])


def _held_out(labels: np.ndarray, test_share: float) -> np.ndarray:
    """Choose which files to hold out: a share of each class, and of two or more at least one.

    The files are in random order already, and so the first ones of each class are taken.
    """
    held = np.zeros(len(labels), dtype=bool)
    for label, size in zip(*np.unique(labels, return_counts=True), strict=True):
        count = min(max(round(test_share * size), 1), size - 1)
        held[np.flatnonzero(labels == label)[:count]] = True
    return held


def _left_out(path: Path, parts: Mapping[str, Labelled], kind: Kind) -> Iterator[str]:
    """Say which files were left out, because they are none of a class."""
    taken = {file for part in parts.values() for file in part.paths}
    others = [
        file.relative_to(path).as_posix()
        for file in sorted(path.rglob("*"))
        if file not in taken and file.parent not in taken and not file.is_dir()
    ]
    if others:
        yield (
            f"left out of {path}, for they are no {kind.name}s in a folder of a class: "
            f"{few(others)}"
        )


def _untested(labels: np.ndarray, names: Sequence[str], kind: Kind) -> Iterator[str]:
    if untested := [name for label, name in enumerate(names) if label not in labels]:
        yield f"there are no test {kind.name}s of {few(untested)}"


def _subfolders(path: Path) -> list[Path]:
    """List the folders in ``path`` that a user made."""
    hidden = (".", "__MACOSX")
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith(hidden))

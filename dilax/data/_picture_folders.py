"""A folder of pictures as a data set, whose classes are folders.

Either the splits are folders, ``train/CLASS/*.jpg`` and ``test/CLASS/*.jpg``, or there is only one
folder for each class, ``CLASS/*.jpg``.
"""

import concurrent.futures
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

from dilax.data._dataset import DataError, Dataset, Split, check_size
from dilax.data._finding import is_picture
from dilax.data._picture_cache import decoded
from dilax.data._pictures import SUFFIXES, PictureOptions, read_picture
from dilax.data._splits import few

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
"""The names of a split's folder, in small or capital letters."""


class _Labelled(NamedTuple):
    """The pictures of a split, and their labels."""

    paths: list[Path]
    labels: np.ndarray

    def only(self, mask: np.ndarray) -> "_Labelled":
        """Select some."""
        return _Labelled([self.paths[n] for n in np.flatnonzero(mask)], self.labels[mask])


def is_folder(path: Path) -> bool:
    """Return whether ``path`` has folders of pictures, one or two levels below."""
    return any(is_picture(file) for pattern in ("*/*.*", "*/*/*.*") for file in path.glob(pattern))


def read_folder(
    path: Path, options: PictureOptions, *, cache_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Read a folder of pictures, or take its arrays from the cache.

    Raises:
        DataError: A picture cannot be read, a class has no pictures, or is only tested.
    """
    folders = _split_folders(path)
    classes = {split: _list_classes(folder) for split, folder in folders.items()}
    names = tuple(sorted(set().union(*classes.values())))
    _check_classes(classes, names, folders["train"])
    parts = {split: _label(listed, names, options.seed) for split, listed in classes.items()}
    source = f"{path}, {options.description}"
    if "test" not in parts:
        held = _held_out(parts["train"].labels, options)
        parts["test"], parts["train"] = parts["train"].only(held), parts["train"].only(~held)
        source += f", {options.test_share:.0%} of each class held out as test (seed {options.seed})"
    notes = (*_left_out(path, parts), *_untested(parts["test"].labels, names), f"data of {source}")
    files = {split: part.paths for split, part in parts.items()}
    settings = f"{options}, Pillow {PIL.__version__}, {names}"
    splits = decoded(
        path, files, settings, lambda: _read_splits(parts, options), cache_dir=cache_dir
    )
    return Dataset(path.resolve().name, splits, names, source=source, notes=notes)


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


def _list_classes(folder: Path) -> dict[str, list[Path]]:
    """List the pictures of each class, in the order of their names."""
    return {
        os.fsencode(each.name).decode("utf-8", "replace"): sorted(
            file for file in each.iterdir() if is_picture(file)
        )
        for each in _subfolders(folder)
    }


def _check_classes(
    classes: Mapping[str, Mapping[str, list[Path]]], names: Sequence[str], train: Path
) -> None:
    """Refuse classes that cannot be learned."""
    if empty := [name for name, files in classes["train"].items() if not files]:
        raise DataError(
            f"each class folder of {train} must hold pictures ({', '.join(sorted(SUFFIXES))}), "
            f"got none in {few(empty)}; delete it, or put pictures into it."
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


def _label(listed: Mapping[str, list[Path]], names: Sequence[str], seed: int) -> _Labelled:
    """Label the pictures of a split, in a random order, so that the first are of all classes."""
    paths = [path for name in names for path in listed.get(name, ())]
    counts = [len(listed.get(name, ())) for name in names]
    labels = np.repeat(np.arange(len(names), dtype=np.int32), counts)
    order = np.random.default_rng(seed).permutation(len(paths))
    return _Labelled([paths[n] for n in order], labels[order])


def _held_out(labels: np.ndarray, options: PictureOptions) -> np.ndarray:
    """Choose which pictures to hold out: a share of each class, and of two or more at least one.

    The pictures are in random order already, and so the first ones of each class are taken.
    """
    held = np.zeros(len(labels), dtype=bool)
    for label, size in zip(*np.unique(labels, return_counts=True), strict=True):
        count = min(max(round(options.test_share * size), 1), size - 1)
        held[np.flatnonzero(labels == label)[:count]] = True
    return held


def _read_splits(parts: Mapping[str, _Labelled], options: PictureOptions) -> dict[str, Split]:
    """Decode all pictures, in threads, for Pillow's decoders run side by side."""
    if options.size is None:
        with _without_warnings():
            first = read_picture(parts["train"].paths[0], options)
        shape = first.shape
    else:
        shape = (options.size, options.size, options.channels)
    total = sum(len(part.paths) for part in parts.values())
    check_size(total * int(np.prod(shape)), f"the {total} pictures, as arrays {shape},")
    executor = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    try:
        with _without_warnings():
            read = {
                split: _read_all(part.paths, options, shape, executor)
                for split, part in parts.items()
            }
    finally:
        executor.shutdown(cancel_futures=True)
    _refuse_unread([pair for _, errors in read.values() for pair in errors.items()])
    return {split: Split(images, parts[split].labels) for split, (images, _) in read.items()}


def _read_all(
    paths: Sequence[Path],
    options: PictureOptions,
    shape: tuple[int, ...],
    executor: concurrent.futures.Executor,
) -> tuple[np.ndarray, dict[Path, DataError]]:
    """Read pictures of one shape; beside them, return the errors of those that cannot be read."""
    images = np.empty((len(paths), *shape), np.uint8)
    errors: dict[Path, DataError] = {}

    def read(place: int) -> None:
        try:
            picture = read_picture(paths[place], options)
            _check_shape(picture.shape, shape, paths[place])
            images[place] = picture
        except DataError as error:
            errors[paths[place]] = error

    for _ in executor.map(read, range(len(paths))):
        pass
    return images, errors


def _check_shape(shape: tuple[int, ...], first: tuple[int, ...], path: Path) -> None:
    if shape != first:
        raise DataError(
            f"pictures must be of one size where none is asked for, got {first} and, in {path}, "
            f"{shape}; give a size (--size, or PictureOptions(size=...))."
        )


def _refuse_unread(errors: list[tuple[Path, DataError]]) -> None:
    if not errors:
        return
    (_, first), *others = sorted(errors, key=lambda pair: pair[0])
    more = f" The same is true of: {few([str(path) for path, _ in others])}." if others else ""
    raise DataError(f"{first}{more}") from first


def _without_warnings() -> warnings.catch_warnings:
    """Silence Pillow about large pictures and odd metadata: what it cannot read, it raises."""
    return warnings.catch_warnings(action="ignore")


def _left_out(path: Path, parts: Mapping[str, _Labelled]) -> Iterator[str]:
    """Say which files were left out, because they are no picture of a class."""
    taken = {file for part in parts.values() for file in part.paths}
    others = [
        file.relative_to(path).as_posix()
        for file in sorted(path.rglob("*"))
        if file not in taken and not file.is_dir()
    ]
    if others:
        yield f"left out of {path}, for they are no pictures in a folder of a class: {few(others)}"


def _untested(labels: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    if untested := [name for label, name in enumerate(names) if label not in labels]:
        yield f"there are no test pictures of {few(untested)}"


def _subfolders(path: Path) -> list[Path]:
    """List the folders in ``path`` that a user made."""
    hidden = (".", "__MACOSX")
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith(hidden))

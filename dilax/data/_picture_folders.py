"""A folder of pictures as a data set, whose classes are folders.

Either the splits are folders, ``train/CLASS/*.jpg`` and ``test/CLASS/*.jpg``, or there is only one
folder for each class, ``CLASS/*.jpg``.
"""

import concurrent.futures
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL

from dilax.data._class_folders import Kind, Labelled, find_labelled
from dilax.data._dataset import DataError, Dataset, Split, check_size
from dilax.data._finding import is_picture
from dilax.data._picture_cache import decoded
from dilax.data._pictures import SUFFIXES, PictureOptions, read_picture
from dilax.data._splits import few

_PICTURES = Kind("picture", SUFFIXES, is_picture)


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
    parts, names, held_out, notes = find_labelled(
        path, _PICTURES, test_share=options.test_share, seed=options.seed
    )
    source = f"{path}, {options.description}{held_out}"
    files = {split: part.paths for split, part in parts.items()}
    settings = f"{options}, Pillow {PIL.__version__}, {names}"
    splits = decoded(
        path, files, settings, lambda: _read_splits(parts, options), cache_dir=cache_dir
    )
    notes = (*notes, f"data of {source}")
    return Dataset(path.resolve().name, splits, names, source=source, notes=notes)


def _read_splits(parts: Mapping[str, Labelled], options: PictureOptions) -> dict[str, Split]:
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

"""NumPy's ``.npz`` files: arrays by name, without pickles and of bounded size."""

import io
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from dilax.data._dataset import DataError, Dataset, Split, check_size, make_split


def read_arrays(file: IO[bytes] | str | os.PathLike[str], where: str) -> dict[str, np.ndarray]:
    """Read all arrays of an ``.npz`` file, which error messages call ``where``.

    Refused are files that are damaged (by the zip's own checksums), hold Python objects (a pickle),
    or declare more bytes than their arrays have or than are read into memory.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            check_size(sum(member.file_size for member in archive.infolist()), where)
            names = archive.namelist()
            return {name.removesuffix(".npy"): _array(archive.read(name), name) for name in names}
    except (FileNotFoundError, DataError):
        raise
    except Exception as error:  # damaged files: whatever zipfile and NumPy raise
        raise DataError(f"{where} is not a whole .npz file: {error}; get it again.") from error


def _array(content: bytes, name: str) -> np.ndarray:
    """Read one ``.npy`` member, which must end where its header says."""
    file = io.BytesIO(content)
    try:
        array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # a header may declare any dtype, shape and size
        raise ValueError(f"{name}: {error}") from error
    if file.read(1):
        raise ValueError(f"{name} is longer than its header declares")
    return array


def read_dataset(path: Path) -> Dataset:
    """Read a data set from a user's ``.npz`` file.

    A split has an array of images, such as ``train_images``, and one of labels, ``train_labels``;
    or they are called ``x_train`` and ``y_train``, as Keras calls them. Images are uint8
    ``(N, H, W)`` or ``(N, H, W, C)``, labels integers ``(N,)`` or ``(N, 1)``. ``class_names``, an
    array of strings, is optional; without it the classes are ``"0"`` to the largest label, all of
    which must occur.
    """
    arrays = read_arrays(path, str(path))
    splits = {}
    for images in arrays:
        if own := re.fullmatch("(.+)_images", images):
            splits[own[1]] = _split(arrays, images, f"{own[1]}_labels", path)
        elif keras := re.fullmatch("x_(.+)", images):
            splits[keras[1]] = _split(arrays, images, f"y_{keras[1]}", path)
    if not splits:
        raise DataError(
            f"{path} must hold train_images and train_labels (or x_train and y_train), got the "
            f"arrays {sorted(arrays)}."
        )
    if "class_names" not in arrays:
        _check_consecutive(splits, path)
    names = arrays.get("class_names", np.array(numbered_classes(splits)))
    return Dataset(path.stem, splits, tuple(map(str, names.reshape(-1))), source=str(path))


def _check_consecutive(splits: Mapping[str, Split], path: Path) -> None:
    """Refuse labels that do not start at 0, or leave some out, without names of the classes."""
    found = np.unique(np.concatenate([split.labels for split in splits.values()]))
    if len(found) and not np.array_equal(found, np.arange(len(found))):
        absent = next(label for label, one in enumerate(found) if label != one)
        raise DataError(
            f"{path} must have all labels from 0 to the largest, got {found[0]} to {found[-1]} "
            f"without {absent}; number the classes from 0, or add an array class_names."
        )


def numbered_classes(splits: Mapping[str, Split]) -> tuple[str, ...]:
    """Name the classes ``"0"`` to the largest label of ``splits``."""
    largest = max((int(split.labels.max(initial=0)) for split in splits.values()), default=0)
    return tuple(str(label) for label in range(largest + 1))


def _split(arrays: Mapping[str, np.ndarray], images: str, labels: str, path: Path) -> Split:
    if labels not in arrays:
        raise DataError(f"{path} must have {labels} beside {images}, got {sorted(arrays)}.")
    try:
        return make_split(arrays[images], arrays[labels])
    except DataError as error:
        raise DataError(f"{path}, {images} and {labels}: {error}") from error

"""NumPy's ``.npz`` files: arrays by name, without pickles and without surprises in size."""

import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from dilax.data._dataset import DataError, Dataset, Split, make_split
from dilax.data._files import check_size

_LAYOUTS = (("{split}_images", "{split}_labels"), ("x_{split}", "y_{split}"))


def read_arrays(file: IO[bytes] | str | os.PathLike[str], where: str) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file; the zip's own checksums are verified on the way.

    Args:
      file: the path, or the file opened in binary mode.
      where: how messages name it.

    Raises:
      FileNotFoundError: when there is no such file.
      DataError: when it is no ``.npz`` file, is damaged, holds Python objects (a pickle), or
        declares more bytes than its arrays have or than are read into memory.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            check_size(sum(member.file_size for member in archive.infolist()), where)
            return {
                member.filename.removesuffix(".npy"): _read_array(archive, member, where)
                for member in archive.infolist()
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{where} is not a whole .npz file: {error}. Get it again.") from error


def read_dataset(path: Path) -> Dataset:
    """A data set from an ``.npz`` file of a user.

    The arrays are ``train_images`` and ``train_labels``, and so for each split (``test``, any other
    name); or ``x_train``, ``y_train``, ``x_test``, ``y_test``, as Keras has them. Images are uint8
    ``(N, H, W)`` or ``(N, H, W, C)``, labels any integers ``(N,)``. ``class_names``, an array of
    strings, is optional; without it the classes are ``"0"`` to the largest label.

    Raises:
      FileNotFoundError: when there is no such file.
      DataError: when the arrays are missing, damaged, or of another dtype or shape.
    """
    arrays = read_arrays(path, str(path))
    splits = {name: _split(arrays, pair, path) for name, pair in _split_keys(arrays).items()}
    if not splits:
        raise DataError(
            f"{path} must hold train_images and train_labels (or x_train and y_train), got the "
            f"arrays {sorted(arrays)}."
        )
    return Dataset(path.stem, splits, _class_names(arrays, splits), source=str(path))


def numbered_classes(splits: Mapping[str, Split]) -> tuple[str, ...]:
    """Class names ``"0"`` to the largest label of ``splits``."""
    largest = max((int(split.labels.max(initial=0)) for split in splits.values()), default=0)
    return tuple(str(label) for label in range(largest + 1))


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> np.ndarray:
    where = f"{member.filename} in {where}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{where} must be stored or deflated, as np.savez writes it.")
    with archive.open(member) as file:
        shape, fortran_order, dtype = _read_header(file, where)
        count = math.prod(shape) * dtype.itemsize
        if file.tell() + count != member.file_size or min(shape, default=0) < 0:
            raise DataError(
                f"{where} declares {dtype} {shape}, {count} bytes, but has "
                f"{member.file_size - file.tell()}; it is damaged. Get the file again."
            )
        content = file.read()
    if len(content) != count:
        raise DataError(f"{where} is cut short: {len(content)} of {count} bytes are there.")
    return np.ndarray(shape, dtype, buffer=content, order="F" if fortran_order else "C")


def _read_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        shape, fortran_order, dtype = readers[npy.read_magic(file)](file)
    except (ValueError, KeyError) as error:
        raise DataError(f"{where} is not an array in .npy format ({error}).") from error
    if dtype.hasobject:
        raise DataError(
            f"{where} holds Python objects, a pickle, which is never loaded; save the array with "
            f"a plain dtype (uint8 images, integer labels, strings)."
        )
    return shape, fortran_order, dtype


def _split_keys(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[str, str]]:
    """Name of each split to the names of its images and labels, whichever layout is used."""
    keys = {}
    for images, labels in _LAYOUTS:
        prefix, suffix = images.split("{split}")
        for name in arrays:
            split = name.removeprefix(prefix).removesuffix(suffix)
            if split and name == f"{prefix}{split}{suffix}":
                keys[split] = (name, labels.format(split=split))
    return keys


def _split(arrays: Mapping[str, np.ndarray], keys: tuple[str, str], path: Path) -> Split:
    images, labels = keys
    if labels not in arrays:
        raise DataError(f"{path} has {images} but no {labels}; it has {sorted(arrays)}.")
    try:
        return make_split(arrays[images], arrays[labels])
    except DataError as error:
        raise DataError(f"{path}, {images} and {labels}: {error}") from error


def _class_names(arrays: Mapping[str, np.ndarray], splits: Mapping[str, Split]) -> tuple[str, ...]:
    if "class_names" not in arrays:
        return numbered_classes(splits)
    return tuple(str(name) for name in arrays["class_names"].reshape(-1))

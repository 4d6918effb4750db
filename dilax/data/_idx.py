"""IDX files, the format of MNIST: a header of big-endian integers, then the bytes.

Format: http://yann.lecun.com/exdb/mnist/ (the last section of the page).
"""

import gzip
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from dilax.data._dataset import DataError, Dataset, check_size, make_split
from dilax.data._npz import numbered_classes

_UNSIGNED_BYTES = b"\0\0\x08"
_MOST_DIMENSIONS = 4

FILE_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""The published names of the images and labels of each split; a file may end in ``.gz``."""


def read_folder(folder: Path) -> Dataset:
    """Read a data set from a folder with the four files, each plain or gzipped (``.gz``)."""
    splits = {
        split_name: make_split(*(read_file(_find(folder, file_name)) for file_name in file_names))
        for split_name, file_names in FILE_NAMES.items()
    }
    return Dataset(folder.name, splits, numbered_classes(splits), source=str(folder))


def read_file(path: Path) -> np.ndarray:
    """Read the uint8 array of one IDX file, gzipped when its name ends in ``.gz``."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            return read(file, str(path))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is not a whole gzip file: {error}; get it again.") from error


def read(file: BufferedIOBase, where: str) -> np.ndarray:
    """Read the uint8 array of an open IDX file; ``where`` names the file in error messages.

    >>> import io
    >>> read(io.BytesIO(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])), "two labels").tolist()
    [7, 9]
    """
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != _UNSIGNED_BYTES or not 1 <= magic[3] <= _MOST_DIMENSIONS:
        raise DataError(
            f"{where} must begin with the IDX header 00 00 08 and the number of dimensions, got "
            f"{magic.hex(' ') or 'nothing'}; is it still compressed, or a page of HTML?"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{where} is cut short within its header; get the file again.")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    count = math.prod(shape)
    check_size(count, where)
    content = file.read(count + 1)
    if len(content) != count:
        found = f"only {len(content)}" if len(content) < count else "more"
        raise DataError(f"{where} must have {count} bytes, got {found}; get the file again.")
    return np.frombuffer(content, np.uint8).reshape(shape)


def is_folder(folder: Path) -> bool:
    """Return whether ``folder`` holds any of the four files."""
    names = [name for pair in FILE_NAMES.values() for name in pair]
    return any((folder / f"{name}{end}").exists() for name in names for end in ("", ".gz"))


def _find(folder: Path, file_name: str) -> Path:
    for path in (folder / file_name, folder / f"{file_name}.gz"):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"{folder} must hold the four IDX files that MNIST is published in; {file_name} (or "
        f"{file_name}.gz) is missing."
    )

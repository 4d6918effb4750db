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

from dilax.data._dataset import DataError, Dataset, make_split
from dilax.data._files import check_size, read_exactly
from dilax.data._npz import numbered_classes

_UNSIGNED_BYTE = 0x08

FILE_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Name of a split to the published names of its images and labels (``.gz`` or not)."""


def read_folder(folder: Path) -> Dataset:
    """A data set from a folder with the four files, each as published or with ``.gz`` at its end.

    Raises:
      FileNotFoundError: when one of the four is missing.
      DataError: when one is damaged, or images and labels do not belong together.
    """
    splits = {}
    for split_name, file_names in FILE_NAMES.items():
        images, labels = (read_file(_find(folder, file_name)) for file_name in file_names)
        splits[split_name] = make_split(images, labels)
    return Dataset(folder.name, splits, numbered_classes(splits), source=str(folder))


def read_file(path: Path) -> np.ndarray:
    """The array of one IDX file of bytes, gzipped when its name ends in ``.gz``.

    Returns:
      uint8, of the shape its header declares: ``(N, H, W)`` images or ``(N,)`` labels.

    Raises:
      FileNotFoundError: when there is no such file.
      DataError: when it is not such a file, is cut short or has bytes too many.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            return read(file, str(path))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{path} is not a whole gzip file: {error}. Get the file again."
            ) from error


def read(file: BufferedIOBase, where: str) -> np.ndarray:
    """The uint8 array of one IDX file that is open; ``where`` names it in messages.

    >>> import io
    >>> read(io.BytesIO(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])), "two labels").tolist()
    [7, 9]
    """
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE or magic[3] == 0:
        raise DataError(
            f"{where} must begin with the IDX header 00 00 08 and the number of dimensions, got "
            f"{magic.hex(' ') or 'nothing'}; is it still compressed, or a page of HTML?"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{where} is cut short: it ends within its header. Get the file again.")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    check_size(math.prod(shape), where)
    return np.frombuffer(read_exactly(file, math.prod(shape), where), np.uint8).reshape(shape)


def is_folder(folder: Path) -> bool:
    """Whether ``folder`` holds any of the four files."""
    names = [name for pair in FILE_NAMES.values() for name in pair]
    return any(path.exists() for name in names for path in _candidates(folder, name))


def _find(folder: Path, file_name: str) -> Path:
    for path in _candidates(folder, file_name):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"{folder} must hold the four IDX files of MNIST's layout; {file_name} (or "
        f"{file_name}.gz) is missing."
    )


def _candidates(folder: Path, file_name: str) -> tuple[Path, Path]:
    return folder / file_name, folder / f"{file_name}.gz"

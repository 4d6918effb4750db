"""CIFAR-10 and CIFAR-100 as published: the binary and the Python version, archive or folder.

Formats: https://www.cs.toronto.edu/~kriz/cifar.html. The files are found by their base names and
read in memory: nothing is extracted. The Python version consists of pickles, which are untrusted:
unpickling creates plain values and inert records of NumPy's arrays, and calls nothing.
"""

import dataclasses
import gzip
import io
import math
import pickle
import reprlib
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dilax.data._dataset import DataError, Dataset, check_size, make_split
from dilax.data._names import KNOWN_SETS

_PIXELS = 32 * 32 * 3
_CHUNK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The files of one published version, and its columns of labels, the fine ones last."""

    name: str
    files: Mapping[str, tuple[str, ...]]
    label_keys: tuple[str, ...]
    binary: bool

    @property
    def file_names(self) -> set[str]:
        return {file_name for names in self.files.values() for file_name in names}


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_BINARY_BATCHES = tuple(f"{name}.bin" for name in _BATCHES)
_COARSE_FINE = ("coarse_labels", "fine_labels")
_LAYOUTS = (
    _Layout("cifar10", {"train": _BINARY_BATCHES, "test": ("test_batch.bin",)}, ("labels",), True),
    _Layout("cifar100", {"train": ("train.bin",), "test": ("test.bin",)}, _COARSE_FINE, True),
    _Layout("cifar10", {"train": _BATCHES, "test": ("test_batch",)}, ("labels",), False),
    _Layout("cifar100", {"train": ("train",), "test": ("test",)}, _COARSE_FINE, False),
)
_WANTED = frozenset().union(*(layout.file_names for layout in _LAYOUTS))


def read(path: Path) -> Dataset:
    """Read CIFAR-10, or CIFAR-100 with its fine labels, from an archive or its folder."""
    name, tables = read_tables(path)
    splits = {
        split_name: make_split(images, labels[:, -1])
        for split_name, (images, labels) in tables.items()
    }
    return Dataset(name, splits, KNOWN_SETS[name].class_names, source=str(path))


def read_tables(path: Path) -> tuple[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Read the published files, whose names tell which of the four versions it is.

    Returns:
        ``"cifar10"`` or ``"cifar100"``, and for each split its images, uint8 ``(N, 32, 32, 3)``,
        and labels, int64: ``(N, 1)``, or ``(N, 2)`` for the coarse and fine ones of CIFAR-100.
    """
    members = _read_folder(path) if path.is_dir() else _read_archive(path)
    layout = _layout_of(set(members), path)
    return layout.name, {
        split_name: _read_split([members[name] for name in file_names], layout, path)
        for split_name, file_names in layout.files.items()
    }


def is_folder(folder: Path) -> bool:
    """Return whether ``folder`` holds any of the published files."""
    return any((folder / name).is_file() for name in _WANTED)


def _read_folder(folder: Path) -> dict[str, bytes]:
    files = [file for file in sorted(folder.iterdir()) if file.name in _WANTED and file.is_file()]
    check_size(sum(file.stat().st_size for file in files), str(folder))
    return {file.name: file.read_bytes() for file in files}


def _read_archive(path: Path) -> dict[str, bytes]:
    """Read the published files in an archive, by base name.

    A compressed archive is read to its end, for gzip keeps its checksum there.
    """
    compressed = not path.name.endswith(".tar")
    try:
        with (
            gzip.open(path) if compressed else path.open("rb") as file,
            tarfile.open(fileobj=file, mode="r|") as archive,
        ):
            members = _read_members(archive, path)
            while file.read(_CHUNK_BYTES):
                pass
            return members
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} is not a whole tar archive: {error or 'it is cut short'}; get it again."
        ) from error


def _read_members(archive: tarfile.TarFile, path: Path) -> dict[str, bytes]:
    members, declared = {}, 0
    for member in archive:
        declared += member.size
        check_size(declared, str(path))
        base_name = PurePosixPath(member.name).name
        file = archive.extractfile(member) if member.isfile() and base_name in _WANTED else None
        if file:
            members[base_name] = content = file.read()
            if len(content) != member.size:
                raise DataError(
                    f"{path} is cut short: {member.name} must have {member.size} bytes, got "
                    f"{len(content)}; get the archive again."
                )
    return members


def _layout_of(found: set[str], path: Path) -> _Layout:
    for layout in _LAYOUTS:
        if layout.file_names <= found:
            return layout
    missing = min((layout.file_names - found for layout in _LAYOUTS), key=len)
    raise DataError(
        f"{path} must hold the files of CIFAR-10 or CIFAR-100, in the binary or the Python "
        f"version, got {sorted(found)}; {sorted(missing)} are missing."
    )


def _read_split(
    contents: list[bytes], layout: _Layout, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    read_one = _read_binary if layout.binary else _read_pickled
    parts = [read_one(content, layout.label_keys, str(path)) for content in contents]
    pixels = np.concatenate([pixels for pixels, _ in parts])
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.concatenate([labels for _, labels in parts])


def _read_binary(
    content: bytes, label_keys: tuple[str, ...], where: str
) -> tuple[np.ndarray, np.ndarray]:
    row = len(label_keys) + _PIXELS
    if not content or len(content) % row:
        raise DataError(
            f"{where}: its binary files must be rows of {row} bytes, got one of {len(content)} "
            f"bytes; it is cut short, get the archive again."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    labels, pixels = np.split(rows, [len(label_keys)], axis=1)
    return pixels, labels.astype(np.int64)


def _read_pickled(
    content: bytes, label_keys: tuple[str, ...], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Read a pickled dictionary of one array of pixels and of lists of labels."""
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="latin-1").load()
        labels = [_labels(batch[key]) for key in label_keys]
        return _pixels(batch["data"]), np.stack(labels, axis=-1)
    except Exception as error:  # a damaged or hostile pickle may raise anything
        raise DataError(f"{where} is not a readable CIFAR batch: {error!r}.") from error


class _Record:
    """The arguments and the state with which a pickle would create an object of NumPy's."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """An unpickler that creates records in place of objects, so that no code is run.

    It is Python's own in pure Python: the one in C allocates its memo up to the largest index that
    a file names.
    """

    _NAMES = (
        *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
        *("numpy.ndarray", "numpy.dtype", "_codecs.encode"),
    )

    def find_class(self, module: str, name: str) -> type[_Record]:
        """Return the record for the names that arrays need; refuse every other name."""
        if f"{module}.{name}" not in self._NAMES:
            raise pickle.UnpicklingError(
                f"it asks for {module[:50]}.{name[:50]}, which no array needs; nothing was run"
            )
        return _Record


def _pixels(array: _Record) -> np.ndarray:
    _, shape, dtype, fortran_order, content = array.state
    code = dtype.arguments[0]
    if code not in ("u1", "uint8") or not _is_table(shape):
        found = f"{reprlib.repr(code)} {reprlib.repr(shape)}"
        raise DataError(f"data must be uint8 (N, {_PIXELS}), got {found}")
    if isinstance(content, _Record):  # Python 3 pickles bytes as a call of ``_codecs.encode``
        content = content.arguments[0]
    if isinstance(content, str):  # Python 2 pickles them as a string
        content = content.encode("latin-1")
    if len(content) != math.prod(shape):
        expected = math.prod(shape)
        raise DataError(f"data of shape {shape} must be {expected} bytes, got {len(content)}")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


def _is_table(shape: Any) -> bool:
    return isinstance(shape, tuple) and [*map(type, shape)] == [int, int] and shape[1] == _PIXELS


def _labels(found: Any) -> np.ndarray:
    if not isinstance(found, list) or not all(type(label) is int for label in found):
        raise DataError(f"labels must be a list of integers, got {reprlib.repr(found)}")
    return np.array(found, dtype=np.int64)

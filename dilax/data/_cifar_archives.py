"""CIFAR-10 and CIFAR-100 as published: the binary and the Python version, archive or folder.

Formats: https://www.cs.toronto.edu/~kriz/cifar.html. Members are found by their base name and read
in memory, so nothing is ever extracted; the Python version is a pickle, read by
``dilax.data._cifar_batches``, which runs none of its code.
"""

import dataclasses
import gzip
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from dilax.data._cifar_batches import PIXELS, read_batch
from dilax.data._dataset import DataError, Dataset, make_split
from dilax.data._files import check_size
from dilax.data._names import KNOWN_SETS

_CHUNK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The files of one published version, and what it calls its columns of labels, fine last."""

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
    """CIFAR-10, or CIFAR-100 with its fine labels, from an archive (``.tar.gz``) or its folder.

    Which of the four published versions it is, is seen from the names of the files.

    Raises:
      FileNotFoundError: when ``path`` does not exist.
      DataError: when it holds none of the four versions, or one that is incomplete or damaged.
    """
    name, tables = read_tables(path)
    splits = {
        split_name: make_split(images, labels[:, -1])
        for split_name, (images, labels) in tables.items()
    }
    return Dataset(name, splits, KNOWN_SETS[name].class_names, source=str(path))


def read_tables(path: Path) -> tuple[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Everything such an archive says: as :func:`read`, with all columns of labels.

    Returns:
      ``"cifar10"`` or ``"cifar100"``, and for each split its images, uint8 ``(N, 32, 32, 3)``, and
      labels, int64 ``(N, 1)``, or ``(N, 2)``, coarse and fine, for CIFAR-100.
    """
    members = _read_folder(path) if path.is_dir() else _read_archive(path)
    layout = _layout_of(set(members), path)
    return layout.name, {
        split_name: _read_split([members[name] for name in file_names], layout, path)
        for split_name, file_names in layout.files.items()
    }


def is_folder(folder: Path) -> bool:
    """Whether ``folder`` holds any of the published files."""
    return any((folder / name).is_file() for name in _WANTED)


def _read_folder(folder: Path) -> dict[str, bytes]:
    files = [file for file in sorted(folder.iterdir()) if file.name in _WANTED and file.is_file()]
    check_size(sum(file.stat().st_size for file in files), str(folder))
    return {file.name: file.read_bytes() for file in files}


def _read_archive(path: Path) -> dict[str, bytes]:
    """Base name to content of the published files in an archive; other members are passed over.

    A compressed archive is read to its end, for there gzip keeps its checksum.
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
            f"{path} is not a whole tar archive: {error or 'it is cut short'}. Get the file again."
        ) from error


def _read_members(archive: tarfile.TarFile, path: Path) -> dict[str, bytes]:
    members, declared = {}, 0
    for member in archive:
        declared += member.size
        check_size(declared, str(path))
        base_name = PurePosixPath(member.name).name
        if member.isfile() and base_name in _WANTED:
            members[base_name] = _content(archive.extractfile(member), member, path)
    return members


def _content(file: IO[bytes] | None, member: tarfile.TarInfo, path: Path) -> bytes:
    content = file.read() if file else b""
    if len(content) != member.size:
        raise DataError(
            f"{path} is cut short: {member.name} must have {member.size} bytes, got "
            f"{len(content)}. Get the file again."
        )
    return content


def _layout_of(found: set[str], path: Path) -> _Layout:
    for layout in _LAYOUTS:
        if layout.file_names <= found:
            return layout
    missing = min((layout.file_names - found for layout in _LAYOUTS), key=len)
    raise DataError(
        f"{path} must hold the files of CIFAR-10 or CIFAR-100, binary or Python version; "
        f"{sorted(missing)} are missing, found {sorted(found)}."
    )


def _read_split(
    contents: list[bytes], layout: _Layout, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    read_one = _read_binary if layout.binary else read_batch
    parts = [read_one(content, layout.label_keys, str(path)) for content in contents]
    pixels = np.concatenate([pixels for pixels, _ in parts])
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.concatenate([labels for _, labels in parts])


def _read_binary(
    content: bytes, label_keys: tuple[str, ...], where: str
) -> tuple[np.ndarray, np.ndarray]:
    row = len(label_keys) + PIXELS
    if not content or len(content) % row:
        raise DataError(
            f"{where}: its binary files must be rows of {row} bytes, got one of {len(content)} "
            f"bytes; it is cut short. Get the archive again."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    labels, pixels = np.split(rows, [len(label_keys)], axis=1)
    return pixels, labels.astype(np.int64)

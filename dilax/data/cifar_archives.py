"""CIFAR-10 and CIFAR-100 as published: the binary and the Python version, archive or folder.

Formats: https://www.cs.toronto.edu/~kriz/cifar.html. Members are found by their base name and read
in memory, so nothing is ever extracted; the Python version is a pickle, read by
``dilax.data.restricted_pickle``, which runs none of its code.
"""

import dataclasses
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from dilax.data.dataset import DataError, Dataset, Split, make_split
from dilax.data.files import check_size
from dilax.data.names import KNOWN_SETS
from dilax.data.restricted_pickle import read_batch

_PIXELS = 32 * 32 * 3


@dataclasses.dataclass(frozen=True)
class _Layout:
    """The files of one published version; ``label_column`` is that of the fine label."""

    name: str
    files: Mapping[str, tuple[str, ...]]
    label_columns: int
    binary: bool

    @property
    def file_names(self) -> set[str]:
        return {file_name for names in self.files.values() for file_name in names}


_TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_LAYOUTS = (
    _Layout(
        "cifar10",
        {"train": tuple(f"{name}.bin" for name in _TRAIN_BATCHES), "test": ("test_batch.bin",)},
        label_columns=1,
        binary=True,
    ),
    _Layout("cifar100", {"train": ("train.bin",), "test": ("test.bin",)}, 2, binary=True),
    _Layout("cifar10", {"train": _TRAIN_BATCHES, "test": ("test_batch",)}, 1, binary=False),
    _Layout("cifar100", {"train": ("train",), "test": ("test",)}, 2, binary=False),
)


def read(path: Path) -> Dataset:
    """CIFAR-10 or CIFAR-100 from ``path``, an archive (``.tar.gz``, ``.tar``) or its folder.

    Which of the four published versions it is, is seen from the names of the files.

    Raises:
      FileNotFoundError: when ``path`` does not exist.
      DataError: when it holds none of the four versions, or one that is incomplete or damaged.
    """
    members = _read_folder(path) if path.is_dir() else _read_archive(path)
    layout = _layout_of(set(members), path)
    splits = {
        split_name: _read_split([members[name] for name in file_names], layout, path)
        for split_name, file_names in layout.files.items()
    }
    return Dataset(layout.name, splits, KNOWN_SETS[layout.name].class_names, source=str(path))


def is_folder(folder: Path) -> bool:
    """Whether ``folder`` holds any of the published files."""
    return any((folder / name).is_file() for layout in _LAYOUTS for name in layout.file_names)


def _read_folder(folder: Path) -> dict[str, bytes]:
    wanted = set().union(*(layout.file_names for layout in _LAYOUTS))
    files = [file for file in sorted(folder.iterdir()) if file.name in wanted and file.is_file()]
    check_size(sum(file.stat().st_size for file in files), str(folder))
    return {file.name: file.read_bytes() for file in files}


def _read_archive(path: Path) -> dict[str, bytes]:
    """Base name to content of the published files in an archive; other members are passed over."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            return _read_members(archive, path)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} is not a whole tar archive: {error or 'it is cut short'}. Get the file again."
        ) from error


def _read_members(archive: tarfile.TarFile, path: Path) -> dict[str, bytes]:
    wanted = set().union(*(layout.file_names for layout in _LAYOUTS))
    members, declared = {}, 0
    for member in archive:
        declared += member.size
        check_size(declared, str(path))
        base_name = PurePosixPath(member.name).name
        if member.isfile() and base_name in wanted:
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


def _read_split(contents: list[bytes], layout: _Layout, path: Path) -> Split:
    read_one = _read_binary if layout.binary else _read_python
    parts = [read_one(content, layout, path) for content in contents]
    images = np.concatenate([images for images, _ in parts])
    images = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return make_split(np.ascontiguousarray(images), np.concatenate([labels for _, labels in parts]))


def _read_binary(content: bytes, layout: _Layout, path: Path) -> tuple[np.ndarray, np.ndarray]:
    row = layout.label_columns + _PIXELS
    if not content or len(content) % row:
        raise DataError(
            f"{path}: a binary file of {layout.name} must be rows of {row} bytes, got "
            f"{len(content)} bytes; it is cut short. Get the archive again."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    return rows[:, layout.label_columns :], rows[:, layout.label_columns - 1]


def _read_python(content: bytes, layout: _Layout, path: Path) -> tuple[np.ndarray, np.ndarray]:
    labels_key = "labels" if layout.name == "cifar10" else "fine_labels"
    pixels, labels = read_batch(content, labels_key, str(path))
    if pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        raise DataError(f"{path}: data must be uint8 (N, {_PIXELS}), got {pixels.shape}.")
    return pixels, labels

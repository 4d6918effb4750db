"""Decoded pictures in the cache, so that a large folder is not decoded at every start."""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dilax.data import _cache
from dilax.data._dataset import DataError, Dataset, Split

WORTHWHILE = 10.0
"""Pictures that are decoded in fewer seconds are not cached."""

Splits = Mapping[str, Split]


def decoded(
    root: Path,
    files: Mapping[str, Sequence[Path]],
    settings: str,
    decode: Callable[[], Splits],
    *,
    cache_dir: str | os.PathLike[str] | None,
) -> Splits:
    """Decode pictures, or take them from the cache if no file has changed since.

    The cache has one file for a folder and its settings. It is replaced once the size, the time of
    change or the name of any picture is another.

    Args:
        root: The folder.
        files: The pictures of each split, in order.
        settings: All else that the arrays depend on.
        decode: Decodes the pictures.
        cache_dir: Where arrays are cached.
    """
    place = _digest([os.fspath(root.resolve()), settings])
    path = _cache.path_of(f"pictures-{place}", cache_dir=cache_dir)
    name = _digest([place, {split: _states(root, paths) for split, paths in files.items()}])
    if path.exists():
        try:
            return _cache.read(path, name=name).splits
        except DataError:  # of other files, or damaged
            pass
    started = time.perf_counter()
    splits = decode()
    if time.perf_counter() - started > WORTHWHILE:
        _write(Dataset(name, splits, _numbers(splits), source=str(root)), path)
    return splits


def _states(root: Path, paths: Sequence[Path]) -> list[list[str | int]]:
    """Describe files by what changes when they do; nobody can set the time of change."""
    states: list[list[str | int]] = []
    for path in paths:
        found = path.stat()
        relative = os.fspath(path.relative_to(root))
        states.append([relative, found.st_size, found.st_mtime_ns, found.st_ctime_ns])
    return states


def _numbers(splits: Splits) -> tuple[str, ...]:
    classes = 1 + max(int(split.labels.max(initial=0)) for split in splits.values())
    return tuple(map(str, range(classes)))


def _write(data: Dataset, path: Path) -> None:
    try:
        _cache.write(data, path)
    except OSError as error:
        warnings.warn(f"decoded pictures could not be cached in {path}: {error}", stacklevel=2)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

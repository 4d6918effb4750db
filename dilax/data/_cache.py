"""The local cache: one ``.npz`` file a data set, with a checksum inside it."""

import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dilax.data._dataset import DataError, Dataset, make_split
from dilax.data._files import atomic_write
from dilax.data._npz import read_arrays

_FORMAT = 1


def default_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Where data sets are kept: ``$DILAX_CACHE``, else ``dilax`` in the user's cache folder.

    >>> default_dir({"DILAX_CACHE": "somewhere"}).as_posix()
    'somewhere'
    """
    if environment.get("DILAX_CACHE"):
        return Path(environment["DILAX_CACHE"]).expanduser()
    if sys.platform == "win32":
        parent = Path(environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        parent = Path.home() / "Library" / "Caches"
    else:
        parent = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return parent / "dilax"


def path_of(name: str, *, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The file that holds, or would hold, the data set ``name``.

    >>> path_of("emnist/letters", cache_dir="caches").as_posix()
    'caches/emnist-letters.npz'
    """
    folder = default_dir() if cache_dir is None else Path(cache_dir).expanduser()
    return folder / (re.sub(r"[^\w.-]", "-", name) + ".npz")


def write(data: Dataset, path: Path) -> None:
    """Writes ``data`` to ``path``, whole or not at all.

    The file holds ``<split>_images`` and ``<split>_labels`` for each split, ``metadata`` (JSON:
    name, splits, class names, source) and ``sha256`` over all of it.
    """
    metadata = json.dumps(
        {
            "format": _FORMAT,
            "name": data.name,
            "splits": list(data.splits),
            "class_names": data.class_names,
            "source": data.source,
        }
    )
    arrays: dict[str, Any] = {}
    for split_name, split in data.splits.items():
        arrays[f"{split_name}_images"] = split.images
        arrays[f"{split_name}_labels"] = split.labels
    arrays["metadata"] = np.array(metadata)
    arrays["sha256"] = np.array(_checksum(metadata, data.fingerprint))
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def read(path: Path, *, name: str | None = None) -> Dataset:
    """The data set in the cache file ``path``, which must be ``name`` where that is given.

    Raises:
      FileNotFoundError: when there is no such file.
      DataError: when the file is cut short, altered, not a cache file or one of another set; the
        message names the file, what was found and the remedy.
    """
    try:
        return _from_arrays(read_arrays(path, path.name), name)
    except (DataError, KeyError, json.JSONDecodeError, TypeError) as error:
        raise DataError(
            f"the cached data set {path} is damaged and was not used: {error} Replace it by: "
            f"python -m dilax.data fetch {name or path.stem} (or delete it)."
        ) from error


def is_cache_file(path: Path) -> bool:
    """Whether ``path`` is an ``.npz`` file that :func:`write` made."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "sha256.npy" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _from_arrays(arrays: dict[str, np.ndarray], name: str | None) -> Dataset:
    metadata = json.loads(str(arrays["metadata"]))
    if metadata["format"] != _FORMAT:
        raise DataError(f"its format must be {_FORMAT}, got {metadata['format']}.")
    if name not in (None, metadata["name"]):
        raise DataError(f"it must hold {name!r}, got {metadata['name']!r}.")
    splits = {
        split: make_split(arrays[f"{split}_images"], arrays[f"{split}_labels"])
        for split in metadata["splits"]
    }
    data = Dataset(metadata["name"], splits, metadata["class_names"], source=metadata["source"])
    found = _checksum(str(arrays["metadata"]), data.fingerprint)
    if found != str(arrays["sha256"]):
        raise DataError(f"its SHA-256 must be {arrays['sha256']}, got {found}.")
    return data


def _checksum(metadata: str, fingerprint: str) -> str:
    return hashlib.sha256(f"{metadata}\n{fingerprint}".encode()).hexdigest()

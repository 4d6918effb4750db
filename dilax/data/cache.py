"""The local cache: one ``.npz`` file a data set, with a checksum inside it."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dilax.data.dataset import DataError, Dataset, make_split
from dilax.data.files import atomic_write
from dilax.data.npz import read_arrays

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


def path_of(name: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The file that holds, or would hold, the data set ``name``.

    >>> path_of("emnist/letters", "caches").as_posix()
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
    arrays = {}
    for split_name, split in data.splits.items():
        arrays[f"{split_name}_images"] = split.images
        arrays[f"{split_name}_labels"] = split.labels
    arrays["metadata"] = np.array(metadata)
    arrays["sha256"] = np.array(_checksum(metadata, data.fingerprint))
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def read(path: Path) -> Dataset:
    """The data set in the cache file ``path``.

    Raises:
      FileNotFoundError: when there is no such file.
      DataError: when the file is cut short, altered or not a cache file; the message names the
        file, what was found and the remedy.
    """
    try:
        arrays = read_arrays(path, path.name)
        return _from_arrays(arrays, path)
    except (DataError, KeyError, json.JSONDecodeError, TypeError) as error:
        raise DataError(
            f"the cached data set {path} is damaged and was not used: {error} Delete the file; the "
            f"set is then built anew, by load or by: python -m dilax.data fetch {path.stem}"
        ) from error


def _from_arrays(arrays: dict[str, np.ndarray], path: Path) -> Dataset:
    metadata = json.loads(str(arrays["metadata"]))
    if metadata["format"] != _FORMAT:
        raise DataError(f"its format must be {_FORMAT}, got {metadata['format']}.")
    splits = {
        name: make_split(arrays[f"{name}_images"], arrays[f"{name}_labels"])
        for name in metadata["splits"]
    }
    data = Dataset(
        metadata["name"], splits, tuple(metadata["class_names"]), source=metadata["source"]
    )
    found = _checksum(str(arrays["metadata"]), data.fingerprint)
    if found != str(arrays["sha256"]):
        raise DataError(f"its SHA-256 must be {arrays['sha256']}, got {found}.")
    return data


def _checksum(metadata: str, fingerprint: str) -> str:
    return hashlib.sha256(f"{metadata}\n{fingerprint}".encode()).hexdigest()

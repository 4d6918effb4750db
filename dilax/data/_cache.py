"""The local cache: one ``.npz`` file for each data set, with a checksum inside it."""

import hashlib
import json
import os
import re
import secrets
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from dilax.data._dataset import DataError, Dataset, make_split
from dilax.data._npz import read_arrays

_FORMAT = 1


def default_dir() -> Path:
    """Find the cache folder: ``$DILAX_CACHE``, else ``dilax`` in the user's cache folder."""
    chosen = os.environ.get("DILAX_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("dilax", appauthor=False)


def path_of(name: str, *, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Name the file that holds, or would hold, the data set ``name``.

    >>> path_of("emnist/letters", cache_dir="caches").as_posix()
    'caches/emnist-letters.npz'
    """
    folder = default_dir() if cache_dir is None else Path(cache_dir).expanduser()
    return folder / (re.sub(r"[^\w.-]", "-", name) + ".npz")


def write(data: Dataset, path: Path) -> None:
    """Write ``data`` to ``path``, whole or not at all.

    The file holds ``<split>_images`` and ``<split>_labels`` for each split, ``metadata`` (JSON:
    name, splits, class names, source) and ``sha256`` over all of them. It is written under another
    name beside ``path`` and renamed once its bytes are on the disk; if anything is raised on the
    way, ``KeyboardInterrupt`` included, ``path`` is left as it was.
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
    # The checksum comes first: a damaged entry of a zip's directory may hide those that follow it.
    arrays: dict[str, Any] = {"sha256": np.array(_checksum(metadata, data.fingerprint))}
    arrays["metadata"] = np.array(metadata)
    for split_name, split in data.splits.items():
        arrays[f"{split_name}_images"] = split.images
        arrays[f"{split_name}_labels"] = split.labels
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path, *, name: str | None = None) -> Dataset:
    """Read the cache file ``path``; check that it is whole, and of the set ``name`` if given."""
    try:
        return _from_arrays(read_arrays(path, path.name), name)
    except (DataError, KeyError, json.JSONDecodeError, TypeError) as error:
        raise DataError(
            f"the cached data set {path} is damaged and was not used: {error} Replace it by: "
            f"python -m dilax.data fetch {name or path.stem} (or delete it)."
        ) from error


def is_cache_file(path: Path) -> bool:
    """Return whether ``path`` is an ``.npz`` file that :func:`write` made."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "sha256.npy" in archive.namelist()
    except Exception:  # a damaged file, of which its reader then says more
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

"""Sets that fetch_data.py keeps as folders in the cache: where they are, and checks of them."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from dilax import data
from dilax.data import _cache


def folder_of(name: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in the cache that holds, or would hold, a set."""
    return _cache.path_of(name, cache_dir=cache_dir).with_suffix("")


def check(content: bytes, sha256: str | Collection[str], name: str) -> None:
    """Refuse content that is not the published one, or one of several.

    Raises:
        DataError: It has another SHA-256.
    """
    found = hashlib.sha256(content).hexdigest()
    published = [sha256] if isinstance(sha256, str) else list(sha256)
    if found not in published:
        wanted = " or ".join(published)
        raise data.DataError(f"the SHA-256 of {name} must be {wanted}, got {found}; try again.")


def require(name: str, *files: Path, within: str = "") -> None:
    """Refuse a set that is not in the cache.

    Args:
        name: The set, as ``--dataset`` names it.
        *files: Its files.
        within: What it is fetched with, if that has another name.

    Raises:
        DataError: A file is missing; the message says how to fetch the set.
    """
    if not all(file.is_file() for file in files):
        raise data.DataError(
            f"--dataset {name} must be in the cache, got none in {files[0].parent}; fetch it by: "
            f"{command(within or name)}"
        )


def command(name: str) -> str:
    """Return the command that fetches a set."""
    return f"python experiments/fetch_data.py {name}"

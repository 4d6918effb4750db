"""The picture and sound files that paths lead to."""

from collections.abc import Iterable, Set
from pathlib import Path

from dilax.data import _sound_files
from dilax.data._dataset import DataError
from dilax.data._pictures import SUFFIXES


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture by its name; ``._rose.jpg`` is of a file manager."""
    return _is_one(path, SUFFIXES)


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """List the files among ``paths``, and the pictures in folders and their folders, in order.

    Raises:
        FileNotFoundError: A path leads nowhere.
        DataError: A folder holds no picture.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "rose.png").touch()
    >>> (folder / "notes.txt").touch()
    >>> [path.name for path in find_pictures([folder])]
    ['rose.png']
    """
    return [picture for path in paths for picture in _below(path, SUFFIXES, "picture")]


def find_sounds(paths: Iterable[Path]) -> list[Path]:
    """List the files among ``paths``, and the sounds in folders and their folders, in order.

    Raises:
        FileNotFoundError: A path leads nowhere.
        DataError: A folder holds no sound.
    """
    return [sound for path in paths for sound in _below(path, {_sound_files.SUFFIX}, "sound")]


def _is_one(path: Path, suffixes: Set[str]) -> bool:
    return path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()


def _is_hidden(name: str) -> bool:
    """Return whether a folder or a file is kept by a system or a file manager for itself."""
    return name.startswith((".", "__MACOSX"))


def _below(path: Path, suffixes: Set[str], what: str) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a {what}, or a folder of {what}s.")
    if not path.is_dir():
        return [path]
    found = [
        file
        for file in sorted(path.rglob("*"))
        if _is_one(file, suffixes) and not any(map(_is_hidden, file.relative_to(path).parts))
    ]
    if not found:
        named = ", ".join(sorted(suffixes))
        raise DataError(f"{path} must hold {what}s ({named}), got none.")
    return found

"""The picture files that paths lead to."""

from collections.abc import Iterable
from pathlib import Path

from dilax.data._dataset import DataError
from dilax.data._pictures import SUFFIXES


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture by its name; ``._rose.jpg`` is of a file manager."""
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


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
    return [picture for path in paths for picture in _below(path)]


def _is_hidden(name: str) -> bool:
    """Return whether a folder or a file is kept by a system or a file manager for itself."""
    return name.startswith((".", "__MACOSX"))


def _below(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a picture, or a folder of pictures.")
    if not path.is_dir():
        return [path]
    found = [
        file
        for file in sorted(path.rglob("*"))
        if is_picture(file) and not any(map(_is_hidden, file.relative_to(path).parts))
    ]
    if not found:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{path} must hold pictures ({suffixes}), got none.")
    return found

"""The picture and sound files that paths lead to."""

from collections.abc import Callable, Iterable, Set
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
    return [picture for path in paths for picture in below(path, is_picture, "picture", SUFFIXES)]


def find_sounds(paths: Iterable[Path]) -> list[Path]:
    """List the files among ``paths``, and the sounds in folders and their folders, in order.

    Raises:
        FileNotFoundError: A path leads nowhere.
        DataError: A folder holds no sound.
    """
    suffixes = {_sound_files.SUFFIX}
    return [
        sound
        for path in paths
        for sound in below(path, lambda file: _is_one(file, suffixes), "sound", suffixes)
    ]


def _is_one(path: Path, suffixes: Set[str]) -> bool:
    return path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()


def _is_hidden(name: str) -> bool:
    """Return whether a folder or a file is kept by a system or a file manager for itself."""
    return name.startswith((".", "__MACOSX"))


def below(
    path: Path, is_wanted: Callable[[Path], bool], what: str, suffixes: Iterable[str]
) -> list[Path]:
    """List ``path`` itself if it is a file, or what is wanted in a folder and its folders.

    Args:
        path: The file or folder.
        is_wanted: Says it of each path.
        what: Its name, in messages.
        suffixes: Those of its files, in messages.

    Raises:
        FileNotFoundError: The path leads nowhere.
        DataError: The folder holds nothing that is wanted.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a {what}, or a folder of {what}s.")
    if not path.is_dir():
        return [path]
    found = [
        file
        for file in (path, *sorted(path.rglob("*")))
        if is_wanted(file) and not any(map(_is_hidden, file.relative_to(path).parts))
    ]
    if not found:
        raise DataError(f"{path} must hold {what}s ({', '.join(sorted(suffixes))}), got none.")
    return found

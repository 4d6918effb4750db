"""Data sets by path: looks at what is there and chooses the reader."""

from pathlib import Path

from dilax.data import _cache, _cifar_archives, _idx, _npz, _tfds
from dilax.data._dataset import DataError, Dataset

_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_FORMS = (
    "an .npz file, a folder of four IDX files, a CIFAR archive (.tar.gz) or its folder, or the "
    "folder of a prepared TFDS set"
)


def read(path: Path) -> Dataset:
    """The data set at ``path``: an ``.npz`` file, IDX files, a CIFAR archive, or a TFDS folder.

    Raises:
      FileNotFoundError: when nothing is there.
      DataError: when it is none of these, or damaged.
    """
    path = path.expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; a path must lead to {_FORMS}.")
    return _read_folder(path) if path.is_dir() else _read_file(path)


def _read_folder(path: Path) -> Dataset:
    if _idx.is_folder(path):
        return _idx.read_folder(path)
    if _cifar_archives.is_folder(path):
        return _cifar_archives.read(path)
    if _tfds.is_directory(path):
        return _tfds.read_directory(path)
    names = sorted(file.name for file in path.iterdir())
    raise DataError(f"{path} must be {_FORMS}; it holds {names[:8] or 'nothing'}.")


def _read_file(path: Path) -> Dataset:
    if path.suffix == ".npz":
        return _cache.read(path) if _cache.is_cache_file(path) else _npz.read_dataset(path)
    if path.name.endswith(_ARCHIVES):
        return _cifar_archives.read(path)
    if "-ubyte" in path.name:
        raise DataError(f"{path} is one IDX file of four; give the folder {path.parent}.")
    raise DataError(f"{path} must be {_FORMS}.")

"""Loading by name or path: which sources are asked, and in which order."""

import difflib
import logging
import os
import warnings
from pathlib import Path

from dilax._checks import check_instance, shown
from dilax.data import _cache, _cifar, _idx, _npz, _picture_folders, _tfds
from dilax.data._dataset import DataError, Dataset
from dilax.data._names import KNOWN_SETS, check_known
from dilax.data._pictures import PictureOptions
from dilax.data._procedural import shapes

_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_FORMS = (
    "an .npz file, a folder of pictures (train/CLASS/*.jpg and test/CLASS/*.jpg, or CLASS/*.jpg), "
    "a folder of four IDX files, a CIFAR archive (.tar.gz) or its folder, or the folder of a "
    "prepared TFDS set"
)
_SCRIPTED = ("cifar10",)  # what ``experiments/fetch_data.py`` gets into the cache
_AS_THEY_ARE = PictureOptions()
_LOGGER = logging.getLogger(__name__)


def load(
    name: str | os.PathLike[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    pictures: PictureOptions = _AS_THEY_ARE,
) -> Dataset:
    """Load a data set as NumPy arrays: uint8 images ``(N, H, W, C)`` and int32 labels ``(N,)``.

    The sources are asked in this order; the first that has the set gives it:

    1. a path: an ``.npz`` file, a folder of pictures, a folder of IDX files, a CIFAR archive, a
       prepared TFDS folder;
    2. ``"shapes"``, which is drawn (:func:`dilax.data.shapes` takes counts and a seed);
    3. the cache;
    4. what is installed: MNIST in this package, Fashion-MNIST in Debian's
       ``dataset-fashion-mnist``;
    5. TFDS, which downloads and prepares the set, showing its progress, if it is not prepared; the
       arrays are then cached.

    Args:
        name: A name (``python -m dilax.data list``, or any image-classification set of TFDS), or a
            path, which begins with ``/``, ``.`` or ``~``, or ends in ``.npz``, ``.tar.gz`` or
            ``.tgz``.
        cache_dir: Where arrays are cached; by default ``$DILAX_CACHE``, else the user's cache
            folder.
        data_dir: Where TFDS keeps prepared sets; by default TFDS decides.
        pictures: How a folder of pictures becomes arrays. Its classes are folders,
            ``train/CLASS/*.jpg`` and ``test/CLASS/*.jpg``, optionally ``validation/CLASS/*.jpg``;
            or it has only ``CLASS/*.jpg``, of which a share is held out as the test split.

    Returns:
        The data set, whole in memory.

    Raises:
        TypeError: ``name`` is neither a name nor a path, or ``pictures`` not options.
        FileNotFoundError: ``name`` is a path that leads nowhere.
        DataError: The name is unknown (the message gives the nearest known ones), the set
            cannot be got (it gives the ways forward), or its files are damaged (it names them).

    >>> data = load("mnist")
    >>> data.splits["test"].images.shape, data.splits["test"].labels.dtype
    ((10000, 28, 28, 1), dtype('int32'))
    """
    return _load(name, cache_dir, data_dir, pictures, replace_damaged=False)


def fetch(
    name: str | os.PathLike[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    pictures: PictureOptions = _AS_THEY_ARE,
) -> Dataset:
    """Load a data set as :func:`load` does, but replace a damaged file in the cache.

    Args:
        name: As for :func:`load`.
        cache_dir: As for :func:`load`.
        data_dir: As for :func:`load`.
        pictures: As for :func:`load`.

    Returns:
        The data set, whole in memory.

    Raises:
        TypeError: ``name`` is neither a name nor a path, or ``pictures`` not options.
        FileNotFoundError: ``name`` is a path that leads nowhere.
        DataError: The set cannot be got.

    >>> fetch("mnist").image_shape
    (28, 28, 1)
    """
    return _load(name, cache_dir, data_dir, pictures, replace_damaged=True)


def _load(
    name: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str] | None,
    pictures: PictureOptions,
    *,
    replace_damaged: bool,
) -> Dataset:
    if not isinstance(name, str | os.PathLike) or not str(name) or "\0" in str(name):
        raise TypeError(f"name must be that of a data set, or a path, got {shown(name)}.")
    check_instance(pictures, PictureOptions, "pictures")
    if _is_path(name):
        return _read_path(Path(name).expanduser(), pictures, cache_dir)
    name = str(name)
    if name == "shapes":
        return shapes()
    cached = _cache.path_of(name, cache_dir=cache_dir)
    if cached.exists():
        try:
            return check_known(_cache.read(cached, name=name))
        except DataError as error:
            if not replace_damaged:
                raise
            _LOGGER.warning("%s It is now replaced.", error)
    return _read_installed(name) if is_installed(name) else _prepare(name, data_dir, cached)


def _is_path(name: str | os.PathLike[str]) -> bool:
    """Return whether ``name`` is a path; ``emnist/letters`` is one only if the file exists."""
    if isinstance(name, os.PathLike) or name.startswith((".", "~")) or Path(name).is_absolute():
        return True
    separated = "/" in name or os.sep in name
    return name.endswith((".npz", *_ARCHIVES)) or (separated and Path(name).exists())


def _read_path(
    path: Path,
    pictures: PictureOptions = _AS_THEY_ARE,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; a path must lead to {_FORMS}.")
    if path.is_dir():
        return _read_folder(path, pictures, cache_dir)
    if path.suffix == ".npz":
        return _cache.read(path) if _cache.is_cache_file(path) else _npz.read_dataset(path)
    if path.name.endswith(_ARCHIVES):
        return _cifar.read(path)
    if "-ubyte" in path.name:
        raise DataError(f"{path} is one IDX file of four; give the folder {path.parent}.")
    raise DataError(f"{path} must be {_FORMS}.")


def _read_folder(
    path: Path, pictures: PictureOptions, cache_dir: str | os.PathLike[str] | None
) -> Dataset:
    if _idx.is_folder(path):
        return _idx.read_folder(path)
    if _cifar.is_folder(path):
        return _cifar.read(path)
    if _tfds.is_directory(path):
        return _tfds.read_directory(path)
    if _picture_folders.is_folder(path):
        return _picture_folders.read_folder(path, pictures, cache_dir=cache_dir)
    names = sorted(file.name for file in path.iterdir())
    raise DataError(f"{path} must be {_FORMS}, got a folder of {names[:8] or 'nothing'}.")


def is_installed(name: str) -> bool:
    """Return whether this package, or one of the operating system, holds the set ``name``."""
    known = KNOWN_SETS.get(name)
    path = None if known is None else known.installed
    return path is not None and (_in_this_package(path) or path.exists())


def _in_this_package(path: Path) -> bool:
    return path.parent == Path(__file__).parent


def _read_installed(name: str) -> Dataset:
    """Read a set that is installed; MNIST's licence and origin are in ``mnist.LICENSE.txt``."""
    known = KNOWN_SETS[name]
    path = known.installed
    assert path is not None
    if not path.exists():
        raise FileNotFoundError(f"{path}, a part of dilax, is missing; install dilax again.")
    source = f"dilax.data, {path.name}" if _in_this_package(path) else str(path)
    splits = _read_path(path).splits
    return check_known(Dataset(name, splits, known.class_names, source), file_order=True)


def _prepare(name: str, data_dir: str | os.PathLike[str] | None, cached: Path) -> Dataset:
    """Get a set from TFDS and cache it."""
    try:
        data = _tfds.load(name, data_dir=None if data_dir is None else Path(data_dir))
        check_known(data)
    except _tfds.UnknownNameError:
        raise DataError(_unknown(name)) from None
    except DataError as error:
        raise DataError(_not_here(name, error)) from error
    try:
        _cache.write(data, cached)
    except OSError as error:
        warnings.warn(f"{name} could not be cached in {cached}: {error}", stacklevel=4)
    return data


def _not_here(name: str, reason: DataError) -> str:
    ways = [
        "load the files by their path, load('/path/to/...')",
        f"fetch it on another machine (python -m dilax.data fetch {name}) and bring "
        f"{_cache.path_of(name).name} from its cache, or its prepared TFDS folder, and load that "
        f"by its path",
    ]
    if name in _SCRIPTED:
        ways.insert(0, f"python experiments/fetch_data.py {name}, which asks another host")
    listed = "; ".join(f"({number}) {way}" for number, way in enumerate(ways, start=1))
    return f"{name!r} is not on this machine and could not be got: {reason} Ways forward: {listed}."


def _unknown(name: str) -> str:
    known = [*KNOWN_SETS, "shapes"]
    near = difflib.get_close_matches(name, known, n=3)
    near += [other for other in difflib.get_close_matches(name, _tfds.names()) if other not in near]
    suggestion = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    here = f", as './{name}' does" if Path(name).exists() else ""
    return (
        f"there is no data set {name!r}.{suggestion} Known are {', '.join(known)} and the "
        f"image-classification sets of TFDS; a path begins with '/', './' or '~'{here}."
    )

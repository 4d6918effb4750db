"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: until it is complete, the previous content stays.

    Raises:
        OSError: The file cannot be written; the message names it.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        reason = f"{path} cannot be written: {error.strerror}; its previous content is unchanged"
        raise OSError(error.errno, reason) from error

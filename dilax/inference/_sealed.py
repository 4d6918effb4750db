"""Files of StableHLO: a program as ``jax.export`` writes it, options, and a checksum of both."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGEST = 4 * 2**30
"""Most bytes of a file that is read into memory."""
OPTIONS, MARK = b"dilax-options:", b"dilax-sha256:"
"""What stands before the options, and before the checksum at the end of a file."""


class ExportError(ValueError):
    """A function cannot be exported, or a file is damaged; the message says what to do."""


def seal(program: bytes, options: Mapping[str, Any]) -> bytes:
    """Append options, and the checksum of everything before it, to a program."""
    content = program + OPTIONS + json.dumps(options, sort_keys=True).encode()
    return content + MARK + hashlib.sha256(content).digest()


def unseal(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, Any]]:
    """Read a program and its options.

    Raises:
        FileNotFoundError: There is no such file.
        ExportError: The file is too large, damaged, or not one that ``seal`` made.
    """
    if (size := Path(path).stat().st_size) > LARGEST:
        raise ExportError(f"{path} must have at most {LARGEST} bytes, got {size}.")
    content, mark, digest = Path(path).read_bytes().rpartition(MARK)
    program, between, options = content.rpartition(OPTIONS)
    if not (mark and between) or hashlib.sha256(content).digest() != digest:
        raise ExportError(
            f"{path} is damaged, or no .stablehlo file of dilax.inference; get it again."
        )
    return program, json.loads(options)


def reason(error: Exception) -> str:
    """Return the first line of an error."""
    return f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"

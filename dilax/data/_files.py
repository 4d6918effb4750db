"""Files written whole or not at all, and read without trusting the sizes they declare."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import IO

from dilax.data._dataset import DataError

MAX_BYTES = 4 * 2**30
"""No array and no archive member larger than this (4 GiB) is unpacked into memory."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside ``path`` that takes its place when the block ends well.

    The bytes are on the disk before the rename. When the block raises, ``KeyboardInterrupt``
    included, the temporary file is removed and ``path`` is as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "numbers.bin") as file:
    ...         count = file.write(b"123")
    ...     [found.name for found in Path(folder).iterdir()]
    ['numbers.bin']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_exactly(file: BufferedIOBase, count: int, where: str) -> bytes:
    """The next ``count`` bytes of ``file``, which must then have no more.

    Raises:
      DataError: when ``count`` is above ``MAX_BYTES``, or fewer or more bytes are there.
    """
    check_size(count, where)
    data = file.read(count)
    if len(data) < count:
        raise DataError(
            f"{where} is cut short: its header declares {count} bytes, {len(data)} are there. "
            f"Get the file again."
        )
    if file.read(1):
        raise DataError(
            f"{where} is longer than the {count} bytes its header declares; it is damaged or of "
            f"another format. Get the file again."
        )
    return data


def check_size(count: int, where: str) -> None:
    """Refuses to unpack more than ``MAX_BYTES``.

    Raises:
      DataError: when ``count`` is larger.
    """
    if count > MAX_BYTES:
        raise DataError(
            f"{where} declares {count} bytes, more than the {MAX_BYTES} that are read into memory; "
            f"it is damaged, or too large a set for arrays in memory."
        )

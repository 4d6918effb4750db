"""TFRecord files, TFDS's default format, read without TensorFlow.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord ("TFRecords format details"): for
each record its length (uint64, little-endian), the masked CRC-32C of the length, the bytes, and
theirs.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from dilax.data._dataset import DataError

_MASK_DELTA = 0xA282EAD8


def _crc_table() -> tuple[int, ...]:
    """CRC-32C (Castagnoli) of each byte, by the reflected polynomial 0x82F63B78."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """The masked CRC-32C of ``data``, as TFRecord stores it.

    >>> hex(masked_crc(b"123456789"))
    '0xc78ab0e5'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes]:
    """The records of one file, in order.

    The checksum of each length is verified, so a length is never trusted; that of the bytes is
    not, which in Python would take longer than decoding them (PNG has its own).

    Raises:
      DataError: when the file is cut short or is not a TFRecord file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        while header := file.read(12):
            length = _length(header, path)
            if file.tell() + length + 4 > size:
                raise DataError(
                    f"{path} is cut short: a record of {length} bytes begins at byte "
                    f"{file.tell()} of {size}. Prepare the data set again."
                )
            yield file.read(length)
            file.seek(4, 1)


def _length(header: bytes, path: Path) -> int:
    if len(header) == 12:
        length, crc = struct.unpack("<QI", header)
        if crc == masked_crc(header[:8]):
            return length
    raise DataError(
        f"{path} is not a whole TFRecord file: the length of a record does not agree with its "
        f"checksum. Prepare the data set again."
    )

"""The checksum of TFRecord, against its published values."""

from pathlib import Path

import pytest

from dilax.data import DataError
from dilax.data._tfrecord import masked_crc, read_records


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),  # the check value of CRC-32C
        (bytes(32), 0x8A9136AA),  # RFC 3720, appendix B.4
        (bytes([0xFF] * 32), 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_crc32c(data: bytes, crc: int) -> None:
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    assert masked_crc(data) == (rotated + 0xA282EAD8) % 2**32


def test_no_tfrecord_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a line of text, longer than a header")
    with pytest.raises(DataError, match="is not a whole TFRecord file"):
        list(read_records(tmp_path / "a"))


def test_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert list(read_records(tmp_path / "a")) == []

"""IDX files, plain and gzipped."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from dilax.data import DataError, _idx, load
from tests.data import files


@pytest.mark.parametrize("compressed", [False, True])
def test_folder(tmp_path: Path, compressed: bool) -> None:
    written = files.write_idx(tmp_path, compressed=compressed)
    data = load(tmp_path)
    for split, (images, labels) in written.items():
        assert np.array_equal(data.splits[split].images, images[..., None])
        assert data.splits[split].labels.tolist() == labels.tolist()
    assert data.class_names == tuple("0123456789")


IMAGES, LABELS = files.IDX_NAMES["train"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (LABELS, lambda old: files.idx_bytes(np.arange(5)), "12 images and 5 labels"),
        (IMAGES, lambda old: old[:-1], f"{IMAGES} must have"),
        (IMAGES, lambda old: old[:20], f"{IMAGES} must have"),
        (IMAGES, lambda old: old[:6], f"{IMAGES} is cut short"),
        (IMAGES, lambda old: b"<html>503</html>", r"must begin with the IDX .* got 3c 68 74 6d"),
    ],
)
def test_wrong_file(tmp_path: Path, name: str, change, message: str) -> None:
    files.write_idx(tmp_path)
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    with pytest.raises(DataError, match=message):
        load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} .* is missing"):
        load(tmp_path)


def test_damaged_gzip(tmp_path: Path) -> None:
    files.write_idx(tmp_path, compressed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    altered = content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]
    for damaged in (content[:-100], altered):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is not a whole gzip"):
            load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (files.idx_bytes(np.arange(3)) + b"\0", "it must have 3 bytes, got more"),
        (files.idx_bytes(np.arange(3))[:-1], "it must have 3 bytes, got only 2"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"x", "the IDX header .* got 00 00 08 ff"),
    ],
)
def test_sizes_must_be_those_declared(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _idx.read(io.BytesIO(content), "it")


def test_bomb_is_not_unpacked() -> None:
    """A kilobyte that unpacks to a megabyte, declared as terabytes."""
    declared = b"\0\0\x08\x03" + b"\x7f\xff\xff\xff" * 3
    bomb = io.BytesIO(gzip.compress(declared + bytes(2**20)))
    with (
        gzip.open(bomb) as file,
        pytest.raises(DataError, match="it must be at most 4294967296 bytes"),
    ):
        _idx.read(file, "it")

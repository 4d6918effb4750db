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


def test_missing_file(tmp_path: Path) -> None:
    files.write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte .* is missing"):
        load(tmp_path)


def test_images_and_labels_must_belong_together(tmp_path: Path) -> None:
    files.write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(files.idx_bytes(np.arange(5)))
    with pytest.raises(DataError, match="12 images and 5 labels"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [-1, 20, 6])
def test_truncated(tmp_path: Path, keep: int) -> None:
    files.write_idx(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="train-images-idx3-ubyte is cut short"):
        load(tmp_path)


def test_truncated_gzip(tmp_path: Path) -> None:
    files.write_idx(tmp_path, compressed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is not a whole gzip file"):
        load(tmp_path)


def test_altered_gzip(tmp_path: Path) -> None:
    files.write_idx(tmp_path, compressed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a whole gzip file: CRC"):
        load(tmp_path)


def test_page_of_html_in_place_of_a_file(tmp_path: Path) -> None:
    files.write_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"<html>503</html>")
    with pytest.raises(DataError, match=r"must begin with the IDX header .* got 3c 68 74 6d"):
        load(tmp_path)


@pytest.mark.parametrize("extra", [b"\0", bytes(1000)])
def test_longer_than_declared(extra: bytes) -> None:
    content = files.idx_bytes(np.arange(3)) + extra
    with pytest.raises(DataError, match="longer than the 3 bytes"):
        _idx.read(io.BytesIO(content), "it")


def test_bomb_is_not_unpacked() -> None:
    """A kilobyte that unpacks to a megabyte, declared as terabytes."""
    declared = b"\0\0\x08\x03" + b"\x7f\xff\xff\xff" * 3
    bomb = io.BytesIO(gzip.compress(declared + bytes(2**20)))
    with gzip.open(bomb) as file, pytest.raises(DataError, match="more than the 4294967296"):
        _idx.read(file, "it")


def test_single_file_points_to_its_folder(tmp_path: Path) -> None:
    files.write_idx(tmp_path)
    with pytest.raises(DataError, match="one IDX file of four; give the folder"):
        load(tmp_path / "train-images-idx3-ubyte")

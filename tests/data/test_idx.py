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
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte (must have|is cut short)"):
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


def test_page_of_html_in_place_of_a_file(tmp_path: Path) -> None:
    files.write_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"<html>503</html>")
    with pytest.raises(DataError, match=r"must begin with the IDX header .* got 3c 68 74 6d"):
        load(tmp_path)


def test_sizes_must_be_those_declared() -> None:
    content = files.idx_bytes(np.arange(3))
    for damaged, found in ((content + b"\0", "more"), (content[:-1], "only 2")):
        with pytest.raises(DataError, match=f"it must have 3 bytes, got {found}"):
            _idx.read(io.BytesIO(damaged), "it")


def test_dimensions_are_few() -> None:
    with pytest.raises(DataError, match=r"must begin with the IDX header .* got 00 00 08 ff"):
        _idx.read(io.BytesIO(b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"x"), "it")


def test_bomb_is_not_unpacked() -> None:
    """A kilobyte that unpacks to a megabyte, declared as terabytes."""
    declared = b"\0\0\x08\x03" + b"\x7f\xff\xff\xff" * 3
    bomb = io.BytesIO(gzip.compress(declared + bytes(2**20)))
    with (
        gzip.open(bomb) as file,
        pytest.raises(DataError, match="it must be at most 4294967296 bytes"),
    ):
        _idx.read(file, "it")


def test_single_file_points_to_its_folder(tmp_path: Path) -> None:
    files.write_idx(tmp_path)
    with pytest.raises(DataError, match="one IDX file of four; give the folder"):
        load(tmp_path / "train-images-idx3-ubyte")

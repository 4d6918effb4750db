"""Files are written whole or not at all."""

import io
from pathlib import Path

import pytest

from dilax.data import DataError
from dilax.data._files import MAX_BYTES, atomic_write, check_size, read_exactly


def test_a_write_takes_the_place_of_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "file"
    for content in (b"old", b"new"):
        with atomic_write(path) as file:
            file.write(content)
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError("no space left"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(failure)), atomic_write(path) as file:
        file.write(b"half of the n")
        raise failure
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_first_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "file"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_read_exactly() -> None:
    assert read_exactly(io.BytesIO(b"abc"), 3, "it") == b"abc"
    with pytest.raises(DataError, match="it is cut short: its header declares 4 bytes, 3 are"):
        read_exactly(io.BytesIO(b"abc"), 4, "it")
    with pytest.raises(DataError, match="it is longer than the 2 bytes"):
        read_exactly(io.BytesIO(b"abc"), 2, "it")


def test_sizes_are_bounded() -> None:
    check_size(MAX_BYTES, "it")
    with pytest.raises(DataError, match=f"it declares {MAX_BYTES + 1} bytes"):
        check_size(MAX_BYTES + 1, "it")

"""``.npz`` files: both layouts, and everything that is refused."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dilax.data import DataError, load
from dilax.data._npz import read_arrays
from tests.data import files

IMAGES, LABELS = files.arrays(6, (5, 4, 3))


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("save_with", [np.savez, np.savez_compressed])
def test_own_layout(tmp_path: Path, save_with) -> None:
    names = np.array(["one", "two", "three", "four", "five", "six"])
    save_with(tmp_path / "a.npz", train_images=IMAGES, train_labels=LABELS, class_names=names)
    data = load(tmp_path / "a.npz")
    assert np.array_equal(data.splits["train"].images, IMAGES)
    assert data.splits["train"].labels.tolist() == LABELS.tolist()
    assert data.class_names == tuple(names)
    assert (data.name, data.source) == ("a", str(tmp_path / "a.npz"))


def test_layout_of_keras(tmp_path: Path) -> None:
    grey = np.asfortranarray(IMAGES[..., 0])
    columns = LABELS[:, None]  # as in Keras' own data sets
    path = save(tmp_path / "a.npz", x_train=grey, y_train=columns, x_test=grey, y_test=LABELS)
    data = load(path)
    assert set(data.splits) == {"train", "test"}
    assert np.array_equal(data.splits["train"].labels, LABELS)
    assert np.array_equal(data.splits["test"].images, IMAGES[..., :1])
    assert data.class_names == ("0", "1", "2", "3", "4", "5")


def test_named_classes_need_not_all_occur(tmp_path: Path) -> None:
    names = np.array(list("abcdefg"))
    path = save(tmp_path / "a.npz", train_images=IMAGES, train_labels=LABELS + 1, class_names=names)
    assert load(path).class_names == tuple("abcdefg")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES}, r"must hold train_images and train_labels .* got the arrays"),
        ({"train_images": IMAGES}, "must have train_labels beside train_images"),
        (
            {"train_images": IMAGES / 255, "train_labels": LABELS},
            "train_images and train_labels: images must be uint8",
        ),
        ({"train_images": IMAGES[0, 0], "train_labels": LABELS}, r"images must be uint8 \(N, H"),
        ({"train_images": IMAGES, "train_labels": LABELS[:4]}, "6 images and 4 labels"),
        (
            {"train_images": IMAGES, "train_labels": LABELS + 1},
            "all labels from 0 to the largest, got 1 to 6 without 0; number the classes from 0",
        ),
        (
            {"train_images": IMAGES, "train_labels": np.array([0, 1, 3, 3, 4, 4])},
            "got 0 to 4 without 2; number the classes from 0, or add an array class_names",
        ),
        (
            {"train_images": IMAGES, "train_labels": LABELS, "class_names": np.array(["a"])},
            r"must lie in 0\.\.0",
        ),
    ],
)
def test_wrong_arrays(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(save(tmp_path / "a.npz", **arrays))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = save(tmp_path / "a.npz", train_images=np.array([Trap()], dtype=object))
    with pytest.raises(DataError, match=r"train_images.npy: Object arrays cannot be loaded"):
        load(path)
    assert not (tmp_path / "ran").exists()


def test_truncated_and_altered(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", train_images=IMAGES, train_labels=LABELS)
    content = bytearray(path.read_bytes())
    for keep in (0, 10, 400, -1):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match=r"is not a whole .npz file"):
            load(path)
    content[content.index(IMAGES.tobytes()[:16]) + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC-32"):
        load(path)


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def zipped(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("train_images.npy", content)
    return buffer


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_header("(1000000000, 28, 28)"), r"train_images.npy: "),
        (npy_header("(4000, 4000)"), r"train_images.npy: EOF"),
        (npy_header("(2, 2)") + bytes(5), "is longer than its header declares"),
        (npy_header("(-2, -2)") + bytes(4), "train_images.npy: "),
        (npy_header("(4294967296, 4294967296)"), "train_images.npy: "),
        (npy_header("(" * 50), "train_images.npy: "),
        (b"\x93NUMPY\x09\x00" + bytes(20), "train_images.npy: "),
        (b"no array at all", "train_images.npy: "),
    ],
)
def test_headers_are_not_believed(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_arrays(zipped(content), "it")


def test_size_is_checked_before_anything_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dilax.data._dataset.MAX_BYTES", 99_999)
    bomb = zipped(npy_header("(1000000,)") + bytes(1_000_000))
    assert len(bomb.getvalue()) < 2_000
    with pytest.raises(DataError, match=r"it must be at most 99999 bytes, .* got 10000\d\d"):
        read_arrays(bomb, "it")


def test_size_in_the_directory_is_not_believed() -> None:
    """The zip's directory and the array's header agree on a size that is not there."""
    content = bytearray(zipped(npy_header("(50000,)") + bytes(5)).getvalue())
    declared = (len(npy_header("(50000,)")) + 50_000).to_bytes(4, "little")
    start = content.index(b"PK\x01\x02")
    content[start + 24 : start + 28] = declared
    with pytest.raises(DataError, match=r"it is not a whole .npz file"):
        read_arrays(io.BytesIO(content), "it")

"""Small data sets in every format that ``dilax.data`` reads, written byte by byte."""

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from dilax.data import Dataset, make_split

IDX_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def arrays(
    count: int, shape: tuple[int, ...], *, classes: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Random uint8 images and int64 labels; every class occurs when there are enough."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
    return images, np.arange(count) % classes


def dataset(name: str = "toy", *, classes: int = 3) -> Dataset:
    splits = {
        "train": make_split(*arrays(7, (5, 4, 3), classes=classes)),
        "test": make_split(*arrays(4, (5, 4, 3), classes=classes, seed=1)),
    }
    return Dataset(name, splits, tuple("abcdefghij"[:classes]), source="drawn by a test")


def assert_same(data: Dataset, other: Dataset) -> None:
    assert data.fingerprint == other.fingerprint
    assert data.class_names == other.class_names


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(
    folder: Path,
    *,
    counts: Mapping[str, int] | None = None,
    side: int = 28,
    compressed: bool = False,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The four files of MNIST's layout; returns the arrays in them."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for seed, (split, count) in enumerate((counts or {"train": 12, "test": 6}).items()):
        written[split] = arrays(count, (side, side), seed=seed)
        for name, array in zip(IDX_NAMES[split], written[split], strict=True):
            content = idx_bytes(array)
            path = folder / (f"{name}.gz" if compressed else name)
            path.write_bytes(gzip.compress(content) if compressed else content)
    return written


def cifar_rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``(N, 3072)`` in planes, and labels."""
    return arrays(count, (3072,), seed=seed)


def cifar_batch_names(binary: bool) -> list[str]:
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    return [f"{name}.bin" if binary else name for name in names]


def cifar10_binary(count: int = 3) -> dict[str, bytes]:
    """Name to content of the six files of CIFAR-10's binary version, ``count`` images each."""
    files = {}
    for seed, name in enumerate(cifar_batch_names(binary=True)):
        pixels, labels = cifar_rows(count, seed)
        files[name] = np.column_stack([labels.astype(np.uint8), pixels]).tobytes()
    return files


class _Python2Pickler(pickle._Pickler):
    """Pickles text, bytes and arrays as Python 2 did."""

    def save_string(self, text: str | bytes) -> None:
        content = text.encode("latin-1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch = pickle._Pickler.dispatch | {str: save_string, bytes: save_string}


def python_2_pickle(content: object) -> bytes:
    """A pickle as Python 2 and an old NumPy wrote it."""
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core.", b"numpy.core.")


def cifar10_python(count: int = 3) -> dict[str, bytes]:
    """As :func:`cifar10_binary`, the same images, in the Python version."""
    files = {}
    for seed, name in enumerate(cifar_batch_names(binary=False)):
        pixels, labels = cifar_rows(count, seed)
        fields = {"batch_label": name, "data": pixels, "labels": labels.tolist()}
        files[name] = python_2_pickle(fields)
    return files


def write_tar(path: Path, files: Mapping[str, bytes], *, prefix: str = "cifar/") -> Path:
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_pictures(
    root: Path, counts: Mapping[str, int], *, side: int = 10, suffix: str = "png"
) -> Path:
    """Folders of noise of different sizes, brighter from class to class, and how many in each."""
    random = np.random.default_rng(0)
    for place, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            shape = (side + number % 3, side + 2, 3)
            noise = random.integers(60 * (place % 4), 60 * (place % 4) + 50, shape, dtype=np.uint8)
            Image.fromarray(noise).save(root / folder / f"{number}.{suffix}")
    return root

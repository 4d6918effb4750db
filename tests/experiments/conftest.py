import numpy as np
import pytest

from dilax import data


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A slice of MNIST, as a file of the user's own."""
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    arrays = {}
    for name, count in (("train", 512), ("test", 200)):
        split = data.load("mnist").splits[name]
        arrays |= {f"{name}_images": split.images[:count], f"{name}_labels": split.labels[:count]}
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def small_digits(tmp_path_factory):
    """A file of random images of 12x12 pixels: 64 to train on, 20 to test."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 64), ("test", 20)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 12, 12, 1), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 10
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, **arrays)
    return path

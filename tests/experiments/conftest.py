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

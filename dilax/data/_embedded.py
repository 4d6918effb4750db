"""The copy of MNIST inside the package; ``dilax.data._build_mnist`` made it.

Its licence and origin stand beside it in ``mnist.LICENSE.txt``.
"""

from importlib import resources

from dilax.data._dataset import Dataset, make_split
from dilax.data._names import KNOWN_SETS, check_known
from dilax.data._npz import read_arrays

FILE_NAME = "mnist.npz"


def load_mnist() -> Dataset:
    """MNIST from the package: 60,000 and 10,000 images ``(28, 28, 1)``, checked by SHA-256.

    Raises:
      DataError: when the file in the package is damaged.
    """
    with (resources.files("dilax.data") / FILE_NAME).open("rb") as file:
        arrays = read_arrays(file, f"{FILE_NAME} in the package dilax.data")
    splits = {
        name: make_split(arrays[f"{name}_images"], arrays[f"{name}_labels"])
        for name in ("train", "test")
    }
    known = KNOWN_SETS["mnist"]
    data = Dataset("mnist", splits, known.class_names, source=f"dilax.data, {FILE_NAME}")
    return check_known(data, file_order=True)

"""Reads the pickles of CIFAR's Python version without running anything they contain.

A pickle is a program: it names callables and calls them. The published batches name three, all of
NumPy's, to build one array. Here those three names stand for the inert classes below, which only
write down what they are given; every other name is an error. The array is then made from the bytes
that were written down, after its dtype and size have been checked.
"""

import io
import math
import pickle
from typing import Any

import numpy as np

from dilax.data.dataset import DataError

PIXELS = 32 * 32 * 3
"""Values of one image: red, green and blue planes of 32x32."""


class _Dtype:
    """Stands for ``numpy.dtype``: remembers its code, such as ``u1``."""

    def __init__(self, code: object, *_: object) -> None:
        self.code = code.decode("ascii", "replace") if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        """The byte order and such; means nothing for bytes."""


class _Array:
    """Stands for the array that NumPy would rebuild: remembers the state it is given."""

    state: Any = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    """Knows the three names of an array of bytes and no other."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise DataError(
                f"it asks for {module}.{name}, which no published CIFAR batch does; nothing was "
                f"run. Do not trust this file"
            )
        return _STAND_INS[module, name]


def read_batch(
    content: bytes, label_keys: tuple[str, ...], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of one pickled batch.

    Args:
      content: the pickle, of Python 2 or 3.
      label_keys: the lists of labels to read, such as ``("coarse_labels", "fine_labels")``.
      where: how messages name the file.

    Returns:
      pixels, uint8 ``(N, 3072)``, and labels, int64 ``(N, len(label_keys))``.

    Raises:
      DataError: when the pickle is damaged, asks for anything but one array of bytes, or lacks
        the data or the labels.
    """
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        fields = {_text(key): value for key, value in batch.items()}
        labels = [_labels(fields[key]) for key in label_keys]
        return _pixels(fields["data"]), np.stack(labels, axis=-1)
    except Exception as error:  # a hostile or damaged pickle may raise anything
        raise DataError(f"{where} is not a readable CIFAR batch: {error!r}.") from error


def _text(key: str | bytes) -> str:
    return key.decode("ascii") if isinstance(key, bytes) else key


def _pixels(found: _Array) -> np.ndarray:
    _, shape, dtype, fortran_order, content = found.state
    if dtype.code not in ("u1", "uint8") or shape[1:] != (PIXELS,):
        raise DataError(f"data must be uint8 (N, {PIXELS}), got {dtype.code} {shape}")
    if len(content) != math.prod(shape):
        raise DataError(f"data of shape {shape} must be {math.prod(shape)} bytes: {len(content)}")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


def _labels(found: list[int]) -> np.ndarray:
    if not isinstance(found, list) or not all(type(label) is int for label in found):
        raise DataError("labels must be a list of integers")
    return np.array(found, dtype=np.int64)

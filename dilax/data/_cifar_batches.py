"""The pickled batches of CIFAR's Python version, read as data.

A batch is a dictionary of one array of bytes, as NumPy pickles it, and of lists of labels. The
pickle is read by `dilax.data._inert_pickle`, which runs nothing; the array is made here from the
bytes that it holds, after its dtype and size have been checked.
"""

import io
import math
from typing import Any

import numpy as np

from dilax.data import _inert_pickle
from dilax.data._dataset import DataError
from dilax.data._inert_pickle import Call

PIXELS = 32 * 32 * 3
"""Values of one image: red, green and blue planes of 32x32."""

_ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_NAMES = (*_ARRAYS, "numpy.ndarray", "numpy.dtype")


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
        batch = _inert_pickle.read(io.BytesIO(content), _NAMES)
        labels = [_labels(batch[key]) for key in label_keys]
        return _pixels(batch["data"]), np.stack(labels, axis=-1)
    except Exception as error:  # a hostile or damaged pickle may raise anything
        raise DataError(f"{where} is not a readable CIFAR batch: {error!r}.") from error


def _pixels(found: Call) -> np.ndarray:
    if found.name not in _ARRAYS:
        raise DataError(f"data must be an array, got {found.name}")
    _, shape, dtype, fortran_order, content = found.state
    code = dtype.arguments[0]
    if code not in ("u1", "uint8") or shape[1:] != (PIXELS,):
        raise DataError(f"data must be uint8 (N, {PIXELS}), got {code} {shape}")
    if isinstance(content, str):  # so Python 2 pickles bytes
        content = content.encode("latin-1")
    if len(content) != math.prod(shape):
        raise DataError(f"data of shape {shape} must be {math.prod(shape)} bytes: {len(content)}")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


def _labels(found: Any) -> np.ndarray:
    if not isinstance(found, list) or not all(type(label) is int for label in found):
        raise DataError("labels must be a list of integers")
    return np.array(found, dtype=np.int64)

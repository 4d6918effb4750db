"""Trained parameters by name from a file, whichever of three formats it has."""

import os
from pathlib import Path

import numpy as np

from dilax._checks import shown
from dilax.data import _safetensors, _torch_files
from dilax.data._dataset import DataError
from dilax.data._files import check_size


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a ``.safetensors`` file, or of a ``.pth`` or ``.pt`` file of PyTorch.

    The format is seen from the first bytes. Nothing in the file is run, however it was made: its
    pickle is read as data. The arrays are laid out as PyTorch has them, a convolution's kernel as
    ``(out_features, in_features, *window)``; they may not be written to. bfloat16 becomes float32.

    Raises:
      TypeError: when ``path`` is none.
      FileNotFoundError: when there is no such file.
      DataError: when it is damaged, holds anything but arrays by name, declares other sizes than
        it has, or is larger than is read into memory.
    """
    if (
        isinstance(path, bytes)
        or not isinstance(path, str | os.PathLike)
        or not str(path).strip("\0")
    ):
        raise TypeError(f"path must be the path of a file, got {shown(path)}.")
    path = Path(path)
    check_size(path.stat().st_size, str(path))
    content = path.read_bytes()
    if content[8:9] == b"{":  # after a length of any eight bytes
        return _safetensors.read(content, str(path))
    if content.startswith(b"PK"):
        return _torch_files.read_zip(content, str(path))
    if content.startswith(b"\x80"):
        return _torch_files.read_legacy(content, str(path))
    raise DataError(
        f"{path} is no file of weights that is known: it must be in the .safetensors format, or "
        f"written by torch.save (since PyTorch 0.2)."
    )

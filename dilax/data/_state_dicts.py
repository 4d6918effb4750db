"""Trained parameters by name, from a ``.safetensors`` file or from a file of PyTorch."""

import os
import zipfile
from pathlib import Path

import numpy as np

from dilax._checks import shown
from dilax.data._dataset import DataError, check_size

_CONVERT = (
    "import torch; from safetensors.torch import save_file\n"
    'save_file(torch.load("{name}", weights_only=True), "{stem}.safetensors")'
)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the arrays of a ``.safetensors`` file, or of a ``.pth`` or ``.pt`` file of PyTorch.

    The first bytes tell the format. No code in the file is run, however it was made: PyTorch's
    files are read by ``torch.load(weights_only=True)``, for which PyTorch must be installed.

    Args:
        path: The path of the file.

    Returns:
        The arrays by name, laid out as in the file: PyTorch has a convolution's kernel as
        ``(out_features, in_features_per_group, *window)``. bfloat16 becomes float32.

    Raises:
        TypeError: ``path`` is not a path.
        FileNotFoundError: There is no such file.
        DataError: The file is damaged, holds anything but arrays by name, declares other sizes
            than it has, or is larger than is read into memory; or it is PyTorch's and PyTorch is
            not installed (the message says how to convert it).

    >>> import safetensors.numpy, tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     safetensors.numpy.save_file({"bias": np.zeros(3, np.float32)}, file.name)
    ...     read_state_dict(file.name)["bias"].shape
    (3,)
    """
    valid = isinstance(path, str | os.PathLike) and not isinstance(path, bytes)
    if not valid or not str(path).strip("\0"):
        raise TypeError(f"path must be the path of a file, got {shown(path)}.")
    path = Path(path)
    check_size(path.stat().st_size, str(path))
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":  # after the length of the header, which may be any eight bytes
        return _read_safetensors(path)
    if start.startswith((b"PK", b"\x80")):  # a zip file; before 2020, a pickle
        return _read_torch(path, zipped=start.startswith(b"PK"))
    raise DataError(
        f"{path} must be a file of weights, .safetensors or written by torch.save, got one that "
        f"begins with {start.hex(' ') or 'nothing'}."
    )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # a damaged file, or a dtype that NumPy has not
        raise DataError(f"{path} is not a readable .safetensors file: {error}.") from error
    return {name: _widened(array) for name, array in arrays.items()}


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _read_torch(path: Path, *, zipped: bool) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise DataError(
            f"{path} is a file of PyTorch, which is not installed; install it, or convert the file "
            f"where it is:\n{_CONVERT.format(name=path.name, stem=path.stem)}"
        ) from error
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:
                check_size(sum(member.file_size for member in archive.infolist()), str(path))
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        if not (isinstance(tensors, dict) and all(map(torch.is_tensor, tensors.values()))):
            raise DataError("it must hold tensors by name and nothing else")
        check_size(sum(tensor.nbytes for tensor in tensors.values()), str(path))
        half = torch.bfloat16
        return {
            str(name): (tensor.float() if tensor.dtype == half else tensor).detach().numpy()
            for name, tensor in tensors.items()
        }
    except Exception as error:  # a damaged or hostile file may raise anything
        raise DataError(
            f"{path} is not a readable state dict of PyTorch ({_reason(error)}), and no code in it "
            f"was run; if it is your own, save model.state_dict() rather than the model."
        ) from error


def _reason(error: Exception) -> str:
    """Extract what is wrong from PyTorch's message, without its advice to run the code."""
    said = str(error).partition("\n\nCheck the documentation")[0]
    for before in ("WeightsUnpickler error: ", "\n\n"):
        said = said.rpartition(before)[2]
    return said.strip().split(". ")[0].rstrip(".")

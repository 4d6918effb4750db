"""State dicts as ``torch.save`` writes them, in both of its formats, without PyTorch.

Since 2020 a zip file: ``data.pkl``, a pickle that describes the tensors, and a member for each
storage. Before, five pickles (a magic number, a version, the machine, the tensors, the names of the
storages), and the storages behind them. The pickles are read by `dilax.data._inert_pickle`, which
runs nothing; members of the zip are read in memory, never extracted, and must not be compressed.
"""

import dataclasses
import io
import math
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dilax.data import _inert_pickle
from dilax.data._dataset import DataError
from dilax.data._files import check_size
from dilax.data._inert_pickle import Call, Name, Reference
from dilax.data._safetensors import widen

MAX_PICKLE = 2**24
"""Bytes of the pickle of a zip (16 MiB)."""
MAGIC = 0x1950A86A20F9469CFC6C
"""What the old format begins with."""
VERSION = 1001
"""Of the old format; there was one."""

_DTYPES: Mapping[str, str] = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
    "torch.BoolStorage": "|b1",
}
_TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
_PARAMETER = "torch._utils._rebuild_parameter"
_NAMES = (*_DTYPES, *_TENSORS, _PARAMETER)


@dataclasses.dataclass(frozen=True)
class _Storage:
    """What a pickle says of a storage."""

    key: str
    kind: str
    count: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * np.dtype(_DTYPES[self.kind]).itemsize

    def array(self, content: bytes) -> np.ndarray:
        """Its numbers, one after the other."""
        if len(content) != self.size:
            raise DataError(
                f"its storage {self.key} has {len(content)} bytes where {self.size} are declared"
            )
        flat = np.frombuffer(content, _DTYPES[self.kind])
        return widen(flat) if self.kind == "torch.BFloat16Storage" else flat


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """What a pickle says of a tensor: a storage, and the entries of it that are the tensor's."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, flat: np.ndarray) -> np.ndarray:
        """The tensor, a view of its storage's numbers."""
        steps = [step * flat.itemsize for step in self.strides]
        begun = flat[self.offset :]
        return np.lib.stride_tricks.as_strided(begun, self.shape, steps, writeable=False)


def read_zip(content: bytes, where: str) -> dict[str, np.ndarray]:
    """All tensors of a state dict in the zip format, bfloat16 as float32.

    Raises:
      DataError: when it is damaged, is no plain state dict, or declares more than it holds.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {member.filename: member for member in archive.infolist()}
            check_size(sum(member.file_size for member in members.values()), where)

            def read(name: str) -> bytes:
                if name not in members or members[name].compress_type != zipfile.ZIP_STORED:
                    raise DataError(f"it has no member {name}, or a compressed one")
                return archive.read(name)

            return _read_members(read, _folder(members))
    except Exception as error:  # a hostile or damaged file may raise anything
        raise _refusal(error, where) from error


def read_legacy(content: bytes, where: str) -> dict[str, np.ndarray]:
    """All tensors of a state dict in the format of before 2020.

    Raises:
      DataError: when it is damaged or no plain state dict.
    """
    file = io.BytesIO(content)
    try:
        if _inert_pickle.read(file, ()) != MAGIC or _inert_pickle.read(file, ()) != VERSION:
            raise DataError("it does not begin as files of torch.save do")
        if _inert_pickle.read(file, ())["little_endian"] is not True:
            raise DataError("it was written on a big-endian machine, which is not supported")
        tensors = _tensors(_inert_pickle.read(file, _NAMES))
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        flat = {}
        for key in _inert_pickle.read(file, ()):
            if file.read(8) != storages[key].count.to_bytes(8, "little"):
                raise DataError(f"its storage {key} is not as long as its tensors say")
            flat[key] = storages[key].array(file.read(storages[key].size))
        if file.read(1):
            raise DataError("it goes on behind its last storage")
        return {name: one.array(flat[one.storage.key]) for name, one in tensors.items()}
    except Exception as error:  # a hostile or damaged file may raise anything
        raise _refusal(error, where) from error


def _refusal(error: Exception, where: str) -> DataError:
    said = str(error) if isinstance(error, DataError) else repr(error)
    return DataError(
        f"{where} is not a readable state dict of PyTorch: {said}. If it is your own, save "
        f"model.state_dict() rather than the model."
    )


def _folder(members: Mapping[str, zipfile.ZipInfo]) -> str:
    """The folder that all members lie in, named by whoever saved the file."""
    found = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(found) != 1 or members[found[0]].file_size > MAX_PICKLE:
        raise DataError(f"it must have one data.pkl of at most {MAX_PICKLE} bytes")
    return found[0].removesuffix("data.pkl")


def _read_members(read: Callable[[str], bytes], folder: str) -> dict[str, np.ndarray]:
    pickled = io.BytesIO(read(f"{folder}data.pkl"))
    tensors = _tensors(_inert_pickle.read(pickled, _NAMES))
    flat: dict[str, np.ndarray] = {}
    for tensor in tensors.values():
        key = tensor.storage.key
        if key not in flat:
            flat[key] = tensor.storage.array(read(f"{folder}data/{key}"))
    return {name: one.array(flat[one.storage.key]) for name, one in tensors.items()}


def _tensors(root: Any) -> dict[str, _Tensor]:
    if not isinstance(root, dict) or not all(isinstance(one, Call) for one in root.values()):
        raise DataError("it must hold a dictionary of names and tensors, and nothing else")
    tensors = {name: _tensor(call) for name, call in root.items()}
    if len({tensor.storage for tensor in tensors.values()}) != len(
        {tensor.storage.key for tensor in tensors.values()}
    ):
        raise DataError("its tensors say different things of one storage")
    return tensors


def _tensor(call: Call) -> _Tensor:
    if call.name == _PARAMETER:
        call = call.arguments[0]
    if call.name not in _TENSORS:
        raise DataError(f"it must hold tensors, got {call.name}")
    reference, offset, shape, strides, *_ = call.arguments
    storage = _storage(reference)
    _check_counts(offset, *shape, *strides)
    if len(shape) != len(strides) or len(shape) > 32:
        raise DataError(f"a tensor of {len(shape)} axes has {len(strides)} strides")
    last = sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if math.prod(shape) > storage.count or (math.prod(shape) and offset + last >= storage.count):
        raise DataError(f"a tensor of {shape} has entries outside its storage {storage.key}")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _storage(reference: Reference) -> _Storage:
    kind, name, key, _, count, *view = reference.identity
    if kind != "storage" or not isinstance(name, Name) or view not in ([], [None]):
        raise DataError("it refers to something else than whole storages")
    if name.text not in _DTYPES or not isinstance(key, str):
        raise DataError(f"it has a storage of the type {name.text}")
    _check_counts(count)
    return _Storage(key, name.text, count)


def _check_counts(*numbers: Any) -> None:
    if not all(type(number) is int and 0 <= number < 2**40 for number in numbers):
        raise DataError("it has sizes, strides or offsets that are none")

"""Files of weights in every format that ``dilax.data`` reads, written byte by byte."""

import io
import json
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

KINDS = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage", "<i8": "LongStorage"}
ORDERED_DICT = b"ccollections\nOrderedDict\n"


def safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    header, body = {}, b""
    for name, array in arrays.items():
        end = len(body) + array.nbytes
        dtype = {"f": "F", "i": "I"}[array.dtype.kind] + str(8 * array.itemsize)
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(body), end]}
        body += np.ascontiguousarray(array).tobytes()
    return with_header(header, body)


def with_header(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def pickled(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def tensor(
    key: str, array: np.ndarray, *, legacy: bool = False, count=None, offset=0, shape=None,
    strides=None, kind=None,
) -> bytes:  # fmt: skip
    """The instructions that describe a tensor; what is given is said in place of the truth."""
    count = array.size if count is None else count
    shape = array.shape if shape is None else shape
    strides = tuple(s // array.itemsize for s in array.strides) if strides is None else strides
    kind = KINDS[array.dtype.str] if kind is None else kind
    identity = text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    identity = b"(" + identity + integer(count) + (b"N" if legacy else b"") + b"tQ"
    arguments = identity + integer(offset) + integers(shape) + integers(strides) + b"\x89"
    arguments += ORDERED_DICT + b")R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def entries(tensors: Mapping[str, bytes]) -> bytes:
    """A pickled state dict of tensors that `tensor` describes."""
    items = b"".join(text(name) + what for name, what in tensors.items())
    return pickled(ORDERED_DICT + b")R(" + items + b"u")


def torch_zip(pickle: bytes, storages: Mapping[str, bytes], *, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("weights/data.pkl", pickle)
        archive.writestr("weights/byteorder", "little")
        for key, content in storages.items():
            archive.writestr(f"weights/data/{key}", content)
    return file.getvalue()


def torch_legacy(pickle: bytes, storages: Mapping[str, np.ndarray]) -> bytes:
    magic = pickled(b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19")
    version, machine = pickled(integer(1001)), pickled(b"}(" + text("little_endian") + b"\x88u")
    keys = pickled(b"](" + b"".join(map(text, storages)) + b"e")
    contents = [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    return b"".join([magic, version, machine, pickle, keys, *contents])

"""Arrays by name from a file in the ``safetensors`` format, which can hold nothing else.

Eight bytes, little-endian, say how long the header is; the header is a JSON object that gives each
array's type, shape and place; then come the arrays' bytes, one after the other without a gap.
Format: https://huggingface.co/docs/safetensors.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dilax.data._dataset import DataError

MAX_HEADER = 2**24
"""Bytes of a header (16 MiB); the format allows more, a network needs none."""
DTYPES: Mapping[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}


def read(content: bytes, where: str) -> dict[str, np.ndarray]:
    """All arrays of such a file, bfloat16 as float32; they are views of ``content``.

    Raises:
      DataError: when it is damaged, or its header lies about the bytes that follow.
    """
    header, start = _read_header(content, where)
    size = len(content) - start
    arrays, places = {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, begin, end = _read_entry(entry, f"{name} in {where}")
        if not 0 <= begin <= end <= size or end - begin != math.prod(shape) * dtype.itemsize:
            raise DataError(
                f"{name} in {where} is {dtype} {shape} at bytes {begin} to {end} of {size}, which "
                f"cannot be: the file is damaged. Get it again."
            )
        flat = np.frombuffer(content, dtype, math.prod(shape), offset=start + begin)
        arrays[name] = (widen(flat) if entry["dtype"] == "BF16" else flat).reshape(shape)
        places.append((begin, end))
    _check_places(sorted(places), size, where)
    return arrays


def widen(halves: np.ndarray) -> np.ndarray:
    """Numbers in bfloat16, given as uint16, as float32: the upper half of the bits, exactly.

    >>> widen(np.array([0x3F80, 0xC000], np.uint16)).tolist()
    [1.0, -2.0]
    """
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _read_header(content: bytes, where: str) -> tuple[dict[str, Any], int]:
    """The JSON object, and where the arrays begin."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(MAX_HEADER, len(content) - 8):
        raise DataError(
            f"{where} is no .safetensors file, or is cut short: its header declares {length} bytes "
            f"of the {max(0, len(content) - 8)} that follow (at most {MAX_HEADER})."
        )
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} has a header that is no JSON object: {error}.") from error
    if not isinstance(header, dict):
        raise DataError(f"{where} has a header that is no JSON object.")
    return header, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _read_entry(entry: Any, where: str) -> tuple[np.dtype, tuple[int, ...], int, int]:
    try:
        dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
        begin, end = entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"{where} has no dtype of {', '.join(DTYPES)}, shape and data_offsets: {error!r}."
        ) from error
    if not all(type(number) is int and 0 <= number < 2**40 for number in (*shape, begin, end)):
        raise DataError(f"{where} has a shape or data_offsets that are no sizes.")
    if len(shape) > 32 or math.prod(max(1, size) for size in shape) >= 2**40:
        raise DataError(f"{where} has more axes, or longer ones, than an array can have.")
    return dtype, shape, begin, end


def _check_places(places: list[tuple[int, int]], size: int, where: str) -> None:
    """Every byte belongs to one array."""
    reached = 0
    for begin, end in [*places, (size, size)]:
        if begin != reached:
            raise DataError(
                f"{where} has arrays that overlap, or bytes of no array, at {min(begin, reached)} "
                f"to {max(begin, reached)}: the file is damaged. Get it again."
            )
        reached = end

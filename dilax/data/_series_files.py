"""Files of time series: ``.ts``, as the UCR and UEA archives write them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dilax._checks import shown
from dilax.data._dataset import DataError
from dilax.data._splits import few
from dilax.data._text_files import read_text

SUFFIX = ".ts"
_TRUE, _FALSE = "true", "false"
_LARGEST = float(np.finfo(np.float32).max)


class Series(NamedTuple):
    """A time series, its class, and where it was read, for messages."""

    values: np.ndarray
    """float32 ``(T, channels)``."""
    label: str
    """Empty in a file without classes."""
    place: str


class Header(NamedTuple):
    """What the lines before ``@data`` say of all series; None for what they leave open."""

    class_names: tuple[str, ...] | None = None
    channels: int | None = None
    length: int | None = None
    equal_length: bool = False


def read_file(path: Path, *, labelled: bool = True) -> list[Series]:
    """Read the series of a ``.ts`` file.

    Args:
        path: The file.
        labelled: Whether each series must have a class.

    Raises:
        DataError: The file is none, its header is wrong, or a line differs from the header; the
            message names file and line.
    """
    if path.suffix.lower() != SUFFIX or not path.is_file():
        raise DataError(f"{path} must be a {SUFFIX} file of time series, got none.")
    lines = enumerate(read_text(path).split("\n"), start=1)
    header = _read_header(path, lines, labelled)
    series: list[Series] = []
    for number, line in lines:
        if not line.strip() or _is_comment(line):
            continue
        place = f"{path}, line {number},"
        one = _read_series(line.strip(), header, place)
        known = series[0].values.shape if series else one.values.shape
        if one.values.shape[1] != known[1]:
            raise DataError(
                f"{place} must have {known[1]} channels, as the first series, got "
                f"{one.values.shape[1]}; channels are separated by colons."
            )
        if header.equal_length and len(one.values) != known[0]:
            raise DataError(
                f"{place} must have {known[0]} values, as the first series, got "
                f"{len(one.values)}; if lengths differ, write @equalLength false."
            )
        series.append(one)
    if not series:
        raise DataError(f"{path} must have a time series in each line after @data, got none.")
    return series


def _is_comment(line: str) -> bool:
    return line.lstrip()[:1] in ("#", "%")


def _read_header(path: Path, lines: Iterator[tuple[int, str]], labelled: bool) -> Header:
    """Read the lines up to ``@data``."""
    header, number = Header(), 0
    for number, line in lines:
        words = line.split()
        if not words or _is_comment(line):
            continue
        place = f"{path}, line {number},"
        name, values = words[0].lower(), words[1:]
        if not name.startswith("@"):
            raise DataError(
                f"{place} must begin with @, as all lines before @data, got {shown(line.strip())}."
            )
        if name == "@data":
            if labelled and header.class_names is None:
                raise DataError(
                    f"{path} must say @classLabel true and the names of the classes before "
                    f"@data, got no such line before line {number}."
                )
            return header
        header = _add(header, name, values, place)
    raise DataError(f"{path} must have a line @data before its series, got {number} lines without.")


def _add(header: Header, name: str, values: list[str], place: str) -> Header:
    """Add what a line of the header says; lines of other names are left out."""
    if name == "@timestamps" and _flag(name, values, place):
        raise DataError(
            f"{place} must be @timeStamps false: values alone are read, got time stamps."
        )
    if name == "@targetlabel" and _flag(name, values, place):
        raise DataError(f"{place} must be @classLabel with classes, got numbers to predict.")
    if name == "@univariate" and _flag(name, values, place):
        return header._replace(channels=1)
    if name in ("@dimensions", "@dimension"):
        return header._replace(channels=_count("@dimensions", values, place))
    if name == "@equallength":
        return header._replace(equal_length=_flag(name, values, place))
    if name == "@serieslength" and values != ["0"]:  # some files write 0 where lengths differ
        return header._replace(length=_count(name, values, place))
    if name == "@classlabel" and _flag(name, values, place):
        names = tuple(values[1:])
        if len(set(names)) < max(len(names), 1):
            raise DataError(
                f"{place} must name each class once after @classLabel true, got {few(names)}."
            )
        return header._replace(class_names=names)
    return header


def _flag(name: str, values: list[str], place: str) -> bool:
    if not values or values[0].lower() not in (_TRUE, _FALSE):
        raise DataError(f"{place} must be {name} true or {name} false, got {shown(values)}.")
    return values[0].lower() == _TRUE


def _count(name: str, values: list[str], place: str) -> int:
    if len(values) != 1 or not values[0].isdecimal() or int(values[0]) < 1:
        raise DataError(f"{place} must be {name} and a positive integer, got {shown(values)}.")
    return int(values[0])


def _read_series(line: str, header: Header, place: str) -> Series:
    """Read the channels, separated by colons, of which the last field is the class."""
    *channels, label = line.split(":") if header.class_names is not None else (*line.split(":"), "")
    label = label.strip()
    if header.class_names is not None and label not in header.class_names:
        raise DataError(
            f"{place} must end in a colon and one of the classes of @classLabel "
            f"({few(header.class_names)}), got {shown(label)}."
        )
    if header.channels not in (None, len(channels)):
        raise DataError(
            f"{place} must have {header.channels} channels, as the header says, got "
            f"{len(channels)}; channels are separated by colons."
        )
    columns = [_read_values(text, place) for text in channels]
    if len(set(map(len, columns))) != 1:
        raise DataError(
            f"{place} must have channels of one length, got {few([*map(str, map(len, columns))])}."
        )
    if header.equal_length and header.length not in (None, len(columns[0])):
        raise DataError(
            f"{place} must have {header.length} values, as @seriesLength says, got "
            f"{len(columns[0])}."
        )
    return Series(np.stack(columns, axis=-1), label, place)


def _read_values(text: str, place: str) -> np.ndarray:
    fields = text.split(",")
    try:
        values = np.array([float(field) for field in fields])
        if (abs(values) <= _LARGEST).all():  # false for NaN
            return values.astype(np.float32)
    except ValueError:
        pass
    wrong = next(field.strip() for field in fields if not _is_number(field))
    missing = wrong.lower() in ("?", "nan", "")
    raise DataError(
        f"{place} must have finite numbers separated by commas, got {wrong!r}; "
        f"{'fill missing values first.' if missing else 'is it damaged?'}"
    )


def _is_number(field: str) -> bool:
    try:
        return abs(float(field)) <= _LARGEST
    except ValueError:
        return False

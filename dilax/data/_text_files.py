"""Files with a text and its label in each line: TSV, CSV and JSON lines, in UTF-8."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dilax._checks import shown
from dilax.data._dataset import DataError, check_size

COLUMNS = ("text", "label")


class Line(NamedTuple):
    """A text, its label, and where it was read, for messages."""

    text: str
    label: str
    place: str


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text, with or without a byte order mark.

    Raises:
        DataError: It has another encoding; the message names the line.
    """
    check_size(path.stat().st_size, str(path))
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}, must be UTF-8, got byte 0x{content[error.start]:02x}; convert "
            "the file, for example by iconv -f LATIN1 -t UTF-8."
        ) from error


def read_file(path: Path) -> list[Line]:
    """Read the lines of a file; empty lines are left out.

    Raises:
        DataError: A line has other columns, or the suffix is unknown.
    """
    if path.suffix.lower() not in _READERS:
        raise DataError(
            f"{path} must end in {', '.join(SUFFIXES)}, got {path.suffix or 'nothing'}."
        )
    lines = list(_READERS[path.suffix.lower()](path, read_text(path)))
    if not lines:
        raise DataError(f"{path} must have a text and its label in each line, got no line.")
    return lines


def _tsv(path: Path, content: str) -> Iterator[Line]:
    lines = enumerate(content.split("\n"), start=1)
    return _of_rows(path, ((number, line.rstrip("\r").split("\t")) for number, line in lines))


def _csv(path: Path, content: str) -> Iterator[Line]:
    return _of_rows(path, _csv_rows(path, content))


def _csv_rows(path: Path, content: str) -> Iterator[tuple[int, list[str]]]:
    """Iterate over rows and the numbers of their last lines; fields may have line breaks."""
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}, must be CSV, got what its reader refuses: {error}; "
            "is a quotation mark left open?"
        ) from error


def _of_rows(path: Path, rows: Iterator[tuple[int, Sequence[str]]]) -> Iterator[Line]:
    """Find text and label in rows, whose first one may name the columns."""
    places, width, first = (0, 1), 2, True
    for number, row in rows:
        if not any(field.strip() for field in row):
            continue
        names = [field.strip().lower() for field in row]
        if first and set(COLUMNS) <= set(names):
            places, width, first = (names.index("text"), names.index("label")), len(row), False
            continue
        first = False
        if len(row) != width:
            raise DataError(
                f"{path}, line {number}, must have {width} columns, got {len(row)}; two columns "
                "are text and label, and of more the first line must name them."
            )
        text, label = (row[place].strip() for place in places)
        yield _line(path, number, text, label)


def _jsonl(path: Path, content: str) -> Iterator[Line]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            text, label = (found[name] for name in COLUMNS)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number}, must be a JSON object with text and label, got "
                f"{shown(line)}."
            ) from error
        if not isinstance(text, str) or not isinstance(label, str | int):
            raise DataError(
                f"{path}, line {number}, must have a string as text and a string or an integer as "
                f"label, got {shown(text)} and {shown(label)}."
            )
        yield _line(path, number, text.strip(), str(label).strip())


def _line(path: Path, number: int, text: str, label: str) -> Line:
    if not text:
        raise DataError(f"{path}, line {number}, must have a text, got an empty one.")
    if not label:
        raise DataError(f"{path}, line {number}, must have a label, got an empty one.")
    return Line(text, label, f"{path}, line {number},")


_READERS: dict[str, Callable[[Path, str], Iterator[Line]]] = {
    ".tsv": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
SUFFIXES = tuple(_READERS)

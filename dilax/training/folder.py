"""The folder that a run leaves behind, and the JSON in it."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CONFIG = "config.json"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"


def check_folder(folder: Path, *, resume: bool) -> None:
    """See whether a run can begin, or go on, in `folder`; nothing is made or altered.

    Raises:
        ValueError: a new run would write into a folder that holds something, or there is no run to
            resume, or the path is that of a file.
    """
    if resume and not (folder / CONFIG).is_file():
        raise ValueError(
            f"output folder {folder} holds no run to resume ({CONFIG} is missing); leave out "
            "--resume to start one"
        )
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ValueError(f"output folder {folder}: {nearest} is a file; choose another --output")
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(
            f"output folder {folder} is not empty; add --resume to continue the run in it, or "
            "choose another --output"
        )


def make_folder(folder: Path) -> None:
    """Make the folder of a run, unless it is there.

    Raises:
        ValueError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output folder {folder} cannot be made: {error.strerror}") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write a text file whole or not at all: what was there before stays until then.

    Raises:
        OSError: it cannot be written; the message says which file.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        reason = f"{path} cannot be written: {error.strerror}; what was there is as it was"
        raise OSError(error.errno, reason) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file.

    Raises:
        ValueError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error


class MetricsLog:
    """`metrics.jsonl`: one JSON object an epoch, in order, none twice."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """Give the epochs written so far."""
        if not self.path.is_file():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def write(self, epochs: Iterable[Mapping[str, Any]]) -> None:
        """Write the lines of all epochs, whole or not at all."""
        write_text(self.path, "".join(json.dumps(epoch) + "\n" for epoch in epochs))

"""The metrics of a run as files: lines of JSON, a table, and events for TensorBoard.

Each is made from all epochs so far, which a checkpoint holds: so a resumed run has none twice.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dilax.training._records import METRICS_FILE, TABLE_FILE, TENSORBOARD_FOLDER, write_text

History = Sequence[Mapping[str, Any]]
"""The metrics of each epoch, in order."""


def write_metrics(folder: Path, history: History) -> None:
    """Write ``metrics.jsonl`` and ``metrics.csv``.

    Raises:
        OSError: A file cannot be written; the message names it.
    """
    write_text(folder / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in history))
    write_text(folder / TABLE_FILE, _table(history))


def _table(history: History) -> str:
    columns = list(dict.fromkeys(name for line in history for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if columns:
        writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


class TensorBoardLog:
    """A folder ``tensorboard`` with the metrics of each epoch of a run, at its step.

    It is meant for ``on_metrics`` of ``fit``. When a run is resumed, or goes back to a checkpoint,
    the events are written anew, and a TensorBoard that shows them discards what it has read.

    Args:
        folder: The folder of the run.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import tensorboardX
        except ImportError as error:
            raise ImportError(
                'TensorBoardLog needs tensorboardX: pip install "dilax-jax[tensorboard]".'
            ) from error
        self._folder = folder / TENSORBOARD_FOLDER
        self._create = tensorboardX.SummaryWriter
        self._writer: tensorboardX.SummaryWriter | None = None
        self._written: list[Mapping[str, Any]] = []

    def __enter__(self) -> "TensorBoardLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def __call__(self, history: History) -> None:
        """Write the epochs that are new; all of them, if others were written before."""
        if self._writer is None or list(history[: len(self._written)]) != self._written:
            self._close()
            for stale in self._folder.glob("events.out.tfevents.*"):
                stale.unlink()
            self._writer, self._written = self._create(str(self._folder), purge_step=0), []
        for line in history[len(self._written) :]:
            for tag, value in _scalars(line).items():
                self._writer.add_scalar(tag, value, line["step"])
            self._written.append(dict(line))
        self._writer.flush()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def _scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """Name the metrics as TensorBoard groups them: ``loss/train`` beside ``loss/validation``."""
    tags = {}
    for name, value in line.items():
        part, _, what = name.partition("_")
        if part in ("train", "validation"):
            tags[f"{what}/{part}"] = value
        elif name != "step":
            tags[f"run/{name}"] = value
    return tags

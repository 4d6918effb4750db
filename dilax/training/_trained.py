"""The weights of a trained run, read from its folder."""

from pathlib import Path
from typing import Any, NamedTuple

from dilax.training._checkpoints import CheckpointError, Checkpoints
from dilax.training._records import (
    CHECKPOINTS_FOLDER,
    CONFIG_FILE,
    SUMMARY_FILE,
    best_step,
    read_json,
)
from dilax.training._state import Weights

KINDS = ("final", "ema", "best")


class Trained(NamedTuple):
    """The weights of a trained run."""

    weights: Weights
    """Nested dictionaries of NumPy arrays."""
    which: str
    """Weights of the last step (final), their moving average (ema), or those of the best epoch."""
    step: int
    """The step of the run after which they were saved."""
    description: dict[str, Any]
    """What network they are of, and how its input is prepared, in JSON; empty if unknown."""
    skipped: list[str]
    """Newer checkpoints that could not be used, and why."""


def read_trained(folder: str | Path, *, which: str | None = None) -> Trained:
    """Read the weights of a trained run from its folder, to use them or to train on from them.

    ``load_into(module, *read_trained(folder).weights)`` writes them into a network.

    Args:
        folder: The folder of one run, with one seed. It need not be finished.
        which: ``"final"``, ``"ema"`` or ``"best"``; None for those that its record reports.

    Raises:
        CheckpointError: The folder holds no checkpoint, or it is damaged, or no epoch was
            validated, of which one could be the best.
        ValueError: ``which`` is none of the three.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; give the folder of a trained run.")
    which = _reported(folder) if which is None else which
    if which not in KINDS:
        raise ValueError(f"which must be one of {', '.join(KINDS)}, got {which!r}.")
    with Checkpoints(folder / CHECKPOINTS_FOLDER, config={}) as checkpoints:
        restored = checkpoints.restore(None)
        if restored is None:
            raise CheckpointError(f"{folder} has no checkpoint; {_advice(folder)}.")
        skipped = restored.skipped
        if which == "best":
            best = best_step(restored.notes["history"], score=restored.notes["score"])
            if best is None:
                raise CheckpointError(f"{folder} has no best epoch, because none was validated.")
            restored = checkpoints.restore(None, step=best)
            assert restored is not None, "a checkpoint of a given step is restored or refused"
    state = restored.tree["state"]
    arrays = state["ema"] if which == "ema" else state
    weights = Weights(arrays.get("params", {}), arrays.get("batch_stats", {}))
    return Trained(weights, which, int(state["step"]), restored.description, skipped)


def _reported(folder: Path) -> str:
    """Return which weights a run reports: by its record, or by its flags if it is unfinished."""
    for file, key in ((SUMMARY_FILE, "weights"), (CONFIG_FILE, "evaluate")):
        if (folder / file).is_file():
            about: dict[str, Any] = read_json(folder / file)
            if key in about:
                return about[key]
    return "final"


def _advice(folder: Path) -> str:
    below = sorted(path.parent for path in folder.glob(f"*/{CHECKPOINTS_FOLDER}"))
    return f"choose one of its runs, such as {below[0]}" if below else "train there first"

"""What a run proves: its numbers, and all that is needed to get them again."""

import dataclasses
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dilax._version
from dilax.training.statistics import over_seeds


def versions() -> dict[str, str]:
    """Give the versions of Python, dilax and the libraries that decide the numbers."""
    libraries = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "python": platform.python_version(),
        "dilax": dilax._version.__version__,
        **{name: importlib.metadata.version(name) for name in libraries},
    }


def git_commit(folder: Path = Path(dilax._version.__file__).parent) -> str | None:
    """Give the commit of the source in `folder`, with `-dirty` after it when files differ from it.

    None outside a git checkout, or where git does not know the folder's files.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", ".")
        return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of `summary.json`."""

    program: str
    """The program that made the run."""
    config: Mapping[str, Any]
    """Its flags."""
    dataset: str
    dataset_sha256: str
    """Fingerprint of the arrays that were trained and tested on."""
    model: str
    weights: str
    """Which weights `test_accuracy` is of, fixed before the run: "final" or "ema"."""
    test_accuracy: float
    """A fraction."""
    test_loss: float
    """In nats."""
    test_accuracy_final: float
    """That of the weights after the last step."""
    test_accuracy_ema: float
    """That of their moving average."""
    parameters: int
    multiply_adds: int
    """For one image, in the forward pass; padded taps are counted."""
    epochs: int
    train_seconds: float
    """In training steps, without compilation, evaluation and saving."""
    compile_seconds: float
    device: str
    devices: int
    """How many shared a batch; `config` says how, and what batch normalisation saw."""
    processes: int
    rollbacks: int
    """How often the run went back to a checkpoint because it had diverged."""
    seed: int
    versions: Mapping[str, str] = dataclasses.field(default_factory=versions)
    git_commit: str | None = dataclasses.field(default_factory=git_commit)

    def as_json(self) -> dict[str, Any]:
        """Give the record as a JSON object."""
        return dataclasses.asdict(self)


def combine(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make one record of those of several seeds, which are JSON objects of `RunRecord`.

    Accuracies and the loss become their means, with mean, standard deviation, least, greatest and
    number under `over_seeds`; seconds add up; the rest is that of the first.
    """
    measured = [name for name in records[0] if name.startswith("test_")]
    over = {name: over_seeds([record[name] for record in records]) for name in measured}
    spent = ("train_seconds", "compile_seconds")
    return {
        **records[0],
        **{name: summary["mean"] for name, summary in over.items()},
        **{name: sum(record[name] for record in records) for name in spent},
        "seeds": [record["seed"] for record in records],
        "over_seeds": over,
        "each": [{name: record[name] for name in ("seed", *measured)} for record in records],
    }


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()

"""How long a user waits: for `import dilax`, and for the default run from start to finish.

    python experiments/wall_clock.py

Imports are timed in fresh interpreters that have imported jax and flax already; the default run is
`python experiments/mnist_dsdc.py` as the README gives it, timed from outside. The record is
`experiments/results/wall_clock.json`.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from dilax.training.device import describe_device
from dilax.training.record import git_commit, versions

HERE = Path(__file__).parent
TIMED_IMPORT = """
import time, jax, flax.nnx
started = time.perf_counter()
import dilax
print(time.perf_counter() - started)
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Time the import and the default run, and write a record."""

    imports: int = 15
    """How often to import."""
    runs: int = 1
    """How often to run the program."""
    output: Path = HERE / "results" / "wall_clock.json"
    """The record."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "program": Path(__file__).name,
        "import_seconds": spread([import_seconds() for _ in range(config.imports)]),
        "default_run_seconds": spread([default_run_seconds() for _ in range(config.runs)]),
        "device": describe_device(jax.devices()[0]),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    config.output.write_text(json.dumps(record, indent=2) + "\n")
    for name in ("import_seconds", "default_run_seconds"):
        print(f"{name:20} median {record[name]['median']:.3f}, n {record[name]['n']}")
    return 0


def import_seconds() -> float:
    """Seconds for `import dilax` after jax and flax, in a fresh interpreter."""
    command = [sys.executable, "-c", TIMED_IMPORT]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def default_run_seconds() -> float:
    """Seconds for the default run, from the command to its last line."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(HERE / "mnist_dsdc.py"), "--output", f"{folder}/run"]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least, greatest and number."""
    return {
        "median": float(np.median(values)),
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


if __name__ == "__main__":
    sys.exit(main())

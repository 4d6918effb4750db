"""How long a user waits: for `import dilax`, a receptive field, and the default run.

    python experiments/benchmarks/wall_clock.py

Imports are timed in fresh interpreters that have imported jax and flax already; the default run is
`python experiments/mnist_dsdc.py` as the README gives it, timed from outside; the receptive field
is that of a residual network of 50 separable blocks. The record is
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
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

from dilax import analysis
from dilax.nn import SeparableBlock
from dilax.training import describe_device, git_commit, versions

HERE = Path(__file__).parents[1]
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
    fields: int = 5
    """How often to read off the receptive field."""
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
        "field_seconds": spread(field_seconds(config.fields)),
        "default_run_seconds": spread([default_run_seconds() for _ in range(config.runs)]),
        "device": describe_device(jax.devices()[0]),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    config.output.write_text(json.dumps(record, indent=2) + "\n")
    for name in ("import_seconds", "field_seconds", "default_run_seconds"):
        print(f"{name:20} median {record[name]['median']:.3f}, n {record[name]['n']}")
    return 0


def import_seconds() -> float:
    """Seconds for `import dilax` after jax and flax, in a fresh interpreter."""
    command = [sys.executable, "-c", TIMED_IMPORT]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class FiftyBlocks(nnx.Module):
    """Residual separable blocks of dilation 1, 2, 3, 1, 2, 3, ..."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.blocks = nnx.data(
            [
                SeparableBlock(
                    16, 16, (3, 3), kernel_dilation=1 + place % 3, residual=True, rngs=rngs
                )
                for place in range(50)
            ]
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, 16)`` to the same shape."""
        for block in self.blocks:
            x = block(x)
        return x


def field_seconds(times: int) -> list[float]:
    """Seconds to trace a deep network and read its receptive field off, each time anew."""
    network = nnx.eval_shape(lambda: FiftyBlocks(rngs=nnx.Rngs(0)))
    network.eval()
    graphdef, state = nnx.split(network)
    weights = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), state)
    images = jax.ShapeDtypeStruct((1, 224, 224, 16), jnp.float32)
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        analysis.receptive_field(nnx.merge(graphdef, weights), images)
        seconds.append(time.perf_counter() - started)
    return seconds


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

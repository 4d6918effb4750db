"""The time of ``import dilax``, of a receptive field, and of the default run.

    python experiments/benchmarks/wall_clock.py

The import is timed in new interpreters that have already imported jax and flax. The receptive field
is that of a residual network of 50 separable blocks. The default run is
``python experiments/mnist_dsdc.py``, from start to exit.
"""

import dataclasses
import functools
import subprocess
import sys
import tempfile
import time

import benchmark
import jax
import jax.numpy as jnp
from baselines.fifty_blocks import FiftyBlocks
from flax import nnx

from dilax import analysis

PROGRAM = benchmark.RESULTS.parent / "mnist_dsdc.py"
TIMED_IMPORT = """
import time, jax, flax.nnx
started = time.perf_counter()
import dilax
print(time.perf_counter() - started)
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """Time the import, a receptive field and the default run, and write a record."""

    imports: int = 15
    """Number of imports."""
    fields: int = 5
    """Number of times that the receptive field is computed."""
    runs: int = 1
    """Number of default runs."""


def measure(config: Config) -> benchmark.Record:
    """Time everything, one after the other."""
    return {
        "import_seconds": benchmark.spread([import_seconds() for _ in range(config.imports)]),
        "field_seconds": benchmark.spread(field_seconds(config.fields)),
        "default_run_seconds": benchmark.spread([run_seconds() for _ in range(config.runs)]),
    }


def import_seconds() -> float:
    """Return the seconds of ``import dilax`` after jax and flax, in a new interpreter."""
    command = [sys.executable, "-c", TIMED_IMPORT]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def field_seconds(times: int) -> list[float]:
    """Return the seconds to trace a deep network and compute its receptive field, each time."""
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


def run_seconds() -> float:
    """Return the seconds of the default run, from start to exit."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(PROGRAM), "--output", f"{folder}/run"]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def section(record: benchmark.Record) -> str:
    """State the time of the default run, of an import and of a receptive field."""
    imported, field, run = (
        record[f"{name}_seconds"] for name in ("import", "field", "default_run")
    )
    return (
        f"On {record['device']}, the default run takes {run['median']:.0f} s from start to finish "
        f"(n = {run['n']}). When jax and flax are already imported, `import dilax` takes "
        f"{imported['median']:.2f} s (median of {imported['n']}). Computing the receptive field of "
        f"a network of 50 blocks takes {field['median']:.1f} s (median of {field['n']}; "
        f"[record](experiments/results/wall_clock.json)).\n"
    )


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

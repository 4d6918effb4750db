"""What the benchmarks share: flags, turns, and a record that says what it was measured on.

A benchmark is a ``Flags`` dataclass, a function that measures and a function that writes its record
as Markdown; ``run`` joins them. The programs in the folder above become importable here.
"""

import dataclasses
import importlib.metadata
import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common.markdown import table as table

from dilax.training import describe_device, git_commit, versions

RESULTS = Path(__file__).resolve().parents[1] / "results"
Record = Mapping[str, Any]
Turn = Callable[[], object]
"""Runs a fixed number of steps and waits for the last."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags of every benchmark."""

    output: Path | None = None
    """The record; left out, it is written under ``experiments/results``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turns(Flags):
    """The flags of a benchmark whose contestants take turns."""

    rounds: int = 9
    """How often every contestant has its turn."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"--rounds must be at least 1, got {self.rounds}")


def run(
    flags: type,
    measure: Callable[[Any], Record],
    section: Callable[[Record], str],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the flags, measure, write the record and print it; give the exit status."""
    config: Any = tyro.cli(flags, args=arguments, description=flags.__doc__)
    try:
        record = write(Path(inspect.getfile(measure)).stem, config, measure(config))
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print(section(record), end="")
    return 0


def write(name: str, config: Flags, found: Record, *, libraries: Sequence[str] = ()) -> Record:
    """Write a record: what was found, by which flags, on what.

    Args:
        name: of the record, and of the program that makes it unless ``found`` says otherwise.
        config: the flags.
        found: what was measured.
        libraries: those that other processes have imported for it.
    """
    others = [lib for lib in ("torch", "keras") if lib in sys.modules or lib in libraries]
    path = config.output or RESULTS / f"{name}.json"
    said = dataclasses.asdict(config) | {"output": path.name}
    record: dict[str, Any] = {
        "program": f"{name}.py",
        "config": {flag: v.name if isinstance(v, Path) else v for flag, v in said.items()},
        **found,
        "device": describe_device(jax.devices()[0]),
        "versions": versions() | {lib: importlib.metadata.version(lib) for lib in others},
        "git_commit": git_commit(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    return record


def provenance(record: Record) -> str:
    """How the medians of a record came about, in one clause."""
    return f"medians of {record['config']['rounds']} rounds in turns {where(record)}"


def where(record: Record) -> str:
    """The device and the libraries of a record, and a link to it."""
    names = [name for name in ("jax", "flax", "torch", "keras") if name in record["versions"]]
    libraries = ", ".join(f"{name} {record['versions'][name]}" for name in names)
    link = f"[record](experiments/results/{record['config']['output']})"
    return f"on {record['device']}; {libraries} ({link})"


def compile_timed(function: Callable, state: Any) -> tuple[Callable, float]:
    """The function compiled for one state, and how long tracing and compiling took."""
    started = time.perf_counter()
    compiled = jax.jit(function).lower(state).compile()
    return compiled, time.perf_counter() - started


def repeated(call: Callable[[Any], Any], operands: Any, steps: int) -> Turn:
    """A turn of several calls on the same operands, and the wait for the last."""

    def turn() -> object:
        for _ in range(steps):
            result = call(operands)
        return jax.block_until_ready(result)

    return turn


def take_turns(
    contestants: Mapping[str, Turn], *, rounds: int, steps: int = 1
) -> dict[str, np.ndarray]:
    """Milliseconds a step of every contestant in every round, after one round to warm up."""
    milliseconds = np.zeros((rounds + 1, len(contestants)))
    for place in np.ndindex(milliseconds.shape):
        turn = [*contestants.values()][place[1]]
        started = time.perf_counter()
        turn()
        milliseconds[place] = 1000 * (time.perf_counter() - started) / steps
    return dict(zip(contestants, milliseconds[1:].T, strict=True))


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Median and quartiles, to four digits, and number."""
    low, median, high = (float(f"{v:.4g}") for v in np.percentile(values, [25, 50, 75]))
    return {"median": median, "quartile_1": low, "quartile_3": high, "n": len(values)}


def median(values: Mapping[str, float], digits: int = 1) -> str:
    """The median of a spread, for a cell of a table."""
    return f"{values['median']:.{digits}f}"

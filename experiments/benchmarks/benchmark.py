"""Code that the benchmarks share: flags, timing in turns, and records.

A benchmark is a ``Flags`` dataclass, a function that measures, and a function that formats the
record as Markdown; ``run`` joins them. This module puts ``experiments/`` on the import path.
"""

import dataclasses
import importlib.metadata
import importlib.util
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

import interrupts
from common.markdown import table as table

from dilax.training import describe_device, git_commit, versions

OTHERS = ("torch", "keras", "qwix", "onnxruntime", "openvino")
"""Libraries that records name where they take part."""
RESULTS = Path(__file__).resolve().parents[1] / "results"
Record = Mapping[str, Any]
Turn = Callable[[], object]
"""Runs a fixed number of steps and waits for the last one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags that all benchmarks share."""

    output: Path | None = None
    """File for the record; by default under ``experiments/results``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turns(Flags):
    """The flags of a benchmark whose contestants take turns."""

    rounds: int = 9
    """Number of rounds; every contestant has one turn in each."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"--rounds must be at least 1, got {self.rounds}")


def run(
    flags: type,
    measure: Callable[[Any], Record],
    section: Callable[[Record], str],
    arguments: Sequence[str] | None = None,
    *,
    libraries: Sequence[str] = (),
) -> int:
    """Parse the flags, measure, write the record and print its table; return the exit status."""
    config: Any = read(flags, arguments)
    try:
        name, found = Path(inspect.getfile(measure)).stem, measure(config)
        record = write(name, config, found, libraries=libraries)
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print(section(record), end="")
    return 0


def read(flags: type, arguments: Sequence[str] | None) -> Any:
    """Parse the flags; a program, which has no ``arguments`` given, ends at signals from now on."""
    if arguments is None:
        interrupts.end_at_signals(interrupts.UNFINISHED)
    return tyro.cli(flags, args=arguments, description=flags.__doc__)


def write(name: str, config: Flags, found: Record, *, libraries: Sequence[str] = ()) -> Record:
    """Write a record: results, flags, device, versions and commit.

    Args:
        name: Name of the record, and of the program unless ``found`` has another.
        config: The flags.
        found: The results.
        libraries: Libraries that were imported only in other processes, to record their versions.
    """
    others = [
        lib
        for lib in OTHERS
        if lib in sys.modules or (lib in libraries and importlib.util.find_spec(lib) is not None)
    ]
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
    """Say how the medians of a record were measured, in one clause."""
    return f"medians of {record['config']['rounds']} rounds, {where(record)}"


def where(record: Record) -> str:
    """Name the device and the library versions of a record, with a link to it."""
    names = [name for name in ("jax", "flax", *OTHERS) if name in record["versions"]]
    libraries = ", ".join(f"{name} {record['versions'][name]}" for name in names)
    link = f"[record](experiments/results/{record['config']['output']})"
    return f"on {record['device']}; {libraries} ({link})"


def compile_timed(function: Callable, state: Any) -> tuple[Callable, float]:
    """Compile a function for a state; return it, and the seconds of tracing and compiling."""
    started = time.perf_counter()
    compiled = jax.jit(function).lower(state).compile()
    return compiled, time.perf_counter() - started


def repeated(call: Callable[[Any], Any], operands: Any, steps: int) -> Turn:
    """Make a turn of several calls on the same operands, which waits for the last."""

    def turn() -> object:
        for _ in range(steps):
            result = call(operands)
        return jax.block_until_ready(result)

    return turn


def steps_within(milliseconds: float, call: Callable[[Any], Any], operands: Any) -> int:
    """Return how many calls fill a turn of about this duration, at least one."""
    once = take_turns({"once": repeated(call, operands, 1)}, rounds=2)["once"].min()
    return max(int(milliseconds / max(once, 0.01)), 1)


def take_turns(
    contestants: Mapping[str, Turn], *, rounds: int, steps: int = 1
) -> dict[str, np.ndarray]:
    """Return the milliseconds per step of every contestant in every round, after a warm-up."""
    milliseconds = np.zeros((rounds + 1, len(contestants)))
    for place in np.ndindex(milliseconds.shape):
        turn = [*contestants.values()][place[1]]
        started = time.perf_counter()
        turn()
        milliseconds[place] = 1000 * (time.perf_counter() - started) / steps
    return dict(zip(contestants, milliseconds[1:].T, strict=True))


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Return median and quartiles to four digits, and the number of values."""
    low, median, high = (float(f"{v:.4g}") for v in np.percentile(values, [25, 50, 75]))
    return {"median": median, "quartile_1": low, "quartile_3": high, "n": len(values)}


def median(values: Mapping[str, float], digits: int = 1) -> str:
    """Format the median of a spread for a cell of a table."""
    return f"{values['median']:.{digits}f}"

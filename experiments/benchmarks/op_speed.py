"""Convolutions of real networks, one by one: dilax against lax and PyTorch.

    pip install -e ".[baselines]" && python experiments/benchmarks/op_speed.py

Each contestant runs in a process of its own, so that XLA flags of one do not affect another, and
the processes are new for each case. For each pass, the contestants take turns in rounds, in a
random order that changes from round to round, and each round gives one ratio. The first calls of a
turn do not count, because caches are cold and threads asleep, and each turn places its arrays in
memory anew, because the distances of their addresses matter. The record
``experiments/results/op_speed.json`` holds medians and quartiles of times and ratios, compile
times, errors against float64, and the speed relative to a plain copy; a picture is drawn beside it.

    python experiments/benchmarks/op_speed.py --contestants algorithms

times the algorithms of dilax against lax instead, and writes ``algorithms.json``, the measurement
on which the choice of algorithms is based. It runs on any platform.

    python experiments/benchmarks/op_speed.py --other ../before

compares another checkout of dilax, older or newer, with this one: it counts the passes for which
both give XLA the same program, and times the others; cases with a pass in which this checkout seems
slower are measured twice, the second time in new processes. With ``--output before_after.json``, it
also writes a record.

All processes keep the memory that they free. Otherwise, above all in virtual machines, the time in
which the system provides new memory for each output can exceed the time of a fast convolution.
``--fresh-memory`` measures without this.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import benchmark
import numpy as np
from contestants import Contestant
from operations import report
from operations.cases import CASES, DEPTHWISE_2D, Case
from operations.worker import Worker

from dilax.training import git_commit

XLA_FLAGS = {
    "lax, YNN": "--xla_cpu_experimental_ynn_fusion_type=+individual_convolution",
    "lax, oneDNN": "--xla_cpu_experimental_onednn_custom_call=true",
}
LINE_UPS = {
    "baselines": ("lax", "lax, YNN", "lax, oneDNN", "dense", "torch", "dilax"),
    "algorithms": (
        "lax",
        *(f"dilax:{name}" for name in ("shift_and_add", "per_group", "per_plane", "im2col")),
        "dilax",
    ),
    "other": ("other", "dilax"),
}
NAMES = {"baselines": "op_speed", "algorithms": "algorithms", "other": "before_after"}
"""The name of the record of each set of contestants."""
WHOLE = ("forward", "forward+backward")
MOST_PATCHES = 1 << 28
MOST_STRIDE = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time single operations, with contestants that take turns, and write a record."""

    contestants: Literal["baselines", "algorithms"] = "baselines"
    """What to compare dilax with: other libraries (baselines), or its own algorithms."""
    other: Path | None = None
    """Folder of another checkout of dilax, to time against this one instead of --contestants."""
    families: tuple[str, ...] = ()
    """Prefixes of case names; only matching cases are timed."""
    rounds: int = 7
    """Number of rounds; every contestant has one turn in each."""
    warm_up: float = 0.03
    """Seconds of calls before the timing starts, in each turn; at least one call."""
    seconds: float = 0.05
    """Seconds of timed calls in each turn; at least one call."""
    fresh_memory: bool = False
    """Let the processes return freed memory to the system, as glibc does by default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.other is not None and not (self.other / "dilax" / "__init__.py").is_file():
            raise ValueError(f"--other must be a folder that holds dilax, got {self.other}")

    @property
    def line_up(self) -> str:
        """The key of the contestants in ``LINE_UPS``."""
        return "other" if self.other else self.contestants


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    config: Config = benchmark.read(Config, arguments)
    names = [name for name in LINE_UPS[config.line_up] if runs_here(name)]
    rows = race(names, config)
    found: dict[str, Any] = {"ratio_to": "dilax", "xla_flags": XLA_FLAGS, "rows": rows}
    if config.other:
        print(report.before_and_after(rows))
        found |= {"git_commit_of_other": git_commit(config.other.resolve() / "dilax")}
        if config.output is None:
            return 0
    name = NAMES[config.line_up]
    path = config.output or benchmark.RESULTS / f"{name}.json"
    record = benchmark.write(
        name,
        config,
        {**found, "program": "op_speed.py"},
        libraries=names,
    )
    if config.line_up == "baselines":
        report.draw(record, path.with_suffix(".png"))
    if not config.other:
        path.with_suffix(".md").write_text(report.PAGES[config.line_up](record))
    return 0


def race(names: Sequence[str], config: Config) -> list[dict[str, Any]]:
    """Measure every case that the flags select."""
    rows = []
    for place, case in enumerate(CASES):
        if case.name.startswith(config.families or ""):
            entered = [name for name in names if enters(name, case)]
            with started(entered, config) as contestants:
                rows.append(measure(place, case, contestants, config))
            if config.other and report.slower(rows[-1]["passes"]):
                with started(entered, config) as contestants:
                    rows[-1]["again"] = measure(place, case, contestants, config)["passes"]
            print(in_short(rows[-1]), flush=True)
    return rows


def runs_here(name: str) -> bool:
    """Test whether this machine can run a contestant; XLA aborts on an unknown flag."""
    if name == "torch":
        return importlib.util.find_spec(name) is not None
    if name not in XLA_FLAGS:
        return True
    start = [sys.executable, "-c", "import jax; jax.devices()"]
    found = subprocess.run(start, env=os.environ | environment(name), capture_output=True)
    return not found.returncode


def enters(name: str, case: Case) -> bool:
    """Test whether a contestant can compute a case in a way that is worth comparing."""
    if name == "torch":
        return case.kind == "conv" and case.context == "call" and case.dtype == "float32"
    if name == "dense":
        return case.kind == "separable" or case in DEPTHWISE_2D
    if ":" not in name:
        return True
    if name == "dilax:shift_and_add" and case.features // case.group_count > 16:
        return False
    if name == "dilax:im2col":
        entries = int(np.prod((*case.output_shape[:-1], *case.kernel_size, case.features)))
        return case.kind == "conv" and entries < MOST_PATCHES
    if name == "dilax:per_group" and case.stride > MOST_STRIDE:
        return False
    if name == "dilax:per_plane" and len(case.size) < 3:
        return False
    return case.kind == "conv"


@contextlib.contextmanager
def started(names: Sequence[str], config: Config) -> Iterator[dict[str, Contestant]]:
    """Start a new process for each contestant of a case."""
    with contextlib.ExitStack() as stack:
        contestants = {}
        for name in names:
            checkout = config.other.resolve() if config.other and name == "other" else None
            contestants[name] = Contestant(
                Worker,
                name,
                environment(name),
                fresh_memory=config.fresh_memory,
                checkout=checkout,
            )
            stack.callback(contestants[name].stop)
        yield contestants


def environment(name: str) -> dict[str, str]:
    """Return the environment variables of a contestant's process."""
    return {"XLA_FLAGS": XLA_FLAGS[name]} if name in XLA_FLAGS else {}


def measure(
    place: int, case: Case, contestants: dict[str, Contestant], config: Config
) -> dict[str, Any]:
    """Measure one case: first the errors, then the times."""
    row: dict[str, Any] = {
        "name": case.name,
        "family": case.family,
        "case": dataclasses.asdict(case),
        "depthwise_2d": case in DEPTHWISE_2D,
        **{"compile_seconds": {}, "errors": {}, "failed": {}},
    }
    times: dict[str, dict[str, list[float]]] = {}
    if config.other:
        row["same_program"] = same_programs(place, contestants, config.other)
    same = [label for label, holds in row.get("same_program", {}).items() if holds]
    for name, answer in prepare(place, contestants, same).items():
        checked = name == "dilax" and not config.other
        graded = contestants[name].ask(do="check") if checked else {}
        failed = answer.get("failed") or graded.get("failed")
        if failed:
            row["failed"][name] = failed
            continue
        row["compile_seconds"][name] = answer["compile_seconds"]
        row["errors"][name] = graded.get("errors", {})
        for label in answer["passes"]:
            if label in WHOLE or (name not in XLA_FLAGS and name != "dense"):
                times.setdefault(label, {})[name] = []
    for label, names in turns(times, config.rounds):
        for name in names:
            answer = contestants[name].ask(
                do="time", label=label, warm_up=config.warm_up, seconds=config.seconds
            )
            times[label][name].append(answer["milliseconds"])
    row["passes"] = {label: in_numbers(each) for label, each in times.items() if "dilax" in each}
    if "forward" in times and "copy" in times:
        row["share_of_copy"] = share_of_copy(case, times)
    return row


def same_programs(
    place: int, contestants: dict[str, Contestant], checkout: Path
) -> dict[str, bool]:
    """Return for each pass whether both checkouts give XLA the same program.

    Raises:
        ValueError: The process for ``--other`` imported dilax from elsewhere.
    """
    answers = {name: contestants[name].ask(do="lower", case=place) for name in contestants}
    module = answers["other"].get("module")
    if module and not Path(module).is_relative_to(checkout.resolve()):
        raise ValueError(f"--other must be imported from {checkout}, got {module}")
    programs, others = (answers[name].get("programs", {}) for name in ("dilax", "other"))
    return {label: program == others.get(label) for label, program in programs.items()}


def prepare(
    place: int, contestants: dict[str, Contestant], without: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Let all contestants compile a case, except the passes ``without``."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ask = functools.partial(Contestant.ask, do="prepare", case=place, without=without)
        return dict(zip(contestants, pool.map(ask, contestants.values()), strict=True))


def turns(times: dict[str, Any], rounds: int) -> Iterator[tuple[str, list[str]]]:
    """Yield every pass in every round, with its contestants in random order."""
    draw = random.Random(0)
    for _ in range(rounds):
        for label, names in times.items():
            yield label, draw.sample([*names], len(names))


def in_numbers(times: dict[str, list[float]]) -> dict[str, Any]:
    """Summarise each contestant's milliseconds, and its ratio to dilax round by round."""
    found = {name: np.asarray(values) for name, values in times.items()}
    return {
        name: {
            "milliseconds": benchmark.spread(values),
            "ratio": benchmark.spread(values / found["dilax"]),
        }
        for name, values in found.items()
    }


def share_of_copy(case: Case, times: dict[str, dict[str, list[float]]]) -> float:
    """Compute the bytes per second of the forward pass, relative to those of a copy."""
    moved = np.prod(case.shapes[0]) + np.prod(case.output_shape)
    ideal = np.median(times["copy"]["dilax"]) * moved / (2 * np.prod(case.shapes[0]))
    return float(ideal / np.median(times["forward"]["dilax"]))


def in_short(row: dict[str, Any]) -> str:
    """Format the ratios of one case, to show progress."""
    parts = []
    for label in WHOLE:
        found = row["passes"].get(label, {})
        ratios = " ".join(f"{n} {v['ratio']['median']:.2f}" for n, v in found.items())
        parts.append(f"{label}: {ratios}")
    failed = f"  failed: {row['failed']}" if row["failed"] else ""
    return f"{row['name']}\n    " + "\n    ".join(parts) + failed


if __name__ == "__main__":
    sys.exit(main())

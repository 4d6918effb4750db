"""Convolutions of real networks, op by op: dilax against lax, Flax, Keras and PyTorch.

    pip install -e ".[baselines]" && python experiments/benchmarks/op_speed.py

Every contestant is a process of its own, so that flags of XLA touch nobody else, and a new one for
each case, so that what was timed before touches nobody at all. They take turns on each pass, round
by round, in an order drawn anew for each round, and each round gives one ratio. The first calls of
a turn find the caches of another and threads asleep: they do not count. The record
`experiments/results/op_speed.json` holds medians and quartiles of times and ratios, the seconds to
compile, errors against float64, and the share of the speed of a copy; a picture lies beside it.

    python experiments/benchmarks/op_speed.py --contestants algorithms

times the algorithms of dilax against lax instead, and writes `algorithms.json`: the measurement
that `dilax/_choice.py` rests on. It runs so on any platform.

All processes keep the memory that they free: otherwise, where pages are dear, as in virtual
machines, the system's work of handing out fresh memory for every output hides the work of the fast
contestants. `--fresh-memory` measures without that.
"""

import concurrent.futures
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import _programs  # noqa: F401
import jax
import numpy as np
import tyro
from common.markdown import table as markdown
from operations import report
from operations.cases import CASES, DEPTHWISE_2D, Case
from operations.worker import Contestant
from timing import spread

from dilax.training import describe_device, git_commit, versions

HERE = Path(__file__).parents[1]
XLA_FLAGS = {
    "lax, YNN": "--xla_cpu_experimental_ynn_fusion_type=+individual_convolution",
    "lax, oneDNN": "--xla_cpu_experimental_onednn_custom_call=true",
}
BASELINES = ("lax", "lax, YNN", "lax, oneDNN", "nnx", "dense", "torch", "keras", "dilax")
ALGORITHMS = ("lax", "dilax:shift_and_add", "dilax:per_group", "dilax:im2col", "dilax")
WHOLE = ("forward", "forward+backward")
MOST_PATCHES = 1 << 28
MOST_STRIDE = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Time single operations, contestants taking turns, and write a record."""

    contestants: Literal["baselines", "algorithms"] = "baselines"
    """Other libraries, or dilax's own algorithms."""
    families: tuple[str, ...] = ()
    """Only cases whose name begins with one of these."""
    rounds: int = 7
    """How often every contestant has its turn."""
    warm_up: float = 0.03
    """Seconds of calls that go before, in each turn; one call at least."""
    seconds: float = 0.05
    """Seconds of calls that count, in each turn; one call at least."""
    fresh_memory: bool = False
    """Let processes give freed memory back to the system, as they do by default."""
    output: Path | None = None
    """The record; `op_speed.json` or `algorithms.json` under `experiments/results` if left out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    default = "op_speed.json" if config.contestants == "baselines" else "algorithms.json"
    output = config.output or HERE / "results" / default
    output.parent.mkdir(parents=True, exist_ok=True)
    names = [name for name in line_up(config) if installed(name) and knows_its_flags(name)]
    rows = []
    for place, case in enumerate(CASES):
        if case.name.startswith(config.families or ""):
            with started([name for name in names if enters(name, case)], config) as contestants:
                rows.append(measure(place, case, contestants, config))
            print(in_short(rows[-1]), flush=True)
    record = make_record(config, rows)
    output.write_text(json.dumps(record, indent=1) + "\n")
    if config.contestants == "baselines":
        report.draw(record, output.with_suffix(".png"))
        page = report.page(record)
    else:
        table = markdown(report.ALGORITHMS_HEADER, report.algorithms(record))
        page = f"{report.ALGORITHMS_EXPLANATION}\n{table}"
    output.with_suffix(".md").write_text(page)
    return 0


def line_up(config: Config) -> tuple[str, ...]:
    """The contestants."""
    return BASELINES if config.contestants == "baselines" else ALGORITHMS


def installed(name: str) -> bool:
    """Whether this machine can run a contestant."""
    return name not in ("torch", "keras") or importlib.util.find_spec(name) is not None


def knows_its_flags(name: str) -> bool:
    """Whether this version of XLA knows the flags of a contestant; it ends where it does not."""
    if name not in XLA_FLAGS:
        return True
    start = [sys.executable, "-c", "import jax; jax.devices()"]
    found = subprocess.run(start, env=os.environ | environment(name), capture_output=True)
    return not found.returncode


def enters(name: str, case: Case) -> bool:
    """Whether a contestant can compute a case, in a way worth comparing."""
    plain = case.kind == "conv" and case.context == "call"
    if name == "torch":
        return plain and case.dtype == "float32"
    if name in ("keras", "nnx"):  # both call lax: a few cases show that
        return plain and case.family in ("mobilenet", "cifar") and case.dtype == "float32"
    if name == "dense":
        return case.kind == "separable" or (case in DEPTHWISE_2D)
    if name == "dilax:shift_and_add":
        return case.kind == "conv" and case.features // case.group_count <= 16
    if name == "dilax:im2col":
        taps = int(np.prod(case.kernel_size))
        entries = int(np.prod(case.output_shape[:-1])) * taps * case.features
        return case.kind == "conv" and entries < MOST_PATCHES
    if name == "dilax:per_group" and case.stride > MOST_STRIDE:
        return False
    return case.kind == "conv" if ":" in name else True


@contextlib.contextmanager
def started(names: Sequence[str], config: Config) -> Iterator[dict[str, Contestant]]:
    """The contestants of a case, each a new process."""
    contestants: dict[str, Contestant] = {}
    try:
        for name in names:
            contestants[name] = Contestant(
                name, environment(name), fresh_memory=config.fresh_memory
            )
        yield contestants
    finally:
        for contestant in contestants.values():
            contestant.stop()


def environment(name: str) -> dict[str, str]:
    """What a contestant's process has to find in its environment."""
    if name in XLA_FLAGS:
        return {"XLA_FLAGS": XLA_FLAGS[name]}
    return {"KERAS_BACKEND": "jax"} if name == "keras" else {}


def measure(
    place: int, case: Case, contestants: dict[str, Contestant], config: Config
) -> dict[str, Any]:
    """One case: errors first, then rounds of turns."""
    row: dict[str, Any] = {
        "name": case.name,
        "family": case.family,
        "case": dataclasses.asdict(case),
    }
    row["depthwise_2d"] = case in DEPTHWISE_2D
    row["compile_seconds"], row["errors"], row["failed"] = {}, {}, {}
    times: dict[str, dict[str, list[float]]] = {}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        prepared = pool.map(lambda c: c.ask(do="prepare", case=place), contestants.values())
        answers = dict(zip(contestants, prepared, strict=True))
    for name, answer in answers.items():
        graded = contestants[name].ask(do="check") if name == "dilax" else {}
        failed = answer.get("failed") or graded.get("failed")
        if failed:
            row["failed"][name] = failed
            continue
        row["compile_seconds"][name] = answer["compile_seconds"]
        row["errors"][name] = graded.get("errors", {})
        few = name in XLA_FLAGS or name in ("nnx", "keras", "dense")
        for label in answer["passes"]:
            if not few or label in WHOLE:
                times.setdefault(label, {})[name] = []
    lengths = {"warm_up": config.warm_up, "seconds": config.seconds}
    for label, names in turns(times, config.rounds):
        for name in names:
            question = {"do": "time", "pass": label} | lengths
            times[label][name].append(contestants[name].ask(**question)["milliseconds"])
    row["passes"] = {label: in_numbers(values) for label, values in times.items()}
    if "copy" in times:
        row["share_of_copy"] = share_of_copy(case, times)
    return row


def turns(times: dict[str, Any], rounds: int) -> Iterator[tuple[str, list[str]]]:
    """All passes, again and again, each with its contestants in an order of its own."""
    draw = random.Random(0)
    for _ in range(rounds):
        for label, names in times.items():
            yield label, draw.sample([*names], len(names))


def in_numbers(times: dict[str, list[float]]) -> dict[str, Any]:
    """Milliseconds of each contestant, and its ratio to dilax, pair by pair."""
    base = np.asarray(times["dilax"])
    found = {name: np.asarray(values) for name, values in times.items()}
    return {
        name: {"milliseconds": spread(values), "ratio": spread(values / base)}
        for name, values in found.items()
    }


def share_of_copy(case: Case, times: dict[str, dict[str, list[float]]]) -> float:
    """Speed of the forward pass, bytes in and out, as a share of a copy's."""
    moved = np.prod(case.shapes[0]) + np.prod(case.output_shape)
    ideal = np.median(times["copy"]["dilax"]) * moved / (2 * np.prod(case.shapes[0]))
    return float(ideal / np.median(times["forward"]["dilax"]))


def in_short(row: dict[str, Any]) -> str:
    """One line of progress."""
    parts = []
    for label in WHOLE:
        found = row["passes"].get(label, {})
        ratios = " ".join(f"{n} {v['ratio']['median']:.2f}" for n, v in found.items())
        parts.append(f"{label}: {ratios}")
    failed = f"  failed: {row['failed']}" if row["failed"] else ""
    return f"{row['name']}\n    " + "\n    ".join(parts) + failed


def make_record(config: Config, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that a reader needs to judge the numbers."""
    found = versions()
    for name in ("torch", "keras"):
        if config.contestants == "baselines" and installed(name):
            found[name] = importlib.metadata.version(name)
    return {
        "program": Path(__file__).name,
        "contestants": config.contestants,
        "rounds": config.rounds,
        "seconds_of_warm_up": config.warm_up,
        "seconds_a_turn": config.seconds,
        "fresh_memory": config.fresh_memory,
        "xla_flags": XLA_FLAGS if config.contestants == "baselines" else {},
        "ratio_to": "dilax",
        "rows": rows,
        "device": describe_device(jax.devices()[0]),
        "versions": found,
        "git_commit": git_commit(),
    }


if __name__ == "__main__":
    sys.exit(main())

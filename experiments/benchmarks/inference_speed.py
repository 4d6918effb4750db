"""Forward passes of whole networks: dilax against stock JAX, PyTorch and inference runtimes.

    pip install -e ".[baselines]" && python experiments/benchmarks/inference_speed.py

Each contestant runs in a process of its own, and they take turns, in a random order that changes
from round to round. All compute in float32 with their default number of threads. Networks on JAX
are Keras 3's, ``mnist_dsdc``, and a head of DeepLabV3+ written with lax; those in PyTorch are
written after their papers, and the runtimes read ONNX files that PyTorch exports. Weights are
random, and so are statistics of normalisation, because with those of a new network normalisation
does almost nothing. Outputs on JAX are compared with stock JAX's, others with PyTorch's.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import random
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import benchmark
import numpy as np
from contestants import Contestant
from forward.worker import FORMS, Worker

OURS = "dilax.inference.compile"
NEEDED = {
    "PyTorch": "torch",
    "torch.compile": "torch",
    "ONNX Runtime": "onnxruntime",
    "OpenVINO": "openvino",
}
"""Contestants that do not run on JAX, and the library that each needs."""
FIRST = ("stock JAX", "PyTorch")
"""Contestants with which the outputs of others are compared."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time forward passes of whole networks, with contestants that take turns; write a record."""

    cases: tuple[str, ...] = (
        *("mnist_dsdc 1@28", "mnist_dsdc 64@28"),
        *("MobileNetV2 1@96", "MobileNetV2 16@96", "MobileNetV2 1@224"),
        *("ConvNeXt-T 1@96", "ConvNeXt-T 16@96", "ASPP 4@33"),
    )
    """Networks, each with a number of images and their height and width."""
    contestants: tuple[str, ...] = (*FORMS, *NEEDED)
    """Who takes part."""
    warm_up: float = 0.05
    """Seconds of calls before the timing starts, in each turn; at least one call."""
    seconds: float = 0.1
    """Seconds of timed calls in each turn; at least one call."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := {*self.contestants} - {*FORMS, *NEEDED}:
            raise ValueError(f"--contestants must be of {(*FORMS, *NEEDED)}, got {sorted(unknown)}")


def measure(config: Config) -> benchmark.Record:
    """Time every network."""
    names = [name for name in config.contestants if name in FORMS or _is_installed(NEEDED[name])]
    return {"cases": {case: race(case, names, config) for case in config.cases}}


def race(case: str, names: list[str], config: Config) -> dict[str, Any]:
    """Let all contestants compute one network; compare their outputs, then time them."""
    network, size = case.split()
    batch, side = map(int, size.split("@"))
    with started(names) as contestants:
        answers = {
            name: one.ask(do="prepare", network=network, batch=batch, side=side)
            for name, one in contestants.items()
        }
        failed = {name: each["failed"] for name, each in answers.items() if "failed" in each}
        times: dict[str, list[float]] = {name: [] for name in answers if name not in failed}
        draw = random.Random(0)
        for _ in range(config.rounds):
            for name in draw.sample([*times], len(times)):
                found = contestants[name].ask(
                    do="time", warm_up=config.warm_up, seconds=config.seconds
                )
                times[name].append(found["milliseconds"])
    done = {name: answers[name] for name in times}
    return {
        "milliseconds": {n: {"least": min(t), **benchmark.spread(t)} for n, t in times.items()},
        "seconds_to_prepare": {name: round(each["seconds"], 2) for name, each in done.items()},
        "largest_relative_difference": differences(done),
        "ways": done.get(OURS, {}).get("about", {}),
        "failed": failed,
    }


@contextlib.contextmanager
def started(names: list[str]) -> Iterator[dict[str, Contestant]]:
    """Start a new process for each contestant."""
    with contextlib.ExitStack() as stack:
        found = {name: Contestant(Worker, name, {}) for name in names}
        for contestant in found.values():
            stack.callback(contestant.stop)
        yield found


def differences(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the largest difference from the output of the first of its kind, over its largest."""
    found = {}
    for name, answer in answers.items():
        first = answers.get(FIRST[name not in FORMS])
        if first is not None and first is not answer:
            expected = first["output"]
            found[name] = float(np.abs(answer["output"] - expected).max() / np.abs(expected).max())
    return found


def _is_installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


# --- the table ------------------------------------------------------------------------------------


def section(record: benchmark.Record) -> str:
    """Make the table of all networks."""
    names = [
        name
        for name in (*FORMS, *NEEDED)
        if any(name in case["milliseconds"] for case in record["cases"].values())
    ]
    rows = [
        (case, *(_cell(found, name) for name in names)) for case, found in record["cases"].items()
    ]
    table = benchmark.table(("images@pixels", *(f"{name}, ms" for name in names)), rows)
    return f"{table}\nBest of {record['config']['rounds']} turns, {benchmark.where(record)}.\n"


def _cell(found: Mapping[str, Any], name: str) -> str:
    """Format a time, and how many times dilax's it is."""
    if name not in found["milliseconds"]:
        return ""
    least = found["milliseconds"][name]["least"]
    ours = found["milliseconds"].get(OURS)
    compared = "" if ours is None or name == OURS else f" ({least / ours['least']:.2f})"
    return f"{least:.2f}{compared}"


main = functools.partial(benchmark.run, Config, measure, section, libraries=benchmark.OTHERS)

if __name__ == "__main__":
    sys.exit(main())

"""What a run pays for its checkpoints, and for images that are streamed.

    python experiments/benchmarks/loop_cost.py

trains `mnist_dsdc` on the real images in two ways, epoch by epoch in turns: as the default run
does, and with the images streamed in chunks. Of each epoch, the time in which its checkpoint is
copied, written and waited for is told apart; a run does not wait, so this is the most it can cost.
It writes `experiments/results/loop_cost.json`.
"""

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _programs  # noqa: F401
import jax
import mnist_dsdc
import numpy as np
import tyro
from common.run import begin
from common.task import Task, make_task
from timing import Steps, spread, take_turns

from dilax import data
from dilax.training import (
    Checkpoints,
    Loader,
    ResidentLoader,
    StreamingLoader,
    Totals,
    describe_device,
    find_devices,
    git_commit,
    versions,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Time epochs and their checkpoints, resident and streamed, and write a record."""

    model: str = "mnist_dsdc"
    """Network to train, by its name in dilax.models."""
    rounds: int = 5
    """Epochs of each."""
    limit: int = 0
    """Training images; all if 0."""
    output: Path = Path(__file__).parents[1] / "results" / "loop_cost.json"
    """The record."""


class Runner:
    """A run of the default task that trains one epoch whenever it is asked."""

    def __init__(self, task: Task, loader: Loader, folder: Path) -> None:
        _, state = begin(task, seed=0)
        self.task, self.loader, self.data = task, loader, loader.data()
        self.position = (
            task.parallelism.place_state(state),
            task.parallelism.replicate(Totals.zero()),
        )
        self.steps = 0
        self.checkpoints = Checkpoints(folder, config={})
        self.saving: list[float] = []

    def train_epoch(self) -> None:
        """Train an epoch, save it, and wait until it is on disk."""
        plan, started = self.task.recipe.plan, time.perf_counter()
        rows = plan.chunks(jax.random.key(self.steps), step=0)
        for batches in self.loader.chunks(rows):
            self.position = self.task.train_steps(*self.position, self.data, batches)
            self.position[1].means()
        self.steps += plan.steps_per_epoch
        trained = time.perf_counter()
        self.checkpoints.save(self.steps, self.position, notes={})
        self.checkpoints.wait()
        saved = time.perf_counter()
        self.saving.append((saved - trained) / (saved - started))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    config = tyro.cli(Config, args=arguments)
    default = mnist_dsdc.Config(model=config.model, limit=config.limit)
    devices = find_devices("auto")[:1]
    task = make_task(default, data.load("mnist"), mnist_dsdc.augmentation, devices)
    with tempfile.TemporaryDirectory() as folder:
        contestants = runners(task, Path(folder))
        ways: dict[str, Steps] = {name: way.train_epoch for name, way in contestants.items()}
        times = take_turns(ways, rounds=config.rounds, steps=1)
    record: dict[str, Any] = {
        "program": Path(__file__).name,
        "config": dataclasses.asdict(config) | {"output": config.output.name},
        "ms_an_epoch": {name: spread(np.array(each)) for name, each in times.items()},
        "share_of_checkpoints": spread(np.array(contestants["default"].saving[1:])),
        "streamed_throughput": ratio(times, "default", "streamed"),
        "device": describe_device(devices[0]),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"checkpoints take {record['share_of_checkpoints']['median']:.1%} of an epoch")
    print(
        f"streamed images come {record['streamed_throughput']:.2f} times as fast as resident ones"
    )
    return 0


def runners(task: Task, folder: Path) -> dict[str, Runner]:
    """Make both ways of one task."""
    images = task.images.train.images, task.images.train.labels, task.parallelism
    return {
        "default": Runner(task, ResidentLoader(*images), folder / "resident"),
        "streamed": Runner(task, StreamingLoader(*images), folder / "streamed"),
    }


def ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    """Give the median over rounds of how much longer `one` takes than `other`."""
    return float(np.median(np.array(times[one]) / np.array(times[other])))


if __name__ == "__main__":
    sys.exit(main())

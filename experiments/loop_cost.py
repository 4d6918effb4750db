"""What a run pays for its checkpoints, and for images that are streamed.

    python experiments/loop_cost.py

trains `mnist_dsdc` on the real images in three ways, epoch by epoch in turns: as the default run
does, without checkpoints, and with the images streamed in chunks. It writes
`experiments/results/loop_cost.json`.
"""

import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import mnist_dsdc
import numpy as np
from common.run import initialise
from common.task import Task
from common.timing import Steps, spread, take_turns

from dilax import data
from dilax.training.checkpoint import Checkpoints
from dilax.training.device import describe_device, find_devices
from dilax.training.feeds import Feed, Resident, Streamed
from dilax.training.flags import parse
from dilax.training.functional import functional
from dilax.training.record import git_commit, versions
from dilax.training.state import create_state
from dilax.training.step import Totals


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Time epochs with and without checkpoints, resident and streamed, and write a record."""

    model: str = "mnist_dsdc"
    """Network to train, by its name in dilax.models."""
    rounds: int = 5
    """Epochs of each."""
    limit: int = 0
    """Training images; all if 0."""
    output: Path = Path(__file__).parent / "results" / "loop_cost.json"
    """The record."""


class Runner:
    """A run of the default task that trains one epoch whenever it is asked."""

    def __init__(self, task: Task, feed: Feed, folder: Path | None) -> None:
        module = initialise(task.config.model, 10, jax.random.key(0))
        _, params, batch_stats = functional(module)
        state = create_state(jax.random.key(0), params, batch_stats, task.optimizer)
        self.task, self.feed, self.data = task, feed, feed.whole()
        self.position = (
            task.wrapper.place_state(state),
            task.wrapper.replicate(Totals.zero()),
        )
        self.steps = 0
        self.checkpoints = None if folder is None else Checkpoints(folder, config={})

    def train_epoch(self) -> None:
        """Train an epoch, and save it; what a run saves while it trains on is waited for here."""
        plan = self.task.plan
        rows = plan.chunks(jax.random.key(self.steps), step=0)
        for batches in self.feed.chunks(rows):
            self.position = self.task.train_steps(*self.position, self.data, batches)
            self.position[1].means()
        self.steps += plan.steps_per_epoch
        if self.checkpoints is not None:
            self.checkpoints.save(self.steps, self.position, notes={})
            self.checkpoints.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    try:
        config = parse(Config, sys.argv[1:] if arguments is None else arguments)
    except ValueError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    default = mnist_dsdc.Config(model=config.model, limit=config.limit)
    devices = find_devices("auto")[:1]
    task = Task.make(default, data.load("mnist"), mnist_dsdc.augmentation, devices)
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Steps] = {
            name: runner.train_epoch for name, runner in runners(task, Path(folder)).items()
        }
        times = take_turns(ways, rounds=config.rounds, steps=1)
    record = {
        "program": Path(__file__).name,
        "config": dataclasses.asdict(config) | {"output": config.output.name},
        "ms_an_epoch": {name: spread(np.array(each)) for name, each in times.items()},
        "share_of_checkpoints": ratio(times, "default", "no checkpoints") - 1,
        "streamed_throughput": ratio(times, "default", "streamed"),
        "device": describe_device(devices[0]),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"checkpoints take {record['share_of_checkpoints']:.1%} of an epoch")
    print(
        f"streamed images come {record['streamed_throughput']:.2f} times as fast as resident ones"
    )
    return 0


def runners(task: Task, folder: Path) -> dict[str, Runner]:
    """Make the three ways of one task."""
    images = task.train.images, task.train.labels, task.wrapper
    return {
        "default": Runner(task, Resident(*images), folder / "resident"),
        "no checkpoints": Runner(task, Resident(*images), None),
        "streamed": Runner(task, Streamed(*images), folder / "streamed"),
    }


def ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    """Give the median over rounds of how much longer `one` takes than `other`."""
    return float(np.median(np.array(times[one]) / np.array(times[other])))


if __name__ == "__main__":
    sys.exit(main())

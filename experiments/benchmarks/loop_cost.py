"""The time that checkpoints take, and the speed of training with streamed images.

    python experiments/benchmarks/loop_cost.py

Trains ``mnist_dsdc`` on MNIST in two ways that take turns, epoch by epoch: as the default run does,
and with the images streamed in chunks. The time to copy, write and wait for the checkpoint of each
epoch is measured separately. A normal run does not wait, so this is an upper bound of the cost.
"""

import dataclasses
import functools
import sys
import tempfile
import time
from pathlib import Path

import benchmark
import jax
import mnist_dsdc
from common.classification import make_examples
from common.experiment import Experiment, make_experiment
from common.run import begin

from dilax import data
from dilax.training import (
    Checkpoints,
    Loader,
    ResidentLoader,
    StreamingLoader,
    Totals,
    find_devices,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time epochs and their checkpoints, resident and streamed, and write a record."""

    model: str = "mnist_dsdc"
    """Network to train, by its name in dilax.models."""
    rounds: int = 5
    """Epochs of each."""
    limit: int = 0
    """Training images; all if 0."""


class Runner:
    """A run of the default task; each call trains an epoch."""

    def __init__(self, experiment: Experiment, loader: Loader, folder: Path) -> None:
        _, state = begin(experiment, seed=0)
        self.experiment, self.loader, self.data = experiment, loader, loader.data()
        self.position = (
            experiment.parallelism.place_state(state),
            experiment.parallelism.replicate(Totals.zero(experiment.task)),
        )
        self.steps = 0
        self.checkpoints = Checkpoints(folder, config={})
        self.saving: list[float] = []
        """The share of each epoch that its checkpoint took."""

    def __call__(self) -> None:
        """Train an epoch, save it, and wait until it is on disk."""
        plan, started = self.experiment.recipe.plan, time.perf_counter()
        rows = plan.chunks(jax.random.key(self.steps), step=0)
        for batches in self.loader.chunks(rows):
            self.position = self.experiment.train_steps(*self.position, self.data, batches)
            self.position[1].means(self.experiment.task)
        self.steps += plan.steps_per_epoch
        trained = time.perf_counter()
        self.checkpoints.save(self.steps, self.position, notes={})
        self.checkpoints.wait()
        saved = time.perf_counter()
        self.saving.append((saved - trained) / (saved - started))


def measure(config: Config) -> benchmark.Record:
    """Train both ways in turns."""
    flags = mnist_dsdc.Config(model=config.model, limit=config.limit)
    devices = find_devices("auto")[:1]
    examples = make_examples(flags, data.load("mnist"))
    experiment = make_experiment(flags, mnist_dsdc.JOB, examples, devices)
    given = examples.train, experiment.parallelism
    with tempfile.TemporaryDirectory() as folder:
        runners = {
            "default": Runner(experiment, ResidentLoader(*given), Path(folder) / "resident"),
            "streamed": Runner(experiment, StreamingLoader(*given), Path(folder) / "streamed"),
        }
        times = benchmark.take_turns(runners, rounds=config.rounds)
    throughput = benchmark.spread(times["default"] / times["streamed"])
    return {
        "ms_an_epoch": {name: benchmark.spread(each) for name, each in times.items()},
        "share_of_checkpoints": benchmark.spread(runners["default"].saving[1:]),
        "streamed_throughput": throughput["median"],
    }


def section(record: benchmark.Record) -> str:
    """State the cost of checkpoints and the speed of streaming."""
    return (
        f"A checkpoint after each epoch takes {record['share_of_checkpoints']['median']:.1%} of "
        f"the time of an epoch of `{record['config']['model']}`, if the run waits for it. With "
        f"`--stream`, training is {record['streamed_throughput']:.2f} times as fast as with all "
        f"images on the device. These are {benchmark.provenance(record)}.\n"
    )


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

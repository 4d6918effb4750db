"""How long the networks for CIFAR take to train, side by side.

    python experiments/benchmarks/epoch_speed.py

Training steps as `cifar_dsdc.py` makes them, augmentation and AdamW included, networks taking
turns; seconds are those of an epoch of 50,000 images at the median. Writes
`experiments/results/epoch_speed.json`, from which the README's table of accuracies has a column.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _programs  # noqa: F401
import cifar_dsdc
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from common.memory import keep_freed_memory
from common.run import begin
from common.task import make_task
from timing import Steps, spread, take_turns

from dilax import data
from dilax.training import (
    Position,
    ResidentLoader,
    Totals,
    describe_device,
    find_devices,
    git_commit,
    versions,
)

IMAGES = 50_000
"""Those of an epoch of CIFAR."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Time training steps of several networks, and write a record."""

    models: tuple[str, ...] = (
        *("keras_dilated", "keras_separable", "cnn", "ds_dcn", "ds_dcn_wide"),
        *("dsdc", "tiniest", "context", "drn", "eesp"),
    )
    """The networks, by name."""
    dataset: str = "cifar10"
    """Data set, by name or by path."""
    batch_size: int = 128
    """Images in a step."""
    rounds: int = 5
    """How often every network has its turn."""
    steps: int = 8
    """Steps in a turn, in one call to the device."""
    output: Path = Path(__file__).parents[1] / "results" / "epoch_speed.json"
    """The record."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    keep_freed_memory()
    try:
        config = tyro.cli(Config, args=arguments)
        dataset, device = data.load(config.dataset), find_devices("auto")[0]
        contestants = {name: steps_of(name, config, dataset, device) for name in config.models}
    except (OSError, ValueError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    times = take_turns(contestants, rounds=config.rounds, steps=config.steps)
    record = make_record(config, times, device)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(record, indent=1) + "\n")
    for name, seconds in record["seconds_an_epoch"].items():
        print(f"{name:16} {seconds['median']:8.1f} s an epoch")
    return 0


def steps_of(name: str, config: Config, dataset: data.Dataset, device: jax.Device) -> Steps:
    """The turn of a network: some steps on from where it was."""
    flags = cifar_dsdc.Config(
        model=name, batch_size=config.batch_size, limit=config.steps * config.batch_size
    )
    task = make_task(flags, dataset, cifar_dsdc.augmentation, [device])
    train = task.images.train
    images = ResidentLoader(train.images, train.labels, task.parallelism).data()
    _, state = begin(task, 0)
    position = Position(state, Totals.zero())
    rows = jnp.arange(config.steps * config.batch_size, dtype=jnp.int32)
    rows = rows.reshape(config.steps, config.batch_size)
    compiled = task.train_steps.lower(*position, images, rows).compile()

    def run() -> object:
        nonlocal position
        position = Position(*compiled(*position, images, rows))
        return jax.block_until_ready(position)

    return run


def make_record(config: Config, times: dict[str, list[float]], device: jax.Device) -> dict:
    """Seconds an epoch, and ratios to the first network round by round."""
    steps_an_epoch = IMAGES // config.batch_size
    seconds = {name: np.array(each) * steps_an_epoch / 1000 for name, each in times.items()}
    first = seconds[config.models[0]]
    found: dict[str, Any] = {
        "program": Path(__file__).name,
        "config": dataclasses.asdict(config) | {"output": config.output.name},
        "seconds_an_epoch": {name: spread(each) for name, each in seconds.items()},
        "ratio_to": config.models[0],
        "ratio": {name: spread(each / first) for name, each in seconds.items()},
        "device": describe_device(device),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    return found


if __name__ == "__main__":
    sys.exit(main())

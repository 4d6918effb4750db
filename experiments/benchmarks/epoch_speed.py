"""The time of an epoch of CIFAR-10, for each network.

    python experiments/benchmarks/epoch_speed.py

Times the training steps of ``cifar_dsdc.py``, including augmentation and AdamW, for networks that
take turns. The seconds are those of 50,000 images at the median speed.
"""

import dataclasses
import functools
import sys
from collections.abc import Mapping

import benchmark
import cifar_dsdc
import jax
import numpy as np
from common.classification import make_examples
from common.experiment import make_experiment
from common.memory import keep_freed_memory
from common.run import begin
from under_way import Training

from dilax import data
from dilax.training import find_devices

IMAGES = 50_000
"""Training images of CIFAR."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
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


def measure(config: Config) -> benchmark.Record:
    """Time the steps of all networks."""
    keep_freed_memory()
    dataset, device = data.load(config.dataset), find_devices("auto")[0]
    contestants = {name: training(name, config, dataset, device) for name in config.models}
    return in_seconds(
        config, benchmark.take_turns(contestants, rounds=config.rounds, steps=config.steps)
    )


def training(name: str, config: Config, dataset: data.Dataset, device: jax.Device) -> Training:
    """The training of a network, ready to take its first steps."""
    flags = cifar_dsdc.Config(
        model=name, batch_size=config.batch_size, limit=config.steps * config.batch_size
    )
    examples = make_examples(flags, dataset)
    experiment = make_experiment(flags, cifar_dsdc.JOB, examples, [device])
    return Training(experiment, begin(experiment, 0)[1], steps=config.steps)


def in_seconds(config: Config, milliseconds: Mapping[str, np.ndarray]) -> benchmark.Record:
    """Seconds an epoch, and ratios to the first network round by round."""
    steps_an_epoch = IMAGES // config.batch_size
    seconds = {name: each * steps_an_epoch / 1000 for name, each in milliseconds.items()}
    first = seconds[config.models[0]]
    return {
        "seconds_an_epoch": {name: benchmark.spread(each) for name, each in seconds.items()},
        "ratio_to": config.models[0],
        "ratio": {name: benchmark.spread(each / first) for name, each in seconds.items()},
    }


def section(record: benchmark.Record) -> str:
    """Seconds an epoch of every network, in Markdown."""
    rows = [
        (f"`{name}`", f"{seconds['median']:.3g}", benchmark.median(record["ratio"][name], 2))
        for name, seconds in record["seconds_an_epoch"].items()
    ]
    header = ("network", "seconds per epoch", f"times `{record['ratio_to']}`")
    return (
        f"{benchmark.table(header, rows)}\nSteps of {record['config']['batch_size']} images, "
        f"including augmentation; {benchmark.provenance(record)}.\n"
    )


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

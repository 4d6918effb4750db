"""Images a second on 1, 2, 4, ... devices of this machine, by jit and by pmap.

    python experiments/benchmarks/scaling.py                        # all devices
    python experiments/benchmarks/scaling.py --global-batch 1024    # one batch shared out as well
    python experiments/benchmarks/scaling.py --simulated 8          # eight devices made of one CPU

It trains as `mnist_dsdc.py` does: network, augmentation, AdamW, steps in a scan, images on the
device. Numbers of devices and ways take turns, round by round; each round gives one efficiency,
`rate(n) / (n * rate(1))` of the same way. Beside it stands how far the parameters are, after 20
steps on n devices, from those of one; and for scale, how far one device comes from itself when the
weights begin one rounding away. Writes `experiments/results/scaling.json`.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import _programs  # noqa: F401
import jax
import jax.numpy as jnp
import mnist_dsdc
import numpy as np
import optax
import scaling_report
import tyro
from common.task import Task, creator, initialise
from common.task import make_task as make_training_task
from timing import Steps, spread, take_turns

from dilax import data
from dilax.training import (
    ResidentLoader,
    Totals,
    Weights,
    create_state,
    describe_device,
    find_devices,
    functional,
    git_commit,
    shuffled_batches,
    unreplicate,
    versions,
)

WAYS: tuple[Literal["jit", "pmap"], ...] = ("jit", "pmap")
# Plain momentum: AdamW divides by the root of its second moments, and where a gradient is nothing
# but rounding, so would be the whole difference.
PLAIN = {"learning_rate": 0.01, "momentum": 0.9}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Time training on 1 to n devices, and write a record."""

    model: str = "mnist_dsdc"
    """Network to train, by its name in dilax.models."""
    dataset: str = "mnist"
    """Data set, by name or by path."""
    limit: int = 0
    """Images of it that lie on each device; 0 for all."""
    batch_size: int = 128
    """Images of each device in a step (weak scaling)."""
    global_batch: int = 0
    """Images of all devices together in a step, to be timed as well (strong scaling), on those
    numbers of devices that divide it; 0 for not."""
    rounds: int = 7
    """How often every number of devices has its turn."""
    steps: int = 8
    """Steps in a turn."""
    difference_steps: int = 20
    """Steps after which parameters are compared."""
    device: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """Where to compute; auto is the kind that JAX prefers."""
    simulated: int = 0
    """Make so many devices of one CPU, to try the program out; 0 for those there are."""
    output: Path = Path(__file__).parents[1] / "results" / "scaling.json"
    """The record."""

    def __post_init__(self) -> None:
        """Refuse values that nothing can be timed with."""
        least = {"batch_size": 1, "rounds": 1, "steps": 1, "difference_steps": 1}
        for name in (*least, "limit", "global_batch", "simulated"):
            value, minimum = getattr(self, name), least.get(name, 0)
            if value < minimum:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} must be at least {minimum}, received {value}")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One contestant."""

    scaling: Literal["weak", "strong"]
    way: Literal["jit", "pmap"]
    devices: int
    batch_size: int
    """Of all devices together."""

    @property
    def alone(self) -> "Entry":
        """What its efficiency is counted from."""
        batch_size = self.batch_size // (self.devices if self.scaling == "weak" else 1)
        return dataclasses.replace(self, devices=1, batch_size=batch_size)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    try:
        config = tyro.cli(Config, args=arguments)
        devices = find(config)
        dataset = mnist_dsdc.grey(data.load(config.dataset))
        entries = line_up(config, len(devices))
        tasks = {entry: make_task(entry, config, dataset, devices) for entry in entries}
        compared = comparison(config, len(devices))
        plain = {
            entry: make_task(entry, config, dataset, devices, optimizer=optax.sgd(**PLAIN))
            for entry in compared
        }
    except ValueError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    with jax.default_device(devices[0]):
        weights = initial(config, classes=len(dataset.class_names))
        try:
            difference = differences(plain, weights, config)
        except FloatingPointError as error:
            print(error, file=sys.stderr)
            return 1
        rows = race(tasks, weights, config)
    record = make_record(config, devices, rows, difference)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(record, indent=1) + "\n")
    print(scaling_report.section(record), end="")
    return 0


def find(config: Config) -> list[jax.Device]:
    """Give the devices of this machine, made of one CPU if that is asked for.

    Raises:
        ValueError: JAX finds no such device, or runs already.
    """
    if not config.simulated:
        return find_devices(config.device)
    try:
        jax.config.update("jax_num_cpu_devices", config.simulated)
    except RuntimeError as error:
        raise ValueError(f"--simulated must come before JAX has begun: {error}") from error
    return find_devices("cpu")


def counts(most: int) -> list[int]:
    """Powers of two, and `most` itself."""
    return [*(2**n for n in range(most.bit_length()) if 2**n < most), most]


def line_up(config: Config, most: int) -> list[Entry]:
    """All contestants."""
    entries = [Entry("weak", way, n, n * config.batch_size) for n in counts(most) for way in WAYS]
    if config.global_batch:
        dividing = [n for n in counts(most) if config.global_batch % n == 0]
        entries += [Entry("strong", way, n, config.global_batch) for n in dividing for way in WAYS]
    return entries


def comparison(config: Config, most: int) -> list[Entry]:
    """Who must agree: all on the same batch, which every number of devices divides."""
    unit = math.lcm(*counts(most))
    batch_size = -(-config.batch_size // unit) * unit
    return [Entry("strong", way, n, batch_size) for way in WAYS for n in counts(most)]


def make_task(
    entry: Entry,
    config: Config,
    dataset: data.Dataset,
    devices: Sequence[jax.Device],
    *,
    optimizer: optax.GradientTransformation | None = None,
) -> Task:
    """The training of `mnist_dsdc.py`, as one contestant runs it.

    Raises:
        ValueError: network, data and batch do not fit together.
    """
    flags = mnist_dsdc.Config(
        model=config.model,
        dataset=config.dataset,
        limit=config.limit,
        batch_size=entry.batch_size,
        devices=entry.devices,
        parallel=entry.way,
    )
    return make_training_task(flags, dataset, mnist_dsdc.augmentation, devices, optimizer=optimizer)


def initial(config: Config, *, classes: int) -> Weights:
    """The weights that all begin with."""
    _, *weights = functional(initialise(creator(config.model, classes), jax.random.key(0)))
    return Weights(*weights)


def race(tasks: Mapping[Entry, Task], weights: Weights, config: Config) -> list[dict[str, Any]]:
    """Images a second and efficiency of every contestant."""
    turns: dict[str, Steps] = {
        str(entry): Training(task, weights, steps=config.steps) for entry, task in tasks.items()
    }
    milliseconds = take_turns(turns, rounds=config.rounds, steps=config.steps)
    rates = {
        entry: 1000 * entry.batch_size / np.asarray(milliseconds[str(entry)]) for entry in tasks
    }
    return [
        dataclasses.asdict(entry)
        | {
            "images_per_second": spread(rate),
            "efficiency": spread(rate / (entry.devices * rates[entry.alone])),
        }
        for entry, rate in rates.items()
    ]


class Training:
    """A training under way: each call takes some steps and waits for the last."""

    def __init__(self, task: Task, weights: Weights, *, steps: int) -> None:
        place, key, train = task.parallelism, jax.random.key(0), task.images.train
        loader = ResidentLoader(train.images, train.labels, place)
        order = shuffled_batches(key, num_images=len(train), batch_size=task.config.batch_size)
        rows = np.resize(order, (steps, task.config.batch_size))
        self.data, self.batches = loader.data(), next(loader.chunks([rows]))
        state = create_state(key, *weights, task.recipe.optimizer)
        self.position = (place.place_state(state), place.replicate(Totals.zero()))
        train_steps = task.train_steps.lower(*self.position, self.data, self.batches)
        self.compiled = train_steps.compile()

    def __call__(self) -> object:
        """Take the steps; the buffers of the state before are given away."""
        self.position = self.compiled(*self.position, self.data, self.batches)
        return jax.block_until_ready(self.position)


def differences(tasks: Mapping[Entry, Task], weights: Weights, config: Config) -> dict[str, Any]:
    """How far the parameters are from those of one device by jit, over the greatest of these.

    Raises:
        FloatingPointError: they are not finite.
    """
    steps = config.difference_steps
    found = {entry: trained(task, weights, steps) for entry, task in tasks.items()}
    alone = next(entry for entry in found if entry.devices == 1)
    largest: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    for entry, params in found.items():
        apart = distance(params, found[alone])
        if not np.isfinite(apart):
            raise FloatingPointError(
                f"parameters are not finite after {steps} steps of "
                f"{entry.batch_size} images on {entry.devices} devices by {entry.way}: there is "
                "nothing to compare; make --batch-size larger or --difference-steps smaller"
            )
        largest[entry.way][str(entry.devices)] = apart
    nudged = jax.tree.map(lambda leaf: jnp.nextafter(leaf, jnp.inf), weights)
    return {
        "batch_size": next(iter(tasks)).batch_size,
        "steps": steps,
        "optimizer": {"name": "sgd", **PLAIN},
        "largest_relative": largest,
        "one_rounding": distance(trained(tasks[alone], nudged, steps), found[alone]),
    }


def distance(params: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference, over the greatest parameter."""
    return float(np.abs(params - reference).max() / np.abs(reference).max())


def trained(task: Task, weights: Weights, steps: int) -> np.ndarray:
    """All parameters, flat, after some steps."""
    training = Training(task, weights, steps=steps)
    training()
    state, _ = training.position
    leaves = jax.tree.leaves(unreplicate(state.params))
    return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])


def make_record(
    config: Config,
    devices: Sequence[jax.Device],
    rows: list[dict[str, Any]],
    difference: dict[str, Any],
) -> dict[str, Any]:
    """What was measured, on what."""
    simulated = devices[0].platform == "cpu" and len(devices) > 1
    return {
        "program": Path(__file__).name,
        "config": dataclasses.asdict(config) | {"output": config.output.name},
        "devices": len(devices),
        "simulated": simulated,
        "remark": scaling_report.SIMULATED if simulated else None,
        "rows": rows,
        "difference": difference,
        "device": describe_device(devices[0]),
        "versions": versions(),
        "git_commit": git_commit(),
    }


if __name__ == "__main__":
    sys.exit(main())

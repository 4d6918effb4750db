"""Images per second on 1, 2, 4, ... devices of this machine, by jit and by pmap.

    python experiments/benchmarks/scaling.py                        # all devices
    python experiments/benchmarks/scaling.py --global-batch 1024    # also split one fixed batch
    python experiments/benchmarks/scaling.py --simulated 8          # eight devices made of one CPU

Trains as ``mnist_dsdc.py`` does: network, augmentation, AdamW, steps in a scan, images on the
device. All combinations of a number of devices and of jit or pmap take turns, and each round gives
one efficiency, ``rate(n) / (n * rate(1))``.

The tables also show how far the parameters after 20 steps on n devices are from those on one
device. For scale, the record has the difference between two runs on one device whose initial
weights differ by one rounding.
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import benchmark
import jax
import jax.numpy as jnp
import mnist_dsdc
import numpy as np
import optax
from common.classification import make_examples
from common.experiment import Experiment, creator, initialise
from common.experiment import make_experiment as make
from under_way import Training

from dilax import data
from dilax.training import Weights, create_state, find_devices, functional, unreplicate

WAYS: tuple[Literal["jit", "pmap"], ...] = ("jit", "pmap")
SIMULATED = (
    "These devices are simulated: they share the cores of one CPU, so that their efficiency says "
    "nothing about real ones."
)
BATCHES = {"weak": "a batch for each device", "strong": "one batch shared out"}
# Plain momentum: AdamW divides by the root of its second moments, and where a gradient is nothing
# but rounding, so would be the whole difference.
PLAIN = {"learning_rate": 0.01, "momentum": 0.9}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time training on 1 to n devices, and write a record."""

    model: str = "mnist_dsdc"
    """Network to train, by its name in dilax.models."""
    dataset: str = "mnist"
    """Data set, by name or by path."""
    limit: int = 0
    """Training images to use, copied to each device; 0 for all."""
    batch_size: int = 128
    """Images on each device in a step (weak scaling)."""
    global_batch: int = 0
    """Images on all devices together in a step, to time strong scaling too, on the numbers of
    devices that divide it; 0 to leave strong scaling out."""
    rounds: int = 7
    """Number of rounds."""
    steps: int = 8
    """Steps in a turn."""
    difference_steps: int = 20
    """Steps after which parameters are compared."""
    device: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """Where to compute; auto is the kind that JAX prefers."""
    simulated: int = 0
    """Number of devices to simulate on one CPU, to try the program out; 0 for the real devices."""

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {"batch_size": 1, "steps": 1, "difference_steps": 1}
        for name in (*least, "limit", "global_batch", "simulated"):
            if (value := getattr(self, name)) < least.get(name, 0):
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} must be at least {least.get(name, 0)}, got {value}")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One contestant."""

    scaling: Literal["weak", "strong"]
    way: Literal["jit", "pmap"]
    devices: int
    batch_size: int
    """Of all devices together."""

    @property
    def on_one_device(self) -> "Entry":
        """The contestant that its efficiency is counted from."""
        batch_size = self.batch_size // (self.devices if self.scaling == "weak" else 1)
        return dataclasses.replace(self, devices=1, batch_size=batch_size)


def measure(config: Config) -> benchmark.Record:
    """Compare parameters, then time."""
    devices = find(config)
    dataset = mnist_dsdc.grey(data.load(config.dataset))
    experiments = {
        entry: make_experiment(entry, config, dataset, devices)
        for entry in line_up(config, len(devices))
    }
    plain = {
        entry: make_experiment(entry, config, dataset, devices, optimizer=optax.sgd(**PLAIN))
        for entry in comparison(config, len(devices))
    }
    simulated = devices[0].platform == "cpu" and len(devices) > 1
    with jax.default_device(devices[0]):
        create = creator(config.model, len(dataset.class_names))
        network = initialise(create, jax.random.key(0))
        weights = Weights(*functional(network)[1:])
        return {
            "devices": len(devices),
            "simulated": simulated,
            "remark": SIMULATED if simulated else None,
            "difference": differences(plain, weights, config),
            "rows": race(experiments, weights, config),
        }


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
    """Powers of two, and ``most`` itself."""
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


def make_experiment(
    entry: Entry,
    config: Config,
    dataset: data.Dataset,
    devices: Sequence[jax.Device],
    *,
    optimizer: optax.GradientTransformation | None = None,
) -> Experiment:
    """The training of ``mnist_dsdc.py``, as one contestant runs it."""
    flags = mnist_dsdc.Config(
        model=config.model,
        dataset=config.dataset,
        limit=config.limit,
        batch_size=entry.batch_size,
        devices=entry.devices,
        parallel=entry.way,
    )
    examples = make_examples(flags, dataset)
    return make(flags, mnist_dsdc.JOB, examples, devices, optimizer=optimizer)


def start(experiment: Experiment, weights: Weights, steps: int) -> Training:
    """A training that begins with some weights."""
    state = create_state(jax.random.key(0), *weights, experiment.recipe.optimizer)
    return Training(experiment, state, steps=steps)


def race(
    experiments: Mapping[Entry, Experiment], weights: Weights, config: Config
) -> list[dict[str, Any]]:
    """Images a second and efficiency of every contestant."""
    turns = {str(entry): start(each, weights, config.steps) for entry, each in experiments.items()}
    times = benchmark.take_turns(turns, rounds=config.rounds, steps=config.steps)
    rates = {entry: 1000 * entry.batch_size / times[str(entry)] for entry in experiments}
    return [
        dataclasses.asdict(entry)
        | {
            "images_per_second": benchmark.spread(rate),
            "efficiency": benchmark.spread(rate / (entry.devices * rates[entry.on_one_device])),
        }
        for entry, rate in rates.items()
    ]


def differences(
    experiments: Mapping[Entry, Experiment], weights: Weights, config: Config
) -> dict[str, Any]:
    """How far the parameters are from those of one device by jit, over the greatest of these.

    Raises:
        ValueError: A difference is not finite.
    """
    steps = config.difference_steps
    found = {entry: trained(each, weights, steps) for entry, each in experiments.items()}
    single = next(entry for entry in found if entry.devices == 1)
    largest: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    for entry, params in found.items():
        apart = distance(params, found[single])
        if not np.isfinite(apart):
            raise ValueError(
                f"parameters must be finite after {steps} steps of {entry.batch_size} images to be "
                f"compared, got {apart} on {entry.devices} devices by {entry.way}; make "
                "--batch-size larger or --difference-steps smaller"
            )
        largest[entry.way][str(entry.devices)] = apart
    nudged = jax.tree.map(lambda leaf: jnp.nextafter(leaf, jnp.inf), weights)
    return {
        "batch_size": single.batch_size,
        "steps": steps,
        "optimizer": {"name": "sgd", **PLAIN},
        "largest_relative": largest,
        "one_rounding": distance(trained(experiments[single], nudged, steps), found[single]),
    }


def distance(params: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference, over the greatest parameter."""
    return float(np.abs(params - reference).max() / np.abs(reference).max())


def trained(experiment: Experiment, weights: Weights, steps: int) -> np.ndarray:
    """All parameters, flat, after some steps."""
    training = start(experiment, weights, steps)
    training()
    leaves = jax.tree.leaves(unreplicate(training.position[0].params))
    return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])


# --- the tables -----------------------------------------------------------------------------------


def section(record: benchmark.Record) -> str:
    """Make the tables of a record, with an explanation."""
    kinds = [kind for kind in BATCHES if any(row["scaling"] == kind for row in record["rows"])]
    difference = record["difference"]
    remark = f" {record['remark']}" if record["remark"] else ""
    return (
        "\n".join(table(record, kind) for kind in kinds)
        + f"\nTraining steps of `{record['config']['model']}`, {benchmark.provenance(record)}. "
        f"*Efficiency*: images per second on n devices, divided by n times those on one. "
        f"*Difference*: the largest difference between the parameters after {difference['steps']} "
        f"steps and those of one device with jit, relative to the largest parameter. For scale: "
        f"two runs on one device whose initial weights differ by one rounding end "
        f"{difference['one_rounding']:.0e} apart.{remark}\n"
    )


def table(record: benchmark.Record, kind: str) -> str:
    """Make a table with a row for each number of devices."""
    rows = [row for row in record["rows"] if row["scaling"] == kind]
    found = {(row["devices"], row["way"]): row for row in rows}
    header = [f"devices, {BATCHES[kind]}", "batch"]
    for way in WAYS:
        header += [f"{way}, images/s", "efficiency", "difference"]
    lines = []
    for count in dict.fromkeys(row["devices"] for row in rows):
        line = [str(count), str(found[count, "jit"]["batch_size"])]
        for way in WAYS:
            row = found[count, way]
            apart = record["difference"]["largest_relative"][way][str(count)]
            line += [
                f"{row['images_per_second']['median']:,.0f}",
                f"{row['efficiency']['median']:.0%}",
                f"{apart:.0e}" if apart else "0",
            ]
        lines.append(line)
    return benchmark.table(header, lines)


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

"""Training steps of whole networks: by dilax, by stock JAX and by PyTorch, and of dense twins.

    pip install -e ".[torch,baselines]" && python experiments/benchmarks/training_speed.py

A step is the forward and backward pass and plain SGD on one batch of noise. Networks of dilax are
timed as its programs run them, in a scan. Keras's networks are timed as they are (stock JAX) and
under ``dilax.accelerate``, step by step, with the state donated. PyTorch runs eagerly, with
channels last where that is faster for it; its networks are those of the papers, with random
weights. A twin is the network of the same widths with dense convolutions, by dilax. Freed memory is
kept, as in the training programs.
"""

import dataclasses
import functools
import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import benchmark
import jax
import jax.numpy as jnp
import numpy as np
import optax
import step_speed
from baselines import keras_networks
from common.memory import keep_freed_memory
from flax import nnx
from jax import Array

import dilax
from dilax import models, training

RATE = 0.01
BASE = "dilax"
"""The contestant that the others are compared with."""

Turns = dict[str, benchmark.Turn]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time training steps of networks, with contestants that take turns, and write a record."""

    networks: tuple[str, ...] = ()
    """Some of the networks; by default all."""
    steps: int = 2
    """Steps in a turn."""


class Race(NamedTuple):
    """A network, the shape of a batch, and the function from steps in a turn to contestants."""

    label: str
    images: tuple[int, ...]
    line_up: Callable[[int], Turns]


def measure(config: Config) -> benchmark.Record:
    """Time the steps of all contestants, network by network.

    Raises:
        ValueError: ``--networks`` has an unknown name.
    """
    keep_freed_memory()
    for name in config.networks:
        if name not in NETWORKS:
            raise ValueError(f"--networks must be among {', '.join(NETWORKS)}, got {name!r}.")
    names = config.networks or NETWORKS
    return {"ratio_to": BASE, "rows": {name: row(NETWORKS[name], config) for name in names}}


def row(race: Race, config: Config) -> dict[str, Any]:
    """Time the contestants of one network."""
    turns = race.line_up(config.steps)
    times = benchmark.take_turns(turns, rounds=config.rounds, steps=config.steps)
    contestants = {
        name: {
            "milliseconds": benchmark.spread(each),
            "ratio": benchmark.spread(each / times[BASE]),
        }
        for name, each in times.items()
    }
    return {"label": race.label, "images": race.images, "contestants": contestants}


# --- contestants ----------------------------------------------------------------------------------


def own(name: str, images: tuple[int, ...], *, twin: str = "", torch: str = "") -> Race:
    """Make the race of a network of dilax, its dense twin and its form in PyTorch."""

    def line_up(steps: int) -> Turns:
        turns = {BASE: scanned(name, images, steps)}
        if twin:
            turns["dense twin"] = scanned(twin, images, steps)
        return turns | by_pytorch(torch, images, steps)

    return Race(f"`{name}`", images, line_up)


def keras(label: str, name: str, images: tuple[int, ...]) -> Race:
    """Make the race of a network of Keras: accelerated, as it is, and in PyTorch."""

    def line_up(steps: int) -> Turns:
        network = getattr(keras_networks, name)(images[1])
        step = keras_networks.training_step(network, RATE)
        forms = {BASE: dilax.accelerate(step), "stock JAX": step}
        turns = {form: in_place(one, network, images, steps) for form, one in forms.items()}
        return turns | by_pytorch(name, images, steps)

    return Race(label, images, line_up)


def in_place(
    step: Callable[[Any], Any],
    network: keras_networks.Network,
    images: tuple[int, ...],
    steps: int,
) -> benchmark.Turn:
    """Make a turn of steps one by one, each of which writes the state where the last one was."""
    given = jax.random.uniform(jax.random.key(0), images, minval=-1.0)
    labels = jnp.arange(images[0]) % 1000

    def donating(state: Any, given: Array, labels: Array) -> Any:
        loss, *state = step((*state, given, labels))
        return loss, tuple(state)

    state = jax.tree.map(jnp.copy, (network.trainable, network.rest))
    compiled = jax.jit(donating, donate_argnums=0).lower(state, given, labels).compile()

    def turn() -> object:
        nonlocal state
        for _ in range(steps):
            loss, state = compiled(state, given, labels)
        return jax.block_until_ready((loss, state))[0]

    return turn


def scanned(name: str, images: tuple[int, ...], steps: int) -> benchmark.Turn:
    """Make a turn of steps in one ``lax.scan``, as ``dilax.training`` runs an epoch."""
    task, batch = example(name, images)
    module = models.create(name, classes=10, rngs=nnx.Rngs(0))
    apply, params, batch_stats = training.functional(module)
    optimizer = optax.sgd(RATE)
    step = training.make_train_step(
        apply, optimizer, task=task, augment=lambda key, batch, step: batch
    )
    state = training.create_state(jax.random.key(0), params, batch_stats, optimizer)
    return step_speed.scanned(lambda now: step(now, batch, now.step_key())[0], state, steps)


def example(name: str, images: tuple[int, ...]) -> tuple[training.Task, training.Batch]:
    """Draw a batch for a network of dilax, and say how it is judged."""
    given: Array = jax.random.normal(jax.random.key(1), images)
    if name.startswith(("deeplab", "unet")):
        labels = jax.random.randint(jax.random.key(2), images[:-1], 0, 10)
        return training.Segmentation(classes=10), training.Batch(given, labels)
    return training.Classification(), training.Batch(given, jnp.arange(images[0]) % 10)


def by_pytorch(name: str, images: tuple[int, ...], steps: int) -> Turns:
    """Make the turn of a network of PyTorch, if there is one of that name, and PyTorch."""
    if not name or importlib.util.find_spec("torch") is None:
        return {}
    import torch
    from baselines import pytorch_networks
    from baselines.pytorch import steps_of

    network = getattr(pytorch_networks, name)()
    random = np.random.default_rng(0)
    shape = images[0], images[-1], *images[1:-1]
    given = torch.from_numpy(random.normal(size=shape).astype(np.float32))
    labels = torch.arange(images[0]) % 10
    if name in pytorch_networks.CHANNELS_LAST:
        network = network.to(memory_format=torch.channels_last)
        given = given.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    return {"PyTorch": steps_of(network, optimizer, given, labels, steps)}


NETWORKS: Mapping[str, Race] = {
    "mnist_dsdc": own("mnist_dsdc", (128, 28, 28, 1), torch="mnist_dsdc"),
    "dsdc": own("dsdc", (128, 32, 32, 3), torch="dsdc"),
    "mobilenet_v2": own("mobilenet_v2", (16, 96, 96, 3), torch="mobilenet"),
    "keras_mobilenet": keras("Keras MobileNetV2", "mobilenet", (16, 96, 96, 3)),
    "keras_convnext": keras("Keras ConvNeXt-Tiny", "convnext", (4, 96, 96, 3)),
    "deeplab_dsdc": own("deeplab_dsdc", (16, 72, 72, 1), twin="deeplab_dense"),
    "unet_dsdc": own("unet_dsdc", (16, 72, 72, 1), twin="unet_dense"),
    "video_dsdc": own("video_dsdc", (16, 12, 32, 32, 1), twin="video_dense"),
    "tcn_dsdc": own("tcn_dsdc", (32, 100, 40), twin="tcn_dense"),
}


def section(record: benchmark.Record) -> str:
    """Make a table of all networks."""
    others = ("stock JAX", "PyTorch", "dense twin")
    rows = []
    for found in record["rows"].values():
        batch, *size = found["images"]
        times = found["contestants"]
        shape = "x".join(map(str, size[:-1]))
        ratios = (benchmark.median(times[o]["ratio"], 2) if o in times else "" for o in others)
        own = benchmark.median(times[BASE]["milliseconds"])
        rows.append((found["label"], f"{batch} of {shape}", own, *ratios))
    table = benchmark.table(("network", "batch", "dilax, ms", *others), rows)
    return (
        f"{table}\nThe other columns are times divided by that of dilax; above 1, dilax is faster. "
        f"Float32; {benchmark.provenance(record)}.\n"
    )


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

"""Keras 3's MobileNetV2 on JAX, with and without ``dilax.accelerate``.

    pip install -e ".[baselines]" && python experiments/benchmarks/accelerate_speed.py

Times the forward pass and the training step (loss, gradients, plain SGD). Each is one jitted
function of the variables of the Keras model; the only change is the call of ``dilax.accelerate``.

The recorded difference is that of the logits and of the loss, relative to the largest entry.
Gradients are not compared: a randomly initialised network with batch normalisation is so sensitive
that rounding its images changes its gradients by 1 %.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

import benchmark
import jax
import numpy as np
from baselines import keras_networks

import dilax

LEARNING_RATE = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time Keras's MobileNetV2 with and without ``dilax.accelerate``, and write a record."""

    batch_size: int = 16
    """Images in a call."""
    image_size: int = 96
    """Height and width of an image."""
    steps: int = 4
    """Calls in a turn."""


def measure(config: Config) -> benchmark.Record:
    """Time the forward pass and the training step, unchanged and accelerated."""
    network = keras_networks.mobilenet(config.image_size)
    state = (network.trainable, network.rest, *examples(config))
    functions = {
        "forward": keras_networks.forward(network),
        "training step": keras_networks.training_step(network, LEARNING_RATE),
    }
    passes = {name: compare(function, state, config) for name, function in functions.items()}
    return {"model": "keras.applications.MobileNetV2", "passes": passes}


def examples(config: Config) -> tuple[jax.Array, jax.Array]:
    """Draw images of noise in [-1, 1], as Keras scales them, and labels."""
    image_key, label_key = jax.random.split(jax.random.key(0))
    shape = (config.batch_size, config.image_size, config.image_size, 3)
    images = jax.random.uniform(image_key, shape, minval=-1.0)
    return images, jax.random.randint(label_key, (config.batch_size,), 0, 1000)


def compare(function: Callable, state: Any, config: Config) -> dict[str, Any]:
    """Time a function unchanged and accelerated, and compare the results."""
    forms = {"as it is": function, "accelerated": dilax.accelerate(function)}
    compiled = {name: benchmark.compile_timed(form, state) for name, form in forms.items()}
    plain, fast = (jax.tree.leaves(call(state))[0] for call, _ in compiled.values())
    turns = {
        name: benchmark.repeated(call, state, config.steps) for name, (call, _) in compiled.items()
    }
    times = benchmark.take_turns(turns, rounds=config.rounds, steps=config.steps)
    return {
        **{
            name: {"milliseconds": benchmark.spread(times[name]), "compile_seconds": seconds}
            for name, (_, seconds) in compiled.items()
        },
        "times_faster": benchmark.spread(times["as it is"] / times["accelerated"]),
        "largest_relative_difference": [float(np.abs(plain - fast).max() / np.abs(plain).max())],
    }


def section(record: benchmark.Record) -> str:
    """Make the table of both functions."""
    rows = [
        (
            name,
            *(
                benchmark.median(row[form]["milliseconds"], 0)
                for form in ("as it is", "accelerated")
            ),
            benchmark.median(row["times_faster"]),
            *(f"{row[form]['compile_seconds']:.1f}" for form in ("as it is", "accelerated")),
        )
        for name, row in record["passes"].items()
    ]
    header = (
        *("", "unchanged, ms", "accelerated, ms", "times faster"),
        *("compiling unchanged, s", "compiling accelerated, s"),
    )
    config = record["config"]
    return (
        f"{benchmark.table(header, rows)}\n`{record['model']}`, {config['image_size']} x "
        f"{config['image_size']}, batches of {config['batch_size']}, Keras on JAX; "
        f"{benchmark.provenance(record)}.\n"
    )


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

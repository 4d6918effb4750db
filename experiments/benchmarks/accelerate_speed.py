"""Keras 3's MobileNetV2 on JAX, as it is and under `dilax.accelerate`.

    pip install -e ".[baselines]" && python experiments/benchmarks/accelerate_speed.py

Forward pass and training step (loss, gradients, plain SGD), each as one jitted function of the
variables that Keras gives; the only change is the call of `dilax.accelerate`. Both forms take
turns, round by round, and each round gives one ratio. The record
`experiments/results/accelerate_speed.json` holds medians and spread, seconds to compile, and the
largest difference of the results, relative to the largest entry of each part of them.

A network drawn anew and normalised by its batch is chaotic in training: a change of the images in
their last bits changes its gradients by a hundredth. So beside each difference stands
`from_rounding`, what such a change does to the function as it is.
"""

import dataclasses
import importlib.metadata
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from baselines import keras_mobilenet
from timing import compile_timed, repeated, spread, take_turns

import dilax
from dilax.training import describe_device, git_commit, versions

LEARNING_RATE = 0.1
FORMS = ("as it is", "accelerated")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Time Keras's MobileNetV2 with and without `dilax.accelerate`, and write a record."""

    batch_size: int = 16
    """Images in a call."""
    image_size: int = 96
    """Height and width of an image."""
    rounds: int = 9
    """How often both forms have their turn."""
    steps: int = 4
    """Calls in a turn."""
    output: Path = Path(__file__).parents[1] / "results" / "accelerate_speed.json"
    """The record."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    network = keras_mobilenet.mobilenet(config.image_size)
    state = (network.trainable, network.rest, *examples(config))
    functions = {
        "forward": keras_mobilenet.forward(network),
        "training step": keras_mobilenet.training_step(network, LEARNING_RATE),
    }
    rows = {name: race(function, state, config) for name, function in functions.items()}
    config.output.write_text(json.dumps(make_record(config, rows), indent=2) + "\n")
    for name, row in rows.items():
        print(
            f"{name:14} {row['as it is']['milliseconds']['median']:8.1f} ms as it is, "
            f"{row['accelerated']['milliseconds']['median']:8.1f} ms accelerated, "
            f"{row['times_faster']['median']:.2f} times faster, "
            f"difference {max(row['largest_relative_difference']):.1e}, "
            f"from rounding {max(row['from_rounding']):.1e}"
        )
    return 0


def examples(config: Config) -> tuple[jax.Array, jax.Array]:
    """Images of noise, as Keras scales them, and labels."""
    image_key, label_key = jax.random.split(jax.random.key(0))
    shape = (config.batch_size, config.image_size, config.image_size, 3)
    images = jax.random.uniform(image_key, shape, minval=-1.0)
    return images, jax.random.randint(label_key, (config.batch_size,), 0, 1000)


def race(function: Callable, state: Any, config: Config) -> dict[str, Any]:
    """Both forms of one function: milliseconds, seconds to compile, ratio and difference."""
    forms = dict(zip(FORMS, (function, dilax.accelerate(function)), strict=True))
    compiled = {name: compile_timed(form, state) for name, form in forms.items()}
    results = [jax.block_until_ready(call(state)) for call, _ in compiled.values()]
    turns = {name: repeated(call, state, config.steps) for name, (call, _) in compiled.items()}
    times = take_turns(turns, rounds=config.rounds, steps=config.steps)
    slow, fast = (np.asarray(times[name]) for name in FORMS)
    row: dict[str, Any] = {
        name: {"milliseconds": spread(np.asarray(times[name])), "compile_seconds": seconds}
        for name, (_, seconds) in compiled.items()
    }
    row["times_faster"] = spread(slow / fast)
    moved = compiled[FORMS[0]][0](after_rounding(state))
    row["largest_relative_difference"] = differences(*results)
    row["from_rounding"] = differences(results[0], moved)
    return row


def after_rounding(state: Any) -> Any:
    """The same examples, with images that differ in their last bits."""
    trainable, rest, images, labels = state
    return trainable, rest, images * (1 + 2 * jnp.finfo(images.dtype).eps), labels


def differences(expected: Any, result: Any) -> list[float]:
    """For each part of the results, the largest difference over the part's largest entry."""
    parts = zip(_parts(expected), _parts(result), strict=True)
    return [float(np.max(np.abs(a - b)) / np.max(np.abs(a))) for a, b in parts]


def _parts(result: Any) -> list[np.ndarray]:
    """Logits; or the loss, all parameters in a row, all statistics in a row."""
    parts = result if isinstance(result, tuple) else (result,)
    return [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(part)]) for part in parts]


def make_record(config: Config, rows: dict[str, Any]) -> dict[str, Any]:
    """The record, with what it was measured on."""
    libraries = versions() | {"keras": importlib.metadata.version("keras")}
    return {
        "program": Path(__file__).name,
        "model": "keras.applications.MobileNetV2",
        "batch_size": config.batch_size,
        "image_size": config.image_size,
        "rounds": config.rounds,
        "steps": config.steps,
        "passes": rows,
        "device": describe_device(jax.devices()[0]),
        "versions": libraries,
        "git_commit": git_commit(),
    }


if __name__ == "__main__":
    sys.exit(main())

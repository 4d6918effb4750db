"""Accuracy with and without degridding: one small network in many variants, on three tasks.

    python experiments/benchmarks/gridding_accuracy.py  # everything: 1 to 2 hours on two cores
    python experiments/benchmarks/gridding_accuracy.py --tasks digits --variants naive

After each task, the record ``experiments/results/gridding_accuracy.json`` and a page of tables
beside it are rewritten.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal

import benchmark
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx
from gridding_study import report, tasks
from gridding_study.networks import VARIANTS, Network
from jax import Array

from dilax import analysis
from dilax.models import Preparation
from dilax.training import (
    Batch,
    Classification,
    Segmentation,
    Totals,
    TrainState,
    Weights,
    adamw,
    create_state,
    functional,
    load_into,
    make_train_step,
    make_train_steps,
    one_cycle,
    shuffled_batches,
)

TaskName = Literal["mnist", "cifar10", "digits"]
FIELD_IMAGES = 8
"""Number of test images over which gradients are averaged."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """Train every variant on every task with every seed, and write a record."""

    tasks: tuple[TaskName, ...] = ("mnist", "cifar10", "digits")
    """Tasks to train on."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Variants of the network to train."""
    seeds: int = 3
    """Number of runs of each variant on each task."""
    epochs: int = 3
    """Passes over the training images."""
    batch_size: int = 128
    """Images in a step; of canvases, whose pixels are all examples, a thirty-second of this."""
    learning_rate: float = 0.01
    """Peak of the one-cycle schedule."""
    weight_decay: float = 0.01
    """Weight decay of kernels, by AdamW."""
    limit: int = 20_000
    """Number of training images of mnist and of cifar10; 0 for all."""
    canvases: int = 1200
    """Number of training canvases of digits."""

    def __post_init__(self) -> None:
        if unknown := set(self.variants) - set(VARIANTS):
            raise ValueError(
                f"--variants must be of {', '.join(VARIANTS)}; got {', '.join(unknown)}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    found: dict[str, dict[str, Any]] = {}
    for name in config.tasks:
        task = make_task(name, config)
        found[name] = {}
        for variant in config.variants:
            started = time.perf_counter()
            found[name][variant] = row = compare(task, variant, config)
            mean = 100 * np.mean(row["held_out_accuracy"])
            print(f"{name:8} {variant:22} {mean:6.2f} %  {time.perf_counter() - started:4.0f} s")
        record = benchmark.write("gridding_accuracy", config, {"tasks": found})
        if "naive" in config.variants:
            path = config.output or benchmark.RESULTS / "gridding_accuracy.json"
            path.with_suffix(".md").write_text(report.page(record))
    return 0


def make_task(name: TaskName, config: Config) -> tasks.Task:
    """Load or compose the images and labels of a task."""
    if name == "digits":
        return tasks.composed_digits(train=config.canvases, held_out=500, test=1000)
    return tasks.classification(name, limit=config.limit, held_out=500)


def compare(task: tasks.Task, variant: str, config: Config) -> dict[str, Any]:
    """Train and measure a variant with all seeds."""
    batch_size = max(config.batch_size // 32, 1) if task.per_pixel else config.batch_size
    steps = task.train.size // batch_size * config.epochs
    learning_rate = one_cycle(config.learning_rate, total_steps=steps)
    optimizer = adamw(learning_rate, weight_decay=config.weight_decay)
    prepare = Preparation.of_images(np.asarray(task.train.inputs)).normalise
    apply = functional(make_network(task, variant, 0)).apply

    def augment(key: Array, batch: Batch, step: Array) -> Batch:
        return batch._replace(inputs=prepare(batch.inputs))

    judged = Segmentation(classes=task.classes) if task.per_pixel else Classification()
    train_step = make_train_step(apply, optimizer, task=judged, augment=augment)
    train_steps = jax.jit(make_train_steps(train_step), donate_argnums=(0, 1))

    @jax.jit
    def evaluate(weights: Weights, images: Array) -> Array:
        return apply(*weights, prepare(images), train=False)[0].argmax(axis=-1)

    rows = []
    for seed in range(config.seeds):
        network = make_network(task, variant, seed)
        _, params, batch_stats = functional(network)
        state = create_state(jax.random.key(seed), params, batch_stats, optimizer)
        for epoch in range(config.epochs):
            batches = shuffled_batches(
                state.order_key(epoch), num_examples=task.train.size, batch_size=batch_size
            )
            state, _ = train_steps(state, Totals.zero(judged), task.train, batches)
        rows.append(measure(task, network, state, evaluate, prepare))
    return {name: [row[name] for row in rows] for name in rows[0]} | {
        "parameters": analysis.parameter_count(params)
    }


def make_network(task: tasks.Task, variant: str, seed: int) -> Network:
    """Create a network, with parameters drawn from the seed."""
    make = functools.partial(
        Network,
        VARIANTS[variant],
        channels=task.train.inputs.shape[-1],
        classes=task.classes,
        per_pixel=task.per_pixel,
    )
    return make(rngs=nnx.Rngs(seed))


def measure(
    task: tasks.Task, network: Network, state: TrainState, evaluate: Any, prepare: Any
) -> dict[str, float]:
    """Measure a trained network's accuracy, and which inputs it uses."""
    weights = state.weights("final")
    load_into(network, *weights)
    network.eval()
    images = prepare(task.test.inputs[:FIELD_IMAGES])
    field = analysis.effective_receptive_field(network.features, images)
    touched, unevenness = gridding(field.weights)
    return {
        "accuracy": accuracy(functools.partial(evaluate, weights), task.test),
        "held_out_accuracy": accuracy(functools.partial(evaluate, weights), task.held_out),
        "touched": touched,
        "unevenness": unevenness,
    }


def accuracy(predict: Any, batch: Batch, *, batch_size: int = 250) -> float:
    """Compute the share of images, or of pixels of digits, that are classified correctly."""
    right, counted = 0, 0
    for start in range(0, len(batch.targets), batch_size):
        labels = batch.targets[start : start + batch_size]
        asked = labels != tasks.BACKGROUND if labels.ndim > 1 else jnp.ones(labels.shape, bool)
        told: Array = predict(batch.inputs[start : start + batch_size]) == labels
        right += int((told & asked).sum())
        counted += int(asked.sum())
    return right / counted


def gridding(weights: np.ndarray) -> tuple[float, float]:
    """Compute the share of inputs in the field that have a gradient, and their unevenness."""
    rows, columns = (np.flatnonzero(weights.any(axis=1 - axis)) for axis in range(2))
    inside = weights[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return float((inside > 0).mean()), float(inside.std() / inside.mean())


if __name__ == "__main__":
    sys.exit(main())

"""The training step of ``mnist_dsdc`` in dilax, in stock Flax and in PyTorch.

    pip install -e ".[torch]" && python experiments/benchmarks/step_speed.py

A step is the forward and backward pass, AdamW and batch statistics on one batch, without
augmentation. Every contestant starts from the same parameters, and is timed only if its logits
equal those of dilax. Each round gives one ratio to dilax. Freed memory is kept, as in the training
programs.
"""

import dataclasses
import functools
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import benchmark
import jax
import jax.numpy as jnp
import numpy as np
import optax
from baselines.stock_flax import StockMnistDSDC
from common.memory import keep_freed_memory
from flax import nnx
from jax import Array, lax

import dilax
from dilax.models import MnistDSDC
from dilax.training import Batch, create_state, functional, make_train_step

BASE = "dilax, in a scan"
"""The contestant that the others are compared with: it is how the training programs run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time training steps, with contestants that take turns, and write a record."""

    batch_size: int = 128
    """Images in a step."""
    steps: int = 8
    """Steps in a turn."""


def measure(config: Config) -> benchmark.Record:
    """Time the steps of all contestants."""
    keep_freed_memory()
    contestants = line_up(config, *examples(config.batch_size))
    times = benchmark.take_turns(contestants, rounds=config.rounds, steps=config.steps)
    rows = {
        name: {
            "milliseconds": benchmark.spread(each),
            "ratio": benchmark.spread(each / times[BASE]),
        }
        for name, each in times.items()
    }
    return {"model": "mnist_dsdc", "ratio_to": BASE, "contestants": rows}


def examples(batch_size: int) -> tuple[Array, Array]:
    """Return the first images of MNIST, normalised, and their labels."""
    train = dilax.data.load("mnist").splits["train"]
    images = jnp.asarray(train.images[:batch_size], jnp.float32) / 255
    return (images - 0.1307) / 0.3081, jnp.asarray(train.labels[:batch_size])


def line_up(config: Config, images: Array, labels: Array) -> dict[str, benchmark.Turn]:
    """Make all contestants that this machine can run."""
    model = MnistDSDC(rngs=nnx.Rngs(0))
    stock = StockMnistDSDC(model)
    expected = evaluate(model, images)
    np.testing.assert_allclose(evaluate(stock, images), expected, rtol=1e-3, atol=1e-3)
    found: dict[str, benchmark.Turn] = {}
    for name, network in (("dilax", model), ("stock Flax", stock)):
        step, state = training(network, images, labels)
        found[f"{name}, step by step"] = one_by_one(step, state, config.steps)
        found[f"{name}, in a scan"] = scanned(step, state, config.steps)
    if importlib.util.find_spec("torch") is not None:
        found["PyTorch, channels last"] = pytorch(model, images, labels, config.steps, expected)
    return found


def evaluate(network: nnx.Module, images: Array) -> Array:
    """Compute logits in evaluation mode, by running statistics."""
    apply, params, batch_stats = functional(network)
    return apply(params, batch_stats, images, train=False)[0]


def training(network: nnx.Module, images: Array, labels: Array) -> tuple[Callable, Any]:
    """Make a pure training step on one batch, and its initial state."""
    apply, params, batch_stats = functional(network)
    optimizer = optax.adamw(1e-3, weight_decay=1e-2)
    step = make_train_step(apply, optimizer, augment=lambda key, batch, step: batch)
    batch = Batch(images, labels)
    state = create_state(jax.random.key(0), params, batch_stats, optimizer)
    return lambda state: step(state, batch, state.step_key())[0], state


def one_by_one(step: Callable, state: Any, steps: int) -> benchmark.Turn:
    """Make a turn that calls a jitted step for each step."""
    compiled, _ = benchmark.compile_timed(step, state)

    def turn() -> object:
        now = state
        for _ in range(steps):
            now = compiled(now)
        return jax.block_until_ready(now)

    return turn


def scanned(step: Callable, state: Any, steps: int) -> benchmark.Turn:
    """Make a turn that runs all steps in one ``lax.scan``, as ``dilax.training`` runs an epoch."""

    def all_steps(state: Any) -> Any:
        return lax.scan(lambda state, _: (step(state), None), state, length=steps)[0]

    compiled, _ = benchmark.compile_timed(all_steps, state)
    return lambda: jax.block_until_ready(compiled(state))


def pytorch(
    model: MnistDSDC, images: Array, labels: Array, steps: int, expected: Array
) -> benchmark.Turn:
    """Make a turn of the same network, batch and optimiser in eager PyTorch."""
    import torch
    from baselines.pytorch import TorchMnistDSDC, steps_of, tensor

    network = TorchMnistDSDC(model)
    batch = tensor(images.transpose(0, 3, 1, 2)).to(memory_format=torch.channels_last)
    targets = tensor(labels).long()
    network.eval()
    with torch.no_grad():
        np.testing.assert_allclose(network(batch).numpy(), expected, rtol=1e-3, atol=1e-3)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    return steps_of(network, optimizer, batch, targets, steps)


def section(record: benchmark.Record) -> str:
    """Make a table of all contestants."""
    rows = [
        (name, benchmark.median(row["milliseconds"]), benchmark.median(row["ratio"]))
        for name, row in record["contestants"].items()
    ]
    table = benchmark.table(("training step", "ms", "time relative to dilax"), rows)
    return (
        f"{table}\n`{record['model']}`, batches of {record['config']['batch_size']}, float32; "
        f"{benchmark.provenance(record)}. The training programs of dilax run steps in a scan.\n"
    )


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

"""The training step of `mnist_dsdc`, against the same network in stock Flax and in PyTorch.

    pip install -e ".[torch]" && python experiments/benchmarks/step_speed.py

Forward, backward, AdamW and batch statistics on one batch, without augmentation; every contestant
starts from the same parameters, and is timed only after its logits were found equal to dilax's.
Contestants take turns, round by round, to compile and then to run, and each round gives one ratio
to dilax: the record `experiments/results/step_speed.json` holds the medians and the spread. Freed
memory is kept, as the training programs keep it.
"""

import collections
import dataclasses
import importlib.metadata
import importlib.util
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _programs  # noqa: F401
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from baselines.stock_flax import StockMnistDSDC
from common.memory import keep_freed_memory
from flax import nnx
from jax import Array, lax
from timing import Steps, compile_timed, spread, take_turns

import dilax
from dilax.models import MnistDSDC
from dilax.training import (
    Batch,
    create_state,
    describe_device,
    functional,
    git_commit,
    make_train_step,
    versions,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Time training steps, contestants taking turns, and write a record."""

    batch_size: int = 128
    """Images in a step."""
    rounds: int = 9
    """How often every contestant has its turn to run."""
    compiles: int = 5
    """How often each is compiled."""
    steps: int = 8
    """Steps in a turn."""
    output: Path = Path(__file__).parents[1] / "results" / "step_speed.json"
    """The record."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    images, labels = examples(config.batch_size)
    model = MnistDSDC(rngs=nnx.Rngs(0))
    contestants, compile_seconds = line_up(config, model, images, labels)
    milliseconds = take_turns(contestants, rounds=config.rounds, steps=config.steps)
    record = make_record(config, milliseconds, compile_seconds)
    config.output.write_text(json.dumps(record, indent=2) + "\n")
    for name, row in record["contestants"].items():
        print(f"{name:34} {row['milliseconds']['median']:8.2f} ms  {row['ratio']['median']:6.2f} x")
    return 0


def examples(batch_size: int) -> tuple[Array, Array]:
    """The first images of MNIST, normalised, and their labels."""
    train = dilax.data.load("mnist").splits["train"]
    images = jnp.asarray(train.images[:batch_size], jnp.float32) / 255
    return (images - 0.1307) / 0.3081, jnp.asarray(train.labels[:batch_size])


def line_up(
    config: Config, model: MnistDSDC, images: Array, labels: Array
) -> tuple[dict[str, Steps], dict[str, list[float]]]:
    """All contestants that this machine can run, and the seconds to compile each, turn by turn.

    The first turn, which also compiles what all share, does not count.
    """
    stock = StockMnistDSDC(model)
    jax_networks = {"dilax": model, "stock Flax": stock}
    expected = evaluate(model, images)
    np.testing.assert_allclose(evaluate(stock, images), expected, rtol=1e-3, atol=1e-3)
    forms = (("step by step", one_by_one), ("in a scan", scanned))
    contestants: dict[str, Steps] = {}
    compile_seconds: dict[str, list[float]] = collections.defaultdict(list)
    for turn in range(config.compiles + 1):
        for (name, network), (form, build) in itertools.product(jax_networks.items(), forms):
            label = f"{name}, {form}"
            contestants[label], seconds = build(network, images, labels, config.steps)
            compile_seconds[label] += [seconds] if turn else []
    if importlib.util.find_spec("torch") is not None:
        contestants["PyTorch, channels last"] = pytorch_steps(
            model, images, labels, config.steps, expected
        )
    return contestants, compile_seconds


def evaluate(network: nnx.Module, images: Array) -> Array:
    """Logits by running statistics."""
    apply, params, batch_stats = functional(network)
    return apply(params, batch_stats, images, train=False)[0]


def training(network: nnx.Module, images: Array, labels: Array) -> tuple[Callable, Any]:
    """The pure step on one batch, and its first state."""
    apply, params, batch_stats = functional(network)
    optimizer = optax.adamw(1e-3, weight_decay=1e-2)
    step = make_train_step(apply, optimizer, augment=lambda key, images, step: images)
    batch = Batch(images, labels)
    state = create_state(jax.random.key(0), params, batch_stats, optimizer)
    return lambda state: step(state, batch, state.step_key())[0], state


def one_by_one(network: nnx.Module, images: Array, labels: Array, steps: int) -> tuple:
    """One jitted call a step, and its seconds to compile."""
    step, state = training(network, images, labels)
    compiled, seconds = compile_timed(step, state)

    def run() -> object:
        now = state
        for _ in range(steps):
            now = compiled(now)
        return jax.block_until_ready(now)

    return run, seconds


def scanned(network: nnx.Module, images: Array, labels: Array, steps: int) -> tuple:
    """All steps in one `lax.scan`, as `dilax.training` runs an epoch; its seconds to compile."""
    step, state = training(network, images, labels)

    def all_steps(state: Any) -> Any:
        return lax.scan(lambda state, _: (step(state), None), state, length=steps)[0]

    compiled, seconds = compile_timed(all_steps, state)
    return lambda: jax.block_until_ready(compiled(state)), seconds


def pytorch_steps(
    model: MnistDSDC, images: Array, labels: Array, steps: int, expected: Array
) -> Steps:
    """Eager PyTorch, the same network, batch and optimiser."""
    import torch
    from baselines.pytorch import TorchMnistDSDC, tensor

    network = TorchMnistDSDC(model)
    batch = tensor(images.transpose(0, 3, 1, 2)).to(memory_format=torch.channels_last)
    targets = tensor(labels).long()
    network.eval()
    with torch.no_grad():
        np.testing.assert_allclose(network(batch).numpy(), expected, rtol=1e-3, atol=1e-3)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)

    def run() -> object:
        for _ in range(steps):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(batch), targets).backward()
            optimizer.step()
        return None

    return run


def compiling(name: str, seconds: dict[str, list[float]]) -> dict[str, Any] | None:
    """Seconds to compile one contestant, and how many times those of the stock form they are."""
    if name not in seconds:
        return None
    of_stock = np.asarray(seconds[name.replace("dilax", "stock Flax")])
    return {**spread(np.asarray(seconds[name])), "of_stock": spread(seconds[name] / of_stock)}


def make_record(
    config: Config, milliseconds: dict[str, list[float]], compile_seconds: dict[str, list[float]]
) -> dict[str, Any]:
    """Medians and spread; ratios are to dilax in a scan, as training runs it, round by round."""
    base = np.asarray(milliseconds["dilax, in a scan"])
    rows = {
        name: {
            "milliseconds": spread(np.asarray(times)),
            "ratio": spread(np.asarray(times) / base),
            "compile_seconds": compiling(name, compile_seconds),
        }
        for name, times in milliseconds.items()
    }
    libraries = versions()
    if "PyTorch, channels last" in milliseconds:
        libraries["torch"] = importlib.metadata.version("torch")
    return {
        "program": Path(__file__).name,
        "model": "mnist_dsdc",
        "batch_size": config.batch_size,
        "rounds": config.rounds,
        "steps": config.steps,
        "ratio_to": "dilax, in a scan",
        "contestants": rows,
        "device": describe_device(jax.devices()[0]),
        "versions": libraries,
        "git_commit": git_commit(),
    }


if __name__ == "__main__":
    sys.exit(main())

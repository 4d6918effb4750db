"""What merging the branches of a re-parameterised depthwise block saves, and what it changes.

    python experiments/benchmarks/merge_speed.py

Blocks of UniRepLKNet (its large kernel and the dilated ones beside it) in evaluation, as branches
with their normalisations and merged into one depthwise convolution. Writes
`experiments/results/merge_speed.json`.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from flax import nnx
from timing import compile_timed, repeated, spread, take_turns

from dilax.nn import ParallelDepthwiseConv
from dilax.training import describe_device, git_commit, versions

BLOCKS: dict[int, tuple[tuple[int, int], ...]] = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
}
"""Kernel size of a block, and (size, dilation) of the branches beside it.

Source: Ding et al., "UniRepLKNet" (2023).
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Time blocks before and after merging, and write a record."""

    batch_size: int = 16
    """Images in a call."""
    image_size: int = 28
    """Height and width of an image."""
    features: int = 96
    """Of each image."""
    rounds: int = 9
    """How often both forms have their turn."""
    steps: int = 8
    """Calls in a turn."""
    output: Path = Path(__file__).parents[1] / "results" / "merge_speed.json"
    """The record."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    rows = []
    for size, beside in BLOCKS.items():
        rows.append(row := compare(((size, 1), *beside), config))
        print(
            f"{size:2} x {size:<2} {row['branches']} branches, {row['taps']} taps, merged "
            f"{row['merged_taps']}: {row['times_faster']['median']:.2f} times faster, difference "
            f"{row['largest_relative_difference']:.1e}"
        )
    record = {
        "program": Path(__file__).name,
        "config": dataclasses.asdict(config) | {"output": config.output.name},
        "blocks": rows,
        "device": describe_device(jax.devices()[0]),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def compare(branches: Sequence[tuple[int, int]], config: Config) -> dict[str, Any]:
    """One block: the error of merging it, and how much faster it is after."""
    sizes, rates = zip(*branches, strict=True)
    block = trained(sizes, rates, config)
    x = images(config, seed=1)
    forms = {"branches": compiled(block, x), "merged": compiled(block.merged(), x)}
    expected, result = (np.asarray(call(held)) for call, held in forms.values())
    turns = {name: repeated(call, held, config.steps) for name, (call, held) in forms.items()}
    times = take_turns(turns, rounds=config.rounds, steps=config.steps)
    apart, merged = (np.asarray(times[name]) for name in forms)
    return {
        "branches": len(branches),
        "kernel_sizes": sizes,
        "kernel_dilation": rates,
        "taps": sum(size**2 for size in sizes),
        "merged_taps": max(sizes) ** 2,
        "milliseconds": {"branches": spread(apart), "merged": spread(merged)},
        "times_faster": spread(apart / merged),
        "largest_relative_difference": float(
            np.max(np.abs(expected - result)) / np.max(np.abs(expected))
        ),
    }


def trained(sizes: Sequence[int], rates: Sequence[int], config: Config) -> ParallelDepthwiseConv:
    """A block whose statistics are those of a batch."""
    block = ParallelDepthwiseConv(
        config.features,
        [(size, size) for size in sizes],
        kernel_dilation=rates,
        momentum=0.0,
        rngs=nnx.Rngs(0),
    )
    block(images(config, seed=0))
    block.eval()
    return block


def images(config: Config, *, seed: int) -> jax.Array:
    """Features of noise, neither centred nor of deviation one."""
    shape = (config.batch_size, config.image_size, config.image_size, config.features)
    return 1 + 2 * jax.random.normal(jax.random.key(seed), shape)


def compiled(module: nnx.Module, x: jax.Array) -> tuple[Callable, Any]:
    """The module's compiled function, and what it is called on."""
    graphdef, state = nnx.split(module)
    operands = (state, x)
    call, _ = compile_timed(lambda held: nnx.merge(graphdef, held[0])(held[1]), operands)
    return call, operands


if __name__ == "__main__":
    sys.exit(main())

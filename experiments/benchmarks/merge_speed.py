"""The time that merging the branches of a re-parameterised depthwise block saves.

    python experiments/benchmarks/merge_speed.py

Times UniRepLKNet's blocks (a large kernel, and parallel branches of small dilated kernels) in
evaluation mode, first as branches with batch normalisation, then merged into one depthwise
convolution.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import benchmark
import jax
import numpy as np
from flax import nnx

from dilax.nn import ParallelDepthwiseConv

BLOCKS: dict[int, tuple[tuple[int, int], ...]] = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
}
"""The kernel size of each block, and the (size, dilation) of each of its dilated branches.

Source: Ding et al., "UniRepLKNet" (2023).
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time blocks before and after merging, and write a record."""

    batch_size: int = 16
    """Images in a call."""
    image_size: int = 28
    """Height and width of an image."""
    features: int = 96
    """Channels of each image."""
    steps: int = 8
    """Calls in a turn."""


def measure(config: Config) -> benchmark.Record:
    """Compare all blocks."""
    return {"blocks": [compare(((size, 1), *beside), config) for size, beside in BLOCKS.items()]}


def compare(branches: Sequence[tuple[int, int]], config: Config) -> dict[str, Any]:
    """The error of merging one block, and how many times faster it is merged."""
    sizes, dilations = zip(*branches, strict=True)
    block = trained(sizes, dilations, config)
    x = images(config, seed=1)
    forms = {"branches": compiled(block, x), "merged": compiled(block.merged(), x)}
    expected, result = (np.asarray(call(held)) for call, held in forms.values())
    turns = {
        name: benchmark.repeated(call, held, config.steps) for name, (call, held) in forms.items()
    }
    times = benchmark.take_turns(turns, rounds=config.rounds, steps=config.steps)
    return {
        "branches": len(branches),
        "kernel_sizes": sizes,
        "kernel_dilation": dilations,
        "milliseconds": {name: benchmark.spread(each) for name, each in times.items()},
        "times_faster": benchmark.spread(times["branches"] / times["merged"]),
        "largest_relative_difference": float(
            np.abs(expected - result).max() / np.abs(expected).max()
        ),
    }


def trained(
    sizes: Sequence[int], dilations: Sequence[int], config: Config
) -> ParallelDepthwiseConv:
    """A block whose statistics are those of a batch."""
    block = ParallelDepthwiseConv(
        config.features,
        [(size, size) for size in sizes],
        kernel_dilation=dilations,
        momentum=0.0,
        rngs=nnx.Rngs(0),
    )
    block(images(config, seed=0))
    block.eval()
    return block


def images(config: Config, *, seed: int) -> jax.Array:
    """Noise of mean 1 and deviation 2."""
    shape = (config.batch_size, config.image_size, config.image_size, config.features)
    return 1 + 2 * jax.random.normal(jax.random.key(seed), shape)


def compiled(module: nnx.Module, x: jax.Array) -> tuple[Callable, Any]:
    """The module's compiled function, and its operands."""
    graphdef, state = nnx.split(module)
    operands = (state, x)
    call, _ = benchmark.compile_timed(lambda held: nnx.merge(graphdef, held[0])(held[1]), operands)
    return call, operands


def section(record: benchmark.Record) -> str:
    """Make a table of the blocks before and after merging."""
    rows = [
        (
            f"{max(row['kernel_sizes'])} x {max(row['kernel_sizes'])}",
            str(row["branches"]),
            benchmark.median(row["milliseconds"]["branches"]),
            benchmark.median(row["milliseconds"]["merged"]),
            benchmark.median(row["times_faster"]),
            f"{row['largest_relative_difference']:.0e}",
        )
        for row in record["blocks"]
    ]
    header = ("block", "branches", "ms, branches", "ms, merged", "times faster", "difference")
    config = record["config"]
    shape = (config["batch_size"], config["image_size"], config["image_size"], config["features"])
    return (
        f"{benchmark.table(header, rows)}\nUniRepLKNet's blocks in evaluation mode, on {shape} "
        f"float32. *Difference* is the largest difference between the results, relative to the "
        f"largest entry. These are {benchmark.provenance(record)}.\n"
    )


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

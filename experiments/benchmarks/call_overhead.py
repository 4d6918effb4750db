"""The overhead of dilax: the time of eager calls, tracing, lowering and compiling.

    python experiments/benchmarks/call_overhead.py

Compares dilax with lax and stock Flax in three ways. Short turns of dilax and of its baseline
alternate, and each round gives one ratio.

- Eager calls on an image so small that next to nothing is computed.
- Tracing and lowering a network of 50 separable blocks, forward and with its gradient, without
  compiling it.
- Tracing, lowering and compiling the training step of ``mnist_dsdc``.

JAX's caches are cleared before each tracing.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import benchmark
import jax
import jax.numpy as jnp
import numpy as np
import step_speed
from baselines.fifty_blocks import FiftyBlocks, StockFiftyBlocks
from baselines.stock_flax import StockMnistDSDC
from flax import nnx
from jax import Array, lax

import dilax
from dilax.models import MnistDSDC

SIZE, FEATURES = 8, 8
EAGER, TRACING = 1.5, 1.2
"""The largest ratios to the baseline that dilax aims at, for eager calls and for tracing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time calls, tracing, lowering and compiling against lax and stock Flax."""

    rounds: int = 101
    """Number of rounds of eager calls."""
    steps: int = 20
    """Calls in a turn."""
    traces: int = 15
    """Number of times that each network is traced and lowered."""
    compiles: int = 7
    """Number of times that each training step is compiled."""
    depth: int = 50
    """Blocks of the network that is traced."""
    batch_size: int = 128
    """Images in the training step that is compiled."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A row of the table: a turn of dilax and a turn of its baseline."""

    name: str
    baseline: str
    turns: tuple[benchmark.Turn, benchmark.Turn]
    most: float | None = None
    """The largest ratio that dilax aims at."""


def measure(config: Config) -> benchmark.Record:
    """Compare calls, tracing and compiling."""
    parts = (
        (eager_calls(config), config.rounds, config.steps),
        (lowerings(config), config.traces, 1),
        (compilations(config), config.compiles, 1),
    )
    return {
        "rows": [
            compare(comparison, rounds, steps)
            for comparisons, rounds, steps in parts
            for comparison in comparisons
        ]
    }


def compare(comparison: Comparison, rounds: int, steps: int) -> dict[str, Any]:
    """Time dilax and its baseline, and compute their ratio in each round."""
    turns = dict(zip(("dilax", "baseline"), comparison.turns, strict=True))
    times = benchmark.take_turns(turns, rounds=rounds, steps=steps)
    return {
        "name": comparison.name,
        "baseline": comparison.baseline,
        "milliseconds": {name: benchmark.spread(each) for name, each in times.items()},
        "ratio": benchmark.spread(times["dilax"] / times["baseline"]),
        "at_most": comparison.most,
    }


# --- eager calls ----------------------------------------------------------------------------------


def eager_calls(config: Config) -> list[Comparison]:
    """Pair functions of dilax with their counterparts in lax and Flax, all called eagerly."""
    x = jax.random.normal(jax.random.key(0), (1, SIZE, SIZE, FEATURES))
    kernel = jnp.ones((3, 3, 1, FEATURES)) / 9
    norm = dilax.BatchNormParams(*(jnp.full(FEATURES, value) for value in (1.0, 0.0, 0.0, 1.0)))
    block = dilax.SeparableBlockParams(kernel, jnp.eye(FEATURES), norm)
    pairs: dict[tuple[str, str, float | None], tuple[Callable[[Array], Any], ...]] = {
        ("depthwise_conv", "`lax.conv_general_dilated`", EAGER): (
            lambda x: dilax.depthwise_conv(x, kernel),
            lambda x: depthwise(lax.conv_general_dilated, x, kernel),
        ),
        ("conv_general_dilated", "`lax.conv_general_dilated`", EAGER): (
            lambda x: depthwise(dilax.conv_general_dilated, x, kernel),
            lambda x: depthwise(lax.conv_general_dilated, x, kernel),
        ),
        ("separable_block", "its four steps in lax", None): (
            lambda x: dilax.separable_block(x, block, use_running_average=True)[0],
            lambda x: lax_block(x, kernel, jnp.eye(FEATURES)[None, None], norm),
        ),
        ("max_pool", "`flax.nnx.max_pool`", None): (
            lambda x: dilax.max_pool(x, (2, 2), strides=(2, 2)),
            lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2)),
        ),
    }
    found = []
    for (name, baseline, most), pair in pairs.items():
        np.testing.assert_allclose(pair[0](x), pair[1](x), rtol=1e-4, atol=1e-5)
        ours, theirs = (benchmark.repeated(call, x, config.steps) for call in pair)
        found.append(Comparison(f"eager `{name}`", baseline, (ours, theirs), most))
    return found


def depthwise(convolution: Callable[..., Array], x: Array, kernel: Array) -> Array:
    """Call ``convolution``, which has lax's signature, to compute a depthwise convolution."""
    return convolution(
        x,
        kernel,
        (1, 1),
        "SAME",
        feature_group_count=x.shape[-1],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def lax_block(x: Array, kernel: Array, pointwise: Array, norm: dilax.BatchNormParams) -> Array:
    """Compute a separable block in evaluation mode with lax, as one would write it by hand."""
    y = depthwise(lax.conv_general_dilated, x, kernel)
    layout = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(y, pointwise, (1, 1), "VALID", dimension_numbers=layout)
    scale, bias, mean, var = (jnp.expand_dims(each, (0, 1, 2)) for each in norm)
    return jax.nn.relu((y - mean) * lax.rsqrt(var + 1e-5) * scale + bias)


# --- tracing, lowering, compiling -----------------------------------------------------------------


def lowerings(config: Config) -> list[Comparison]:
    """Trace and lower a deep network, forward and with its gradient."""
    ours = FiftyBlocks(config.depth, rngs=nnx.Rngs(0))
    stock = StockFiftyBlocks(ours)
    images = jnp.ones((1, 32, 32, 16))

    def turn(network: nnx.Module, gradient: bool) -> benchmark.Turn:
        function, state = pure(network, gradient=gradient)
        return cold(lambda: jax.jit(function).lower(*state, images))

    return [
        Comparison(
            f"tracing and lowering {config.depth} separable blocks, {name}",
            "stock Flax",
            (turn(ours, gradient), turn(stock, gradient)),
            TRACING,
        )
        for name, gradient in (("forward", False), ("gradient", True))
    ]


def pure(network: nnx.Module, *, gradient: bool) -> tuple[Callable[..., Any], Sequence[Any]]:
    """Convert a network in training mode to a pure function, or to the gradient of one."""
    graphdef, *state = nnx.split(network, nnx.Param, ...)

    def total(params: Any, statistics: Any, images: Array) -> tuple[Array, Any]:
        merged = nnx.merge(graphdef, params, statistics, copy=True)
        return merged(images).sum(), nnx.state(merged, nnx.BatchStat)

    return (jax.grad(total, has_aux=True) if gradient else total), state


def compilations(config: Config) -> list[Comparison]:
    """Trace, lower and compile the training step of ``mnist_dsdc``."""
    examples = step_speed.examples(config.batch_size)
    model = MnistDSDC(rngs=nnx.Rngs(0))

    def turn(network: nnx.Module) -> benchmark.Turn:
        step, state = step_speed.training(network, *examples)
        return cold(lambda: benchmark.compile_timed(step, state))

    turns = turn(model), turn(StockMnistDSDC(model))
    return [Comparison("compiling a training step of `mnist_dsdc`", "stock Flax", turns, TRACING)]


def cold(task: benchmark.Turn) -> benchmark.Turn:
    """Make a turn that clears JAX's caches before it runs ``task``."""

    def turn() -> object:
        jax.clear_caches()
        return task()

    return turn


# --- the table ------------------------------------------------------------------------------------


def section(record: benchmark.Record) -> str:
    """Make the table of all comparisons."""
    rows = [
        (
            row["name"],
            row["baseline"],
            *(duration(row["milliseconds"][who]["median"]) for who in ("baseline", "dilax")),
            benchmark.median(row["ratio"], 2),
            "{quartile_1:.2f} to {quartile_3:.2f}".format_map(row["ratio"]),
            "" if row["at_most"] is None else str(row["at_most"]),
            str(row["ratio"]["n"]),
        )
        for row in record["rows"]
    ]
    header = ("call", "baseline", "time of baseline", "time of dilax", "ratio", "quartiles")
    table = benchmark.table((*header, "target", "rounds"), rows)
    return (
        f"{table}\n*Ratio* is the time of dilax divided by that of the baseline: below 1, dilax is "
        f"faster. Times and ratios are medians, {benchmark.where(record)}.\n"
    )


def duration(milliseconds: float) -> str:
    """Format a time in microseconds, milliseconds or seconds."""
    if milliseconds < 1:
        return f"{1000 * milliseconds:.0f} µs"
    return f"{milliseconds:.1f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

"""Whether the rewritten passes of convolutions pay on a device: lax, dilax, shifted slices.

    pip install -e ".[train,cuda13]"
    python experiments/benchmarks/gpu.py

The cases are those of ``compiled_for_gpu.py``, which compiles them without a device; here they run
on JAX's default device, forward and both gradients, and the contestants take turns. The table has
milliseconds, how many times faster than lax dilax is, and the share of the device's copy bandwidth
that dilax reaches, if every operand were read once and every result written once. One device is
enough; with ``--dtype bfloat16`` the same in half precision.
"""

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import benchmark
import jax
import jax.numpy as jnp
import numpy as np
from compiled_for_gpu import CASES, Case, passes

import dilax
from dilax.algorithms import Algorithm

CONTESTANTS: Mapping[str, Algorithm | None] = {
    "lax": dilax.algorithms.lax,
    "dilax": None,
    "shifted slices": dilax.algorithms.shift_and_add,
}
"""Algorithms by name; dilax's is the one it chooses for the device."""
MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time dilated convolutions on JAX's default device, and write a record."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of all arrays."""
    turn_milliseconds: float = 20.0
    """Least duration of a turn, in calls that wait for the last one."""
    copied: int = 256
    """Size of the array that is copied to measure the bandwidth, in MiB."""


def measure(config: Config) -> benchmark.Record:
    """Time a copy, then every pass of every case."""
    return {
        "bytes_per_second": copy_bandwidth(config),
        "rows": [row for case in CASES for row in measure_case(case, config)],
    }


def copy_bandwidth(config: Config) -> float:
    """Measure the bytes per second that are read and written by a copy of a large array."""
    array = jnp.ones(config.copied * MEBIBYTE // 4, jnp.float32)
    copy = jax.jit(lambda x: x + 1).lower(array).compile()
    steps = benchmark.steps_within(config.turn_milliseconds, copy, array)
    times = benchmark.take_turns(
        {"copy": benchmark.repeated(copy, array, steps)}, rounds=config.rounds, steps=steps
    )
    return 2 * array.nbytes / (float(np.median(times["copy"])) / 1000)


def measure_case(case: Case, config: Config) -> list[benchmark.Record]:
    """Time the passes of one convolution by all contestants.

    Each pass reads two of input, kernel and output, and writes the third.
    """
    depthwise = case.kernel[-2] == 1
    names = [name for name in CONTESTANTS if depthwise or name != "shifted slices"]
    functions = {name: passes(case, CONTESTANTS[name]) for name in names}
    all_three = functions["lax"]["kernel gradient"][1]
    moved = sum(array.nbytes for array in arrays(all_three, config.dtype))
    rows: list[benchmark.Record] = []
    for which, (_, shapes) in functions["lax"].items():
        operands = arrays(shapes, config.dtype)
        compiled = {name: compile_pass(functions[name][which][0], operands) for name in names}
        rows.append(
            {
                "case": case.name,
                "pass": which,
                "bytes": moved,
                "milliseconds": race(compiled, operands, config),
            }
        )
    return rows


def arrays(shapes: Sequence[Sequence[int]], dtype: str) -> list[jax.Array]:
    """Draw the operands of a pass."""
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [
        jax.random.normal(key, tuple(shape), dtype) for key, shape in zip(keys, shapes, strict=True)
    ]


def compile_pass(function: Any, operands: Sequence[jax.Array]) -> Any:
    """Compile a pass for the default device, as a function of the list of its operands."""
    return jax.jit(lambda given: function(*given)).lower(operands).compile()


def race(
    compiled: Mapping[str, Any], operands: Sequence[jax.Array], config: Config
) -> dict[str, dict[str, float]]:
    """Time all contestants in turns of equally many calls."""
    steps = benchmark.steps_within(config.turn_milliseconds, compiled["lax"], operands)
    turns = {name: benchmark.repeated(call, operands, steps) for name, call in compiled.items()}
    times = benchmark.take_turns(turns, rounds=config.rounds, steps=steps)
    return {name: benchmark.spread(each) for name, each in times.items()}


def section(record: benchmark.Record) -> str:
    """Make the table."""
    rows = []
    for row in record["rows"]:
        medians = {name: each["median"] for name, each in row["milliseconds"].items()}
        share = row["bytes"] / (medians["dilax"] / 1000) / record["bytes_per_second"]
        times = [f"{medians[name]:.3f}" if name in medians else "" for name in CONTESTANTS]
        faster = f"{medians['lax'] / medians['dilax']:.2f}"
        rows.append((row["case"], row["pass"], *times, faster, f"{share:.0%}"))
    titles = (
        *("convolution", "pass"),
        *(f"{name}, ms" for name in CONTESTANTS),
        *("times faster than lax", "share of copy bandwidth"),
    )
    return (
        f"{benchmark.table(titles, rows)}\nA copy moves "
        f"{record['bytes_per_second'] / 1e9:,.0f} GB/s; {benchmark.provenance(record)}.\n"
    )


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

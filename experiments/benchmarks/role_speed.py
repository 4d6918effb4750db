"""Convolutions and pools in every role, accelerated, against lax: time, memory and compiling.

    python experiments/benchmarks/role_speed.py

A derivative of a convolution is a convolution in which the arrays change roles: a kernel may be as
large as an image, and an image may be spread. The program generates convolutions (plain, strided,
transposed, dilated, to many features and to few) and times for each its value, both of its
gradients, and both gradients of a penalty on the input's gradient. Three programs take turns: lax's
own, ``accelerate`` applied to the derivative, and the derivative of the accelerated function.
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import benchmark
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

import dilax

LETTERS = {1: "W", 2: "HW", 3: "DHW"}
IMAGES = {1: (1024,), 2: (28, 28), 3: (8, 14, 14)}
BATCH = 8
LEAST = 0.9
"""Ratio of times under which a row is listed as a loss."""

Function = Callable[..., Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time accelerated derivatives of convolutions against lax, and write a record."""

    rounds: int = 5
    """Number of rounds; every contestant has one turn in each."""
    milliseconds: float = 20.0
    """Approximate duration of a turn, in milliseconds."""


class Operation(NamedTuple):
    """A function of arrays, and the arrays."""

    name: str
    function: Function
    operands: tuple[Array, ...]


def measure(config: Config) -> benchmark.Record:
    """Time every derivative of every operation."""
    return {"rows": [row for each in operations() for row in rows(each, config)]}


def rows(operation: Operation, config: Config) -> Iterator[dict[str, Any]]:
    """Return a row for each derivative."""
    for name, derivative in DERIVATIVES.items():
        function, accelerated = operation.function, dilax.accelerate(operation.function)
        programs = {
            "lax": derivative(function),
            "outside": dilax.accelerate(derivative(function)),
            "inside": derivative(accelerated),
        }
        found = compare(programs, operation.operands, config)
        faster = found["times_faster"]["outside"]["median"]
        print(f"{operation.name:40} {name:10} {faster}", file=sys.stderr, flush=True)
        yield {"operation": operation.name, "derivative": name, **found}


def compare(
    programs: Mapping[str, Function], operands: tuple[Array, ...], config: Config
) -> dict[str, Any]:
    """Compile the programs and let them take turns."""
    compiled, seconds, memory = {}, {}, {}
    for name, program in programs.items():
        call, seconds[name] = benchmark.compile_timed(lambda held, f=program: f(*held), operands)
        memory[name] = int(call.memory_analysis().temp_size_in_bytes)  # type: ignore[attr-defined]
        compiled[name] = call
    calls = compiled.values()
    steps = min(benchmark.steps_within(config.milliseconds, call, operands) for call in calls)
    turns = {name: benchmark.repeated(call, operands, steps) for name, call in compiled.items()}
    times = benchmark.take_turns(turns, rounds=config.rounds, steps=steps)
    return {
        "milliseconds": {name: benchmark.spread(each) for name, each in times.items()},
        "times_faster": {
            name: benchmark.spread(times["lax"] / times[name]) for name in ("outside", "inside")
        },
        "seconds_to_compile": {name: float(f"{each:.3g}") for name, each in seconds.items()},
        "temporary_bytes": memory,
    }


# --- the derivatives ------------------------------------------------------------------------------


def value(function: Function) -> Function:
    """Return the function itself."""
    return function


def gradients(function: Function) -> Callable[..., Any]:
    """Differentiate a loss that is not linear in the result, by every operand."""

    def loss(*operands: Array) -> Array:
        return jnp.sum(jnp.sin(function(*operands).astype(jnp.float32)))

    return lambda *operands: jax.grad(loss, range(len(operands)))(*operands)


def penalty(function: Function) -> Callable[..., Any]:
    """Differentiate a penalty on the first operand's gradient, by every operand."""
    return gradients(lambda *operands: gradients(function)(*operands)[0])


DERIVATIVES = {"value": value, "gradients": gradients, "penalty": penalty}


# --- the operations -------------------------------------------------------------------------------

FEATURES = ((16, 3, 1), (64, 1, 1), (32, 32, 32), (32, 32, 1), (3, 32, 1))
"""In-features, out-features and groups."""
WINDOWS: dict[str, dict[str, int]] = {
    "3": {"size": 3},
    "4 stride 2": {"size": 4, "window_strides": 2},
    "4 transposed 2": {"size": 4, "lhs_dilation": 2},
    "3 dilated 2": {"size": 3, "rhs_dilation": 2},
}
OTHERS = (
    # The last layers of generators and decoders, and a critic's first.
    ((64, 64), (16, 3, 1), {"size": 4, "lhs_dilation": 4}, "float32"),
    ((14, 14), (64, 1, 1), {"size": 4, "lhs_dilation": 2}, "float32"),
    ((16, 16), (64, 32, 1), {"size": 2, "lhs_dilation": 2}, "float32"),
    ((8, 14, 14), (16, 8, 1), {"size": 4, "lhs_dilation": 2}, "float32"),
    ((28, 28), (64, 1, 1), {"size": 7}, "float32"),
    ((28, 28), (64, 64, 1), {"size": 3}, "bfloat16"),
    ((28, 28), (64, 64, 1), {"size": 3}, "float16"),
    ((1024,), (64, 64, 64), {"size": 4, "lhs_dilation": 2}, "float32"),
)


def operations() -> Iterator[Operation]:
    """Generate the operations."""
    for features in FEATURES:
        for window in WINDOWS.values():
            yield convolution(IMAGES[2], features, window, "float32")
    for case in OTHERS:
        yield convolution(*case)
    for size, stride in ((28, 28), (28, 1), (14, 7), (3, 2)):
        yield maximum(size, stride)


def convolution(
    size: tuple[int, ...], features: tuple[int, int, int], window: dict[str, int], dtype: str
) -> Operation:
    """Make a convolution of lax."""
    (in_features, out_features, groups), rank = features, len(size)
    steps = {"window_strides": 1} | window
    span = (steps.pop("size") - 1) * steps.get("rhs_dilation", 1)
    axes: dict[str, Any] = {name: (step,) * rank for name, step in steps.items()}
    layout = f"N{LETTERS[rank]}C", f"{LETTERS[rank]}IO", f"N{LETTERS[rank]}C"

    def function(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            padding=((span // 2, span - span // 2),) * rank,
            dimension_numbers=layout,
            feature_group_count=groups,
            **axes,
        )

    kernel = (window["size"],) * rank + (in_features // groups, out_features)
    name = f"{'x'.join(map(str, size))}x{in_features} to {out_features}"
    name += "".join(f" {what} {step}" for what, step in window.items())
    name += (f" groups {groups}" if groups > 1 else "") + (
        f" {dtype}" if dtype != "float32" else ""
    )
    return Operation(name, function, drawn(((BATCH, *size, in_features), kernel), dtype))


def maximum(size: int, stride: int) -> Operation:
    """Make a maximum pool of lax."""

    def function(x: Array) -> Array:
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "VALID")

    name = f"28x28x64 maximum of {size} stride {stride}"
    return Operation(name, function, drawn(((BATCH, 28, 28, 64),), "float32"))


def drawn(shapes: tuple[tuple[int, ...], ...], dtype: str) -> tuple[Array, ...]:
    """Draw arrays of these shapes."""
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)


# --- the report -----------------------------------------------------------------------------------


def section(record: benchmark.Record) -> str:
    """Make a table of the derivatives, and list the rows in which lax is faster."""
    table = [summary(name, record["rows"]) for name in DERIVATIVES]
    header = ("", "rows", "outside", "lowest", "inside", "lowest", "most memory")
    losses = [
        f"{row['derivative']} of {row['operation']} ({where} {of['median']:.2f})"
        for row in record["rows"]
        for where, of in row["times_faster"].items()
        if of["median"] < LEAST
    ]
    listed = f"Under {LEAST}: {'; '.join(losses)}." if losses else f"No row is under {LEAST}."
    return f"{benchmark.table(header, table)}\n{listed}\n\n{benchmark.provenance(record)}.\n"


def summary(derivative: str, found: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return a line of the table: geometric means and lowest ratios."""
    of = [row for row in found if row["derivative"] == derivative]
    cells = [derivative, str(len(of))]
    for place in ("outside", "inside"):
        ratios = [row["times_faster"][place]["median"] for row in of]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        cells += [f"{mean:.2f}", f"{min(ratios):.2f}"]
    memory = max(
        row["temporary_bytes"]["outside"] / max(row["temporary_bytes"]["lax"], 1 << 20)
        for row in of
    )
    return (*cells, f"{memory:.1f}")


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

"""Where the time of a forward pass goes: XLA's profile of whole networks, by kind of operation.

    pip install -e ".[baselines]" && python experiments/benchmarks/forward_profile.py

Each network is compiled as ``dilax.inference.compile`` chooses, and JAX's profiler says how long
each operation of the compiled program took. The kinds are told by what XLA has fused into an
operation. Some run beside each other, and products also in threads that the profiler does not see,
so their times do not add up to the time of a call.
"""

import collections
import dataclasses
import functools
import gzip
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import benchmark
import jax
import numpy as np
from forward import by_jax

import dilax
from dilax.inference._race import FORMS

PRODUCTS = "matrix products"
CONVOLUTIONS = "convolutions of lax"
DEPTHWISE = "depthwise convolutions"
PADDING = "padding, alone or with what is before it"
SUMS = "sums"
REST = "normalisation, bias, activations and copies"
HOLDERS = frozenset(("call", "conditional", "while"))
"""Operations that consist of others, which have times of their own."""
TAPS = 4
"""An operation that adds as many slices at least is a depthwise convolution."""
DEFINITION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = .*? ([\w-]+)\(")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
CALLED = re.compile(r"calls=%?([\w.-]+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """Profile forward passes of whole networks, and write a record."""

    cases: tuple[str, ...] = ("MobileNetV2 1@96", "MobileNetV2 16@96", "ConvNeXt-T 16@96")
    """Networks, each with a number of images and their height and width."""
    calls: int = 20
    """Calls that are profiled; the record has their means."""
    longest: int = 5
    """How many single operations are listed."""

    def __post_init__(self) -> None:
        if self.calls < 1:
            raise ValueError(f"--calls must be at least 1, got {self.calls}.")


def measure(config: Config) -> benchmark.Record:
    """Profile every network."""
    return {"cases": {case: profiled(case, config) for case in config.cases}}


def profiled(case: str, config: Config) -> dict[str, Any]:
    """Compile and profile one network."""
    name, size = case.split()
    batch, side = map(int, size.split("@"))
    network = by_jax.NETWORKS[name](side)
    shape = (batch, side, side, by_jax.CHANNELS.get(name, 3))
    images = jax.numpy.asarray(np.random.default_rng(0).standard_normal(shape), np.float32)
    function = functools.partial(network.apply, network.weights)
    chosen = dilax.inference.compile(function, images)
    form = FORMS[chosen.way.partition(",")[0]](function)
    options = dict(chosen.compiler_options)
    call = jax.jit(form).lower(images).compile(compiler_options=options)
    times = operations(lambda: jax.block_until_ready(call(images)), config.calls)
    program = read_program(call.as_text() or "")
    kinds: collections.Counter[str] = collections.Counter()
    for operation, milliseconds in times.items():
        kinds[program[operation].kind] += milliseconds  # type: ignore[assignment]
    kinds.pop("", None)
    alone = {name: each for name, each in times.items() if program[name].kind}
    longest = sorted(alone, key=alone.__getitem__, reverse=True)[: config.longest]
    return {
        "way": chosen.way,
        "milliseconds": chosen.milliseconds[chosen.way],
        "kinds": dict(kinds.most_common()),
        "longest": [
            {"shape": program[name].shape, "kind": program[name].kind, "milliseconds": alone[name]}
            for name in longest
        ],
    }


def operations(call: Callable[[], object], calls: int) -> dict[str, float]:
    """Return the milliseconds of each operation of a compiled program, by its name in the HLO."""
    call()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                call()
        (path,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    found: collections.Counter[str] = collections.Counter()
    for event in events:
        if "hlo_op" in event.get("args", {}):
            found[event["args"]["hlo_op"]] += event["dur"] / 1000 / calls
    return dict(found)


class Operation(NamedTuple):
    """An operation of a compiled program."""

    kind: str
    """What it does; empty if it consists of other operations."""
    shape: str


def read_program(text: str) -> Mapping[str, Operation]:
    """Read the operations of an optimised HLO program, by name.

    >>> text = '''
    ... %inner (a: f32[2,3]) -> f32[2,4] {
    ...   ROOT %dot.1 = f32[2,4] dot(%a, %b)
    ... }
    ... ENTRY %main (a: f32[2,3]) -> f32[2,4] {
    ...   ROOT %fusion.7 = f32[2,4] fusion(%a), kind=kCustom, calls=%inner
    ... }'''
    >>> read_program(text)["fusion.7"]
    Operation(kind='matrix products', shape='f32[2,4]')
    """
    bodies: dict[str, list[str]] = {}
    lines: dict[str, tuple[str, str]] = {}
    body: list[str] = []
    for line in text.splitlines():
        if started := COMPUTATION.match(line):
            body = bodies.setdefault(started.group(1), [])
        elif found := DEFINITION.match(line):
            name, opcode = found.groups()
            body.append(opcode)
            lines[name] = opcode, line
    return {name: _operation(opcode, line, bodies) for name, (opcode, line) in lines.items()}


def _operation(opcode: str, line: str, bodies: Mapping[str, list[str]]) -> Operation:
    shape = line.split(" = ")[1].split(" ")[0].partition("{")[0]
    if opcode in HOLDERS:
        return Operation("", shape)
    called = CALLED.search(line)
    inside = collections.Counter(bodies.get(called.group(1), ()) if called else (opcode,))
    if "dot" in inside or "matmul" in line:
        return Operation(PRODUCTS, shape)
    if "convolution" in inside:
        return Operation(CONVOLUTIONS, shape)
    if min(inside["slice"], inside["add"]) >= TAPS:
        return Operation(DEPTHWISE, shape)
    if "pad" in inside:
        return Operation(PADDING, shape)
    return Operation(SUMS if inside["reduce"] or inside["reduce-window"] else REST, shape)


# --- the table ------------------------------------------------------------------------------------


def section(record: benchmark.Record) -> str:
    """Make the table of all networks."""
    found = record["cases"]
    kinds = {kind: None for case in found.values() for kind in case["kinds"]}
    rows: list[tuple[str, ...]] = [
        ("time of a call", *(f"{case['milliseconds']:.2f}" for case in found.values()))
    ]
    rows += [
        (kind, *(f"{case['kinds'].get(kind, 0):.2f}" for case in found.values())) for kind in kinds
    ]
    table = benchmark.table(("milliseconds", *found), rows)
    return f"{table}\nMeans of {record['config']['calls']} calls, {benchmark.where(record)}.\n"


main = functools.partial(benchmark.run, Config, measure, section, libraries=benchmark.OTHERS)

if __name__ == "__main__":
    sys.exit(main())

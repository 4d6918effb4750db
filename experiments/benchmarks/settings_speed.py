"""The effect of each setting of the algorithms on speed.

    python experiments/benchmarks/settings_speed.py

Times the passes of a few convolutions with several values of one setting at a time; all other
settings are as ``dilax._choice`` chooses them. The constants of ``dilax._choice`` are based on this
measurement.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import benchmark
import jax
import numpy as np

from dilax import _choice, algorithms
from dilax._choice import PassName, Problem
from dilax.algorithms import Algorithm
from dilax.geometry import ConvGeometry, canonical_geometry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time algorithms with the chosen settings and with others, and write a record."""

    milliseconds: float = 20.0
    """Approximate duration of a turn, in milliseconds."""


class Convolution(NamedTuple):
    """A convolution to time."""

    batch: int
    size: tuple[int, ...]
    features: int
    kernel_size: tuple[int, ...]
    stride: int = 1
    dilation: int = 1
    groups: int | None = None  # as many as features
    out_features: int | None = None  # as many as features

    @property
    def geometry(self) -> ConvGeometry:
        """Its geometry."""
        return canonical_geometry(
            self.size,
            self.kernel_size,
            strides=self.stride,
            padding="SAME",
            kernel_dilation=self.dilation,
            feature_group_count=self.groups or self.features,
        )

    @property
    def problem(self) -> Problem:
        """The problem that ``dilax._choice`` is given."""
        outputs = self.out_features or self.features
        return Problem(self.geometry, self.features, outputs, self.batch)

    def __str__(self) -> str:
        sizes = "x".join(map(str, (self.batch, *self.size, self.features)))
        text = f"{sizes} k{'x'.join(map(str, self.kernel_size))}"
        text += f" s{self.stride}" if self.stride > 1 else ""
        text += f" d{self.dilation}" if self.dilation > 1 else ""
        return text + (f" g{self.groups}" if self.groups else "")


IMAGES = (
    Convolution(8, (56, 56), 96, (3, 3)),
    Convolution(32, (14, 14), 24, (3, 3)),
    Convolution(32, (14, 14), 12, (3, 3)),
    Convolution(8, (56, 56), 96, (3, 3), 2),
    Convolution(8, (33, 33), 128, (3, 3), 1, 6),
    Convolution(8, (28, 28), 96, (5, 5)),
    Convolution(8, (28, 28), 48, (7, 7)),
)
SEQUENCES = (Convolution(8, (1024,), 64, (3,), 1, 4), Convolution(8, (1024,), 64, (9,)))
GROUPED = (
    Convolution(8, (28, 28), 64, (3, 3), groups=8),
    Convolution(8, (14, 14), 256, (3, 3), groups=32),
)
DENSE = (
    Convolution(16, (28, 28), 32, (3, 3), groups=1),
    Convolution(16, (56, 56), 3, (7, 7), 2, groups=1, out_features=64),
    Convolution(8, (28, 28), 64, (3, 3), 1, 2, groups=1),
    Convolution(64, (28, 28), 16, (3, 3), groups=1),
    Convolution(16, (14, 14), 256, (3, 3), groups=1),
    Convolution(16, (56, 56), 64, (3, 3), 2, groups=1, out_features=128),
    Convolution(2, (8, 28, 28), 64, (3, 3, 3), groups=1),
)


class Question(NamedTuple):
    """A setting, the passes that have it, and the values to time."""

    setting: str
    algorithm: Algorithm
    passes: tuple[PassName, ...]
    convolutions: tuple[Convolution, ...]
    values: Callable[[Problem], dict[str, Any]]


def blocks(problem: Problem) -> dict[str, Any]:
    """Return blocks with running sums of several sizes, and no blocks."""
    sizes = {"384 kB": 3 << 17, "1.5 MB": 3 << 19, "6 MB": 3 << 21}
    found = {
        name: _choice._blocks(problem, sums_bytes=size, few_products=0)
        for name, size in sizes.items()
    }
    return {**found, "as they stand": None}


def patches(problem: Problem) -> dict[str, Any]:
    """Return blocks with patches of several sizes."""
    sizes = {"2 MB": 1 << 21, "8 MB": 1 << 23, "32 MB": 1 << 25}
    by_row = _choice._long_rows(problem)
    return {
        name: _choice._patch_block(problem, each, by_row=by_row) for name, each in sizes.items()
    }


def both(problem: Problem) -> dict[str, Any]:
    """Return true and false."""
    del problem
    return {"yes": True, "no": False}


def unrolled(problem: Problem) -> dict[str, Any]:
    """Return settings that write out all terms of a sum, or none."""
    del problem
    return {"written out": 1000, "in a loop": 1}


QUESTIONS = (
    Question(
        "padded", algorithms.shift_and_add, ("conv", "input_gradient"), IMAGES + SEQUENCES, both
    ),
    Question(
        "unrolled_taps",
        algorithms.shift_and_add,
        ("conv",),
        (*IMAGES[-2:], Convolution(4, (28, 28), 32, (11, 11))),
        unrolled,
    ),
    Question("by_phase", algorithms.shift_and_add, ("input_gradient",), (IMAGES[3],), both),
    Question("by_phase", algorithms.im2col, ("input_gradient",), (DENSE[1],), both),
    Question("blocks", algorithms.shift_and_add, ("kernel_gradient",), IMAGES + SEQUENCES, blocks),
    Question("block", algorithms.im2col, ("kernel_gradient",), DENSE, patches),
    Question("by_row", algorithms.im2col, ("kernel_gradient",), DENSE, both),
    Question(
        "unrolled_groups",
        algorithms.per_group,
        ("conv", "kernel_gradient"),
        GROUPED,
        unrolled,
    ),
)


def measure(config: Config) -> benchmark.Record:
    """Time all settings of all convolutions."""
    return {"rows": [row for question in QUESTIONS for row in answers(question, config)]}


def answers(question: Question, config: Config) -> Iterator[dict[str, Any]]:
    """Return a row for each convolution and pass that a question is about."""
    for convolution in question.convolutions:
        for name in question.passes:
            chosen = _choice.choose("cpu", name, convolution.problem, question.algorithm).settings
            values = question.values(convolution.problem)
            forms = {
                label: dict(chosen) | {question.setting: value} for label, value in values.items()
            }
            times, compiling = timed(question.algorithm, name, convolution, forms, config)
            best = min(times, key=lambda label: float(np.median(times[label])))
            taken = next((label for label, form in forms.items() if same(form, chosen)), None)
            ratios = None if taken is None else times[taken] / times[best]
            yield {
                "algorithm": question.algorithm.name,
                "setting": question.setting,
                "pass": name,
                "convolution": str(convolution),
                "milliseconds": {label: benchmark.spread(each) for label, each in times.items()},
                "seconds_to_compile": compiling,
                "fastest": best,
                "chosen": taken,
                "chosen_over_fastest": None if ratios is None else benchmark.spread(ratios),
            }


def same(form: dict[str, Any], chosen: Any) -> bool:
    """Test whether a form is the chosen one; any number above the terms writes out all of them."""
    limits = ("unrolled_taps", "unrolled_groups")
    return all(
        (value > 1) == (form[key] > 1) if key in limits else form[key] == value
        for key, value in chosen.items()
    )


def timed(
    algorithm: Algorithm,
    name: PassName,
    convolution: Convolution,
    forms: dict[str, dict[str, Any]],
    config: Config,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Time every form, taking turns; return milliseconds, and seconds to compile."""
    operands = drawn(convolution, name)
    compiled, seconds = {}, {}
    for label, settings in forms.items():
        run = functools.partial(getattr(algorithm, name), geometry=convolution.geometry, **settings)
        call, seconds[label] = benchmark.compile_timed(lambda held, run=run: run(*held), operands)
        compiled[label] = call
    first = next(iter(compiled.values()))
    steps = benchmark.steps_within(config.milliseconds, first, operands)
    turns = {label: benchmark.repeated(call, operands, steps) for label, call in compiled.items()}
    return benchmark.take_turns(turns, rounds=config.rounds, steps=steps), seconds


def drawn(convolution: Convolution, name: PassName) -> tuple[jax.Array, jax.Array]:
    """Draw the operands of a pass."""
    problem, geometry = convolution.problem, convolution.geometry
    shapes = {
        "x": (convolution.batch, *convolution.size, problem.in_features),
        "w": (*geometry.kernel_size, problem.in_channels_per_group, problem.out_features),
        "g": (convolution.batch, *geometry.output_size, problem.out_features),
    }
    names = {"conv": "xw", "input_gradient": "gw", "kernel_gradient": "xg"}[name]
    keys = jax.random.split(jax.random.key(0))
    first, second = (
        jax.random.normal(key, shapes[role]) for key, role in zip(keys, names, strict=True)
    )
    return first, second


def section(record: benchmark.Record) -> str:
    """Make a table of the time of every value."""
    rows = []
    for row in record["rows"]:
        times = ", ".join(
            f"{label} {each['median']:.3g}" for label, each in row["milliseconds"].items()
        )
        over = row["chosen_over_fastest"]
        rows.append(
            (
                f"{row['algorithm']}, {row['setting']}",
                row["pass"].replace("_", " "),
                row["convolution"],
                times,
                row["chosen"] or "another",
                "" if over is None else benchmark.median(over, 2),
            )
        )
    header = ("setting", "pass", "convolution", "ms", "chosen", "times the fastest")
    return f"{benchmark.table(header, rows)}\n{benchmark.provenance(record)}.\n"


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

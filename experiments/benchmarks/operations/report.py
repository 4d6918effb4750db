"""Tables and a picture of a record of single operations."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import benchmark
from benchmark import Record

from operations.cases import CASES, Case

Row = Mapping[str, Any]
BOTH = "forward+backward"
PASSES = ("forward", "input gradient", "kernel gradient", BOTH)
SLOWER = 0.93
"""Ratio of another checkout's time to this one's, below which a case is measured again."""


# --- ratios ---------------------------------------------------------------------------------------


def ratio(row: Row, label: str, name: str) -> float:
    """Return a contestant's time over dilax's, NaN if not timed; ``lax`` has its best flags."""
    found = row["passes"].get(label, {})
    names = [each for each in found if each == name or each.startswith(f"{name}, ")]
    return min((found[each]["ratio"]["median"] for each in names), default=math.nan)


def geometric_mean(values: Iterable[float]) -> float:
    """Compute the geometric mean, ignoring NaNs; NaN if nothing is left."""
    numbers = [value for value in values if not math.isnan(value)]
    return statistics.geometric_mean(numbers) if numbers else math.nan


def mean_ratio(rows: Iterable[Row], name: str, label: str = BOTH) -> float:
    """Compute the geometric mean of a contestant's ratios."""
    return geometric_mean(ratio(row, label, name) for row in rows)


def by_family(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by family."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["family"], []).append(row)
    return found


def against(rows: Sequence[Row], name: str) -> list[tuple[float, str]]:
    """Return, for every single pass that a contestant ran, its ratio to dilax, case and pass."""
    found = [
        (ratio(row, label, name), f"{row['name']}, {label}")
        for row, label in itertools.product(rows, PASSES)
    ]
    return [entry for entry in found if not math.isnan(entry[0])]


def losses(rows: Sequence[Row], name: str) -> list[str]:
    """List the cases and passes in which a contestant was faster than dilax, with the ratio."""
    return [f"{where}: {name} {value:.2f}" for value, where in against(rows, name) if value < 1]


def number(value: float) -> str:
    """Format a ratio with two decimals, or three digits from 10 on; empty for NaN."""
    if math.isnan(value):
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


# --- against lax and PyTorch ----------------------------------------------------------------------


def families(rows: Sequence[Row]) -> str:
    """Make a table with a row for each family, and one for all depthwise 2-D convolutions."""
    groups = by_family(rows)
    if table := [row for row in rows if row["depthwise_2d"]]:
        groups["**all depthwise 2-D**"] = table
    lines = [
        (
            name,
            str(len(group)),
            number(mean_ratio(group, "lax", "forward")),
            number(mean_ratio(group, "lax")),
            number(min(ratio(row, BOTH, "lax") for row in group)),
            number(mean_ratio(group, "torch")),
        )
        for name, group in groups.items()
    ]
    both = "forward and backward"
    header = ("family", "cases", "lax, forward", f"lax, {both}", "lowest", f"PyTorch, {both}")
    return benchmark.table(header, lines)


def section(record: Record) -> str:
    """Make the table of families, and count the comparisons that dilax lost."""
    rows = record["rows"]
    lost = {name: len(losses(rows, name)) for name in ("lax", "torch")}
    timed = {name: len(against(rows, name)) for name in lost}
    return (
        f"{families(rows)}\nEach number is the time of lax or PyTorch divided by that of dilax, as "
        f"a geometric mean over the cases of a family; above 1, dilax is faster. *Lowest* is the "
        f"smallest ratio to lax in the family, forward and backward. lax runs with its fastest "
        f"flags in each case. float32 unless the case says otherwise, "
        f"{benchmark.provenance(record)}. [All cases](experiments/results/op_speed.md), "
        f"[picture](experiments/results/op_speed.png).\n\n"
        f"{separable_blocks(rows)}\n\n"
        f"For single passes, lax was faster than dilax in {lost['lax']} of {timed['lax']} "
        f"comparisons, and PyTorch in {lost['torch']} of {timed['torch']}. The page of all cases "
        f"lists each of them.\n"
    )


def separable_blocks(rows: Sequence[Row]) -> str:
    """Compare separable convolutions with the dense ones that they replace."""
    blocks = [row for row in rows if row["case"]["kind"] == "separable"]
    parts = [
        f"a {row['case']['features']}-channel separable convolution is "
        f"{ratio(row, BOTH, 'dense'):.1f} times as fast"
        for row in sorted(blocks, key=lambda row: row["case"]["features"])
    ]
    return f"Forward and backward, {' and '.join(parts)} as lax's dense 3x3 convolution."


def page(record: Record) -> str:
    """Make the full report: a table of all cases, and a list of the passes that dilax lost."""
    rows = record["rows"]
    lost = "".join(f"- {loss}\n" for name in ("lax", "torch") for loss in losses(rows, name))
    table = benchmark.table(CASE_HEADER, [_case(row) for row in rows])
    return f"{EXPLANATION}\n{table}\n## Passes in which lax or PyTorch was faster\n\n{lost}"


EXPLANATION = """# Single operations

The columns `lax`, `dense` and `PyTorch` are times divided by those of dilax: above 1, dilax is
faster.

- `lax` runs with its fastest flags in each case.
- `dense` is lax's dense convolution of the same shape, forward and backward.
- `dilax, ms` is the time of dilax, forward and backward.
- `share of copy` is the bytes that the forward pass reads and writes per second, divided by those
  of a plain copy.
- `compile` is the time to compile forward and backward, divided by that of lax.
- `error` is the largest difference from float64, divided by the largest entry.
"""

CASE_HEADER = (
    "case",
    *(f"lax, {label}" for label in PASSES),
    "dense",
    *(f"PyTorch, {label}" for label in PASSES),
    "dilax, ms",
    "share of copy",
    "compile",
    "error",
)


def _case(row: Row) -> tuple[str, ...]:
    """Format the row of a case: ratios to dilax, then dilax's own numbers."""
    seconds = row["compile_seconds"]
    compiling = seconds["dilax"][BOTH] / seconds["lax"][BOTH] if "lax" in seconds else math.nan
    return (
        row["name"],
        *(number(ratio(row, label, "lax")) for label in PASSES),
        number(ratio(row, BOTH, "dense")),
        *(number(ratio(row, label, "torch")) for label in PASSES),
        f"{row['passes'][BOTH]['dilax']['milliseconds']['median']:.2f}",
        f"{row['share_of_copy']:.0%}" if "share_of_copy" in row else "",
        number(compiling),
        f"{max(row['errors']['dilax'].values()):.0e}" if row["errors"]["dilax"] else "",
    )


# --- algorithms against each other ----------------------------------------------------------------


def algorithms(record: Record) -> str:
    """Make the report of the fastest algorithm of each case and pass."""
    raced = _raced(record)
    rows = [(row["name"], *(_fastest(row, label) for label in PASSES)) for row in raced]
    return f"{ALGORITHMS_EXPLANATION}\n{benchmark.table(('case', *PASSES), rows)}"


ALGORITHMS_EXPLANATION = """# Algorithms

Each cell names the fastest of dilax's algorithms and lax for a case and a pass, and says how many
times faster than lax it is. The number in brackets is the time of the algorithm that dilax chooses,
divided by the time of the fastest: 1, up to noise, if dilax chooses the fastest.
"""


def choices_section(record: Record) -> str:
    """Compare the choice of algorithms with the fastest, and state the noise floor."""
    times, again = choices(record), by_itself(record)
    near, (worst, where) = sum(time <= 1.1 for time, _ in times), max(times)
    low, _, high = statistics.quantiles(again, n=4)
    return (
        f"In {near} of {len(times)} passes, the algorithm that dilax chooses takes at most 10% "
        f"longer than the fastest of its algorithms and lax. In the worst pass it takes "
        f"{worst:.1f} times as long ({where}). See [all cases](experiments/results/algorithms.md) "
        f"and the [record](experiments/results/algorithms.json). Noise floor: one algorithm timed "
        f"in two processes differed by {low - 1:+.0%} to {high - 1:+.0%} (interquartile range of "
        f"{len(again)} cases).\n"
    )


def choices(record: Record) -> list[tuple[float, str]]:
    """Return, for each case and single pass, the chosen algorithm's time over the fastest one's."""
    platform, found = record["device"].split()[0], []
    for row, label in itertools.product(_raced(record), PASSES[:3]):
        case = next(case for case in CASES if case.name == row["name"])
        chosen, times = chosen_algorithm(platform, label, case), _times(row, label)
        name = "lax" if chosen == "lax" else f"dilax:{chosen}"
        if name in times:
            found.append((times[name] / min(times.values()), f"{row['name']}, {label}"))
    return found


def chosen_algorithm(platform: str, label: str, case: Case) -> str:
    """Return the name of the algorithm that dilax chooses for a pass of a case."""
    from dilax._choice import Problem, choose
    from dilax.geometry import ConvGeometry

    names: Any = {"forward": "conv"}
    geometry = ConvGeometry(
        case.size, case.kernel_size, case.strides, case.pads, case.dilations, case.group_count
    )
    itemsize = 4 if case.dtype == "float32" else 2
    problem = Problem(geometry, case.features, case.outputs, case.batch, itemsize)
    return choose(platform, names.get(label, label.replace(" ", "_")), problem).algorithm.name


def by_itself(record: Record) -> list[float]:
    """Return the ratios of the times of ``shift_and_add`` by name and as dilax's choice."""
    name = "dilax:shift_and_add"
    timed = [_times(row, BOTH) for row in _raced(record) if row["depthwise_2d"]]
    return [times[name] for times in timed if name in times]


def _raced(record: Record) -> list[Row]:
    return [row for row in record["rows"] if row["case"]["kind"] == "conv"]


def _times(row: Row, label: str) -> dict[str, float]:
    """Return the times of lax and each algorithm over dilax's; empty if lax was not timed."""
    found = row["passes"].get(label, {})
    times = {name: found[name]["ratio"]["median"] for name in found if name != "dilax"}
    return times if "lax" in times else {}


def _fastest(row: Row, label: str) -> str:
    times = _times(row, label)
    if not times:
        return ""
    name = min(times, key=lambda name: times[name])
    best, faster = times[name], times["lax"] / times[name]
    return f"{name.removeprefix('dilax:')} {number(faster)} ({number(1 / best)})"


PAGES: Mapping[str, Callable[[Record], str]] = {"baselines": page, "algorithms": algorithms}


# --- two checkouts --------------------------------------------------------------------------------


def before_and_after(rows: Sequence[Row]) -> str:
    """Make a table of another checkout's times divided by this one's, family by family."""
    same = [holds for row in rows for holds in row["same_program"].values()]
    counted = f"In {sum(same)} of {len(same)} passes, both checkouts give XLA the same program."
    if all(same):
        return counted
    rows = [row for row in rows if not all(row["same_program"].values())]
    lines = []
    for name, group in {**by_family(rows), "**all**": rows}.items():
        least, where = min(against(group, "other"), default=(math.nan, ""))
        means = (number(mean_ratio(group, "other", label)) for label in PASSES)
        lines.append((name, str(len(group)), *means, number(least), where))
    header = ("family", "cases", *PASSES, "worst", "where")
    once = [f"{row['name']}, {label}" for row in rows for label in slower(row["passes"])]
    twice = [
        f"{row['name']}, {label}"
        for row in rows
        for label in slower(row["passes"])
        if label in slower(row.get("again", {}))
    ]
    return (
        f"{counted} Of the others: times of the other checkout divided by those of this one, as "
        f"geometric means, and the lowest ratio; above 1, this checkout is faster.\n\n"
        f"{benchmark.table(header, lines)}\n"
        f"Below {SLOWER}: {len(once)} passes, of which {len(twice)} again in a second measurement, "
        f"in new processes{': ' if twice else ''}{'; '.join(twice)}.\n"
    )


def slower(passes: Row) -> list[str]:
    """List the passes for which another checkout's ratio to this one is below ``SLOWER``."""
    return [
        label
        for label, found in passes.items()
        if "other" in found and found["other"]["ratio"]["median"] < SLOWER
    ]


# --- the picture ----------------------------------------------------------------------------------


def draw(record: Record, path: Path) -> None:
    """Draw how many times faster dilax is than lax and PyTorch, with a row for each family."""
    import matplotlib.pyplot as plt

    groups = by_family([row for row in record["rows"] if BOTH in row["passes"]])
    names = sorted(groups, key=lambda name: mean_ratio(groups[name], "lax"))
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.21 * len(names)), layout="constrained")
    for baseline, label, color, marker, shift in (
        ("lax", "than lax, at its best flags", "C0", "o", 0.15),
        ("torch", "than PyTorch", "C1", "D", -0.15),
    ):
        for height, name in enumerate(names):
            ratios = [ratio(row, BOTH, baseline) for row in groups[name]]
            if timed := [value for value in ratios if not math.isnan(value)]:
                place = height + shift
                axes.hlines(place, min(timed), max(timed), color=color, alpha=0.4, linewidth=3)
                axes.plot(geometric_mean(timed), place, marker, color=color, label=label)
                label = ""
    axes.axvline(1, color="black", linewidth=1)
    axes.set(
        xscale="log",
        title="Forward and backward: geometric mean and range over the cases of a family",
        xlabel="times faster than lax or PyTorch; right is better",
    )
    axes.set_yticks(range(len(names)), [f"{name} ({len(groups[name])})" for name in names])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=100)
    plt.close(figure)

"""What a record of single operations says: tables and a picture."""

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


# --- ratios ---------------------------------------------------------------------------------------


def ratio(row: Row, label: str, name: str) -> float:
    """Time of a contestant in units of dilax's; NaN if not timed. ``lax`` is at its best flags."""
    found = row["passes"].get(label, {})
    names = [each for each in found if each == name or each.startswith(f"{name}, ")]
    return min((found[each]["ratio"]["median"] for each in names), default=math.nan)


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean of those that are numbers; NaN if none is."""
    numbers = [value for value in values if not math.isnan(value)]
    return statistics.geometric_mean(numbers) if numbers else math.nan


def mean_ratio(rows: Iterable[Row], name: str, label: str = BOTH) -> float:
    """The geometric mean of a contestant's ratios."""
    return geometric_mean(ratio(row, label, name) for row in rows)


def by_family(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each family of cases."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["family"], []).append(row)
    return found


def against(rows: Sequence[Row], name: str) -> list[tuple[float, str]]:
    """Ratio, and case and pass, of every comparison of dilax with a contestant."""
    found = [
        (ratio(row, label, name), f"{row['name']}, {label}")
        for row, label in itertools.product(rows, PASSES)
    ]
    return [entry for entry in found if not math.isnan(entry[0])]


def losses(rows: Sequence[Row], name: str) -> list[str]:
    """Every case and pass in which a contestant was faster than dilax, and by what ratio."""
    return [f"{where}: {name} {value:.2f}" for value, where in against(rows, name) if value < 1]


def number(value: float) -> str:
    """Two digits and more; nothing for what was not timed."""
    if math.isnan(value):
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


# --- against lax and PyTorch ----------------------------------------------------------------------


def families(rows: Sequence[Row]) -> str:
    """A line for each family of cases, and one for all depthwise 2-D convolutions."""
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
    header = ("family", "cases", "lax, forward", f"lax, {both}", "its least", f"PyTorch, {both}")
    return benchmark.table(header, lines)


def section(record: Record) -> str:
    """Single operations, family by family, and how many were lost."""
    rows = record["rows"]
    lost = {name: len(losses(rows, name)) for name in ("lax", "torch")}
    timed = {name: len(against(rows, name)) for name in lost}
    return (
        f"{families(rows)}\nTimes of the others in units of dilax's, geometric means; lax at the "
        f"best of its flags in each case. float32 unless the case says otherwise, "
        f"{benchmark.provenance(record)}. [Every case](experiments/results/op_speed.md), "
        f"[picture](experiments/results/op_speed.png).\n\n"
        f"{separable_blocks(rows)}\n\n"
        f"Of single passes, lax was faster in {lost['lax']} of {timed['lax']} comparisons and "
        f"PyTorch in {lost['torch']} of {timed['torch']}: every one is listed with the cases.\n"
    )


def separable_blocks(rows: Sequence[Row]) -> str:
    """Whether separable convolution is faster than the dense one it replaces."""
    blocks = [row for row in rows if row["case"]["kind"] == "separable"]
    parts = [
        f"a {row['case']['features']}-channel separable convolution is "
        f"{ratio(row, BOTH, 'dense'):.1f} times as fast"
        for row in sorted(blocks, key=lambda row: row["case"]["features"])
    ]
    return f"Forward and backward, {' and '.join(parts)} as lax's dense 3x3 convolution."


def page(record: Record) -> str:
    """Every case of a race against others, and every loss."""
    rows = record["rows"]
    lost = "".join(f"- {loss}\n" for name in ("lax", "torch") for loss in losses(rows, name))
    table = benchmark.table(CASE_HEADER, [_case(row) for row in rows])
    return f"{EXPLANATION}\n{table}\n## Where another was faster\n\n{lost}"


EXPLANATION = """# Single operations

Times of the others in units of dilax's, forward and backward together where no pass is named: more
than 1 is slower than dilax. `lax` stands for the best of its flags; `dense` is lax's dense
convolution of the same shape; `share of copy` is the forward pass's speed, bytes read and written,
in units of a copy's; `compile` the seconds to compile forward and backward in units of lax's;
`error` the largest against float64, in units of the largest entry.
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
    """Times in units of dilax's, then dilax's own numbers."""
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
    """The fastest algorithm of each case and pass."""
    raced = _raced(record)
    rows = [(row["name"], *(_fastest(row, label) for label in PASSES)) for row in raced]
    return f"{ALGORITHMS_EXPLANATION}\n{benchmark.table(('case', *PASSES), rows)}"


ALGORITHMS_EXPLANATION = """# Algorithms

For each case and pass: the fastest of dilax's algorithms and lax, how many times faster than lax
it is, and in brackets how many times as long as it dilax takes by its own choice (1 if it chooses
the fastest, up to noise).
"""


def choices_section(record: Record) -> str:
    """How near the choice of algorithms comes to the fastest, and how far two processes differ."""
    times, again = choices(record), by_itself(record)
    near, (worst, where) = sum(time <= 1.1 for time, _ in times), max(times)
    low, _, high = statistics.quantiles(again, n=4)
    return (
        f"The algorithm that dilax chooses takes at most a tenth longer than the fastest of its "
        f"algorithms and lax in {near} of {len(times)} passes, at worst {worst:.1f} times as long "
        f"({where}): [every case](experiments/results/algorithms.md), "
        f"[record](experiments/results/algorithms.json). Noise floor: one algorithm timed in two "
        f"processes differed by {low - 1:+.0%} to {high - 1:+.0%} (middle half of {len(again)} "
        f"cases).\n"
    )


def choices(record: Record) -> list[tuple[float, str]]:
    """For each case and single pass, the time of the algorithm chosen in units of the fastest's."""
    platform, found = record["device"].split()[0], []
    for row, label in itertools.product(_raced(record), PASSES[:3]):
        case = next(case for case in CASES if case.name == row["name"])
        chosen, times = chosen_algorithm(platform, label, case), _times(row, label)
        name = "lax" if chosen == "lax" else f"dilax:{chosen}"
        if name in times:
            found.append((times[name] / min(times.values()), f"{row['name']}, {label}"))
    return found


def chosen_algorithm(platform: str, label: str, case: Case) -> str:
    """The name of the algorithm that dilax chooses for a pass of a case."""
    from dilax._choice import Problem, choose
    from dilax.geometry import ConvGeometry

    names: Any = {"forward": "conv"}
    geometry = ConvGeometry(
        case.size, case.kernel_size, case.strides, case.pads, case.dilations, case.group_count
    )
    problem = Problem(geometry, case.features, case.outputs)
    return choose(platform, names.get(label, label.replace(" ", "_")), problem).algorithm.name


def by_itself(record: Record) -> list[float]:
    """Time of an algorithm by name in units of its time as dilax's choice, in another process."""
    name = "dilax:shift_and_add"
    timed = [_times(row, BOTH) for row in _raced(record) if row["depthwise_2d"]]
    return [times[name] for times in timed if name in times]


def _raced(record: Record) -> list[Row]:
    return [row for row in record["rows"] if row["case"]["kind"] == "conv"]


def _times(row: Row, label: str) -> dict[str, float]:
    """Times of lax and each algorithm over dilax's own choice; empty if lax was not timed."""
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
    """Times of another checkout in units of this one's, family by family."""
    lines = []
    for name, group in {**by_family(rows), "**all**": rows}.items():
        least, where = min(against(group, "other"), default=(math.nan, ""))
        means = (number(mean_ratio(group, "other", label)) for label in PASSES)
        lines.append((name, str(len(group)), *means, number(least), where))
    header = ("family", "cases", *PASSES, "worst", "where")
    return (
        f"Times of the other checkout in units of this one's: geometric means, and the worst "
        f"case; more than 1 is faster here.\n\n{benchmark.table(header, lines)}"
    )


# --- the picture ----------------------------------------------------------------------------------


def draw(record: Record, path: Path) -> None:
    """Draw how many times faster dilax is than lax and PyTorch, a line for each family."""
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

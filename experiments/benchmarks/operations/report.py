"""What a record of single operations says: tables and a picture."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _programs  # noqa: F401
from common.markdown import table as markdown

from dilax._choice import PassName, Problem, choose
from operations.cases import CASES

Record = Mapping[str, Any]
Row = Mapping[str, Any]
BOTH = "forward+backward"
PASS_NAMES: dict[str, PassName] = {
    "forward": "conv",
    "input gradient": "input_gradient",
    "kernel gradient": "kernel_gradient",
}
PASSES = (*PASS_NAMES, BOTH)


def lax_at_its_best(row: Row, label: str) -> float:
    """Time of lax under the flags that suit it best, in units of dilax's; NaN if not timed."""
    found = row["passes"].get(label, {})
    ratios = [found[name]["ratio"]["median"] for name in found if name.startswith("lax")]
    return min(ratios, default=math.nan)


def ratio(row: Row, label: str, name: str) -> float:
    """Time of a contestant in units of dilax's; NaN if not timed."""
    found = row["passes"].get(label, {}).get(name)
    return found["ratio"]["median"] if found else math.nan


def geometric_mean(values: Iterable[float]) -> float:
    """Of those that are numbers; NaN if none is."""
    logarithms = [math.log(value) for value in values if not math.isnan(value)]
    return math.exp(math.fsum(logarithms) / len(logarithms)) if logarithms else math.nan


def families(record: Record) -> list[tuple[str, ...]]:
    """A line for each family of cases, and one for all depthwise 2-D convolutions."""
    rows: Sequence[Row] = record["rows"]
    names = dict.fromkeys(row["family"] for row in rows)
    lines = [_line(name, [row for row in rows if row["family"] == name]) for name in names]
    table = [row for row in rows if row["depthwise_2d"]]
    return [*lines, _line("**all depthwise 2-D**", table)] if table else lines


FAMILY_HEADER = (
    "family",
    "cases",
    "lax, forward",
    "lax, forward and backward",
    "its least",
    "PyTorch, forward and backward",
)


def _line(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    by_lax = [lax_at_its_best(row, BOTH) for row in rows]
    return (
        name,
        str(len(rows)),
        number(geometric_mean(lax_at_its_best(row, "forward") for row in rows)),
        number(geometric_mean(by_lax)),
        number(min(by_lax)),
        number(geometric_mean(ratio(row, BOTH, "torch") for row in rows)),
    )


def losses(record: Record, baseline: str) -> list[str]:
    """Every case and pass in which ``baseline`` was faster than dilax, and by what ratio."""
    return [
        f"{row['name']}, {label}: {baseline} {value:.2f}"
        for row, label, value in _against(record, baseline)
        if value < 1
    ]


def comparisons(record: Record, baseline: str) -> int:
    """In how many cases and passes dilax and ``baseline`` were timed."""
    return len(_against(record, baseline))


def _against(record: Record, baseline: str) -> list[tuple[Row, str, float]]:
    """Times of ``baseline``, lax or torch, in units of dilax's."""
    found = [
        (
            row,
            label,
            lax_at_its_best(row, label) if baseline == "lax" else ratio(row, label, baseline),
        )
        for row in record["rows"]
        for label in PASSES
    ]
    return [entry for entry in found if not math.isnan(entry[2])]


def page(record: Record) -> str:
    """Every case of a race against others, and every loss, in Markdown."""
    lost = [*losses(record, "lax"), *losses(record, "torch")]
    listed = "".join(f"- {loss}\n" for loss in lost)
    table = markdown(CASE_HEADER, cases(record))
    return f"{EXPLANATION}\n{table}\n## Where another was faster\n\n{listed}"


EXPLANATION = """# Single operations

Times of the others in units of dilax's, forward and backward together where no pass is named: more
than 1 is slower than dilax. `lax` stands for the best of its flags; `share of copy` is the forward
pass's speed, bytes read and written, in units of a copy's; `compile` the seconds to compile forward
and backward in units of lax's; `error` the largest against float64, in units of the largest entry.
"""

CASE_HEADER = (
    "case",
    *(f"lax, {label}" for label in PASSES),
    "nnx",
    "dense",
    *(f"PyTorch, {label}" for label in PASSES),
    "Keras",
    "dilax, ms",
    "share of copy",
    "compile",
    "error",
)


def cases(record: Record) -> list[tuple[str, ...]]:
    """A line for each case: times in units of dilax's, then dilax's own numbers."""
    return [
        (
            row["name"],
            *(number(lax_at_its_best(row, label)) for label in PASSES),
            number(ratio(row, BOTH, "nnx")),
            number(ratio(row, BOTH, "dense")),
            *(number(ratio(row, label, "torch")) for label in PASSES),
            number(ratio(row, BOTH, "keras")),
            f"{row['passes'][BOTH]['dilax']['milliseconds']['median']:.2f}",
            f"{row['share_of_copy']:.0%}" if "share_of_copy" in row else "",
            number(_compile_ratio(row)),
            f"{max(row['errors']['dilax'].values()):.0e}" if row["errors"]["dilax"] else "",
        )
        for row in record["rows"]
    ]


ALGORITHMS_EXPLANATION = """# Algorithms

For each case and pass: the fastest of dilax's algorithms and lax, how many times faster than lax
it is, and in brackets how many times as long as it dilax takes by its own choice (1 if it chooses
the fastest, up to noise).
"""

ALGORITHMS_HEADER = ("case", *PASSES)


def algorithms(record: Record) -> list[tuple[str, ...]]:
    """A line for each case: the fastest algorithm of each pass."""
    return [(row["name"], *(_fastest(row, label) for label in PASSES)) for row in _raced(record)]


def choices(record: Record) -> list[tuple[float, str]]:
    """For each case and single pass, the time of the algorithm chosen in units of the fastest's."""
    platform, found = record["device"].split()[0], []
    for row in _raced(record):
        case = next(case for case in CASES if case.name == row["name"])
        problem = Problem(case.geometry, case.features, case.outputs)
        for label, pass_name in PASS_NAMES.items():
            times = _times(row, label)
            chosen = choose(platform, pass_name, problem).algorithm.name
            name = "lax" if chosen == "lax" else f"dilax:{chosen}"
            if name in times:
                found.append((times[name] / min(times.values()), f"{row['name']}, {label}"))
    return found


def by_itself(record: Record) -> list[float]:
    """Time of a algorithm in units of the same one's, chosen by dilax in a process of its own."""
    return [
        _times(row, BOTH)["dilax:shift_and_add"]
        for row in _raced(record)
        if row["depthwise_2d"] and "dilax:shift_and_add" in _times(row, BOTH)
    ]


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


def _compile_ratio(row: Row) -> float:
    """Seconds to compile forward and backward, in units of lax's with default flags."""
    seconds = row["compile_seconds"]
    return seconds["dilax"][BOTH] / seconds["lax"][BOTH] if "lax" in seconds else math.nan


def number(value: float) -> str:
    """Two digits and more; nothing for what was not timed."""
    if math.isnan(value):
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def draw(record: Record, path: Path) -> None:
    """Forward and backward together, a bar for each case, on a logarithmic axis."""
    import matplotlib.pyplot as plt

    rows = [row for row in record["rows"] if BOTH in row["passes"]]
    figure, axes = plt.subplots(figsize=(9, 0.22 * len(rows) + 1.2), layout="constrained")
    heights = range(len(rows))[::-1]
    ratios = [lax_at_its_best(row, BOTH) for row in rows]
    axes.barh(heights, ratios, label="lax, best flags")
    axes.plot([ratio(row, BOTH, "torch") for row in rows], heights, "k|", label="PyTorch")
    axes.set(xscale="log", xlabel="time of forward and backward, in units of dilax's")
    axes.set_yticks(heights, [row["name"] for row in rows], fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)

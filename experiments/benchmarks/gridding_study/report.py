"""A record of `gridding_accuracy.py` as tables."""

from collections.abc import Mapping
from typing import Any

import _programs  # noqa: F401
import numpy as np
from common.markdown import table

Record = Mapping[str, Any]

UNITS = {
    "mnist": "accuracy on the test images",
    "cifar10": "accuracy on the test images",
    "digits": "accuracy on the test canvases' digit pixels",
}
HEADER = ("layers", "accuracy, %", "spread", "touched", "unevenness", "parameters")


def page(record: Record) -> str:
    """A table for each task, best first, and what may be read from it."""
    parts = ["# Does it help?\n", EXPLANATION]
    for name, rows in record["tasks"].items():
        ordered = sorted(rows.items(), key=lambda item: -np.mean(item[1]["accuracy"]))
        parts.append(f"\n## {name}: {UNITS[name]}\n")
        parts.append(table(HEADER, [_row(variant, row) for variant, row in ordered]))
        parts.append(verdict(rows))
    return "\n".join(parts)


def overview(tasks: Mapping[str, Any]) -> str:
    """One table for all tasks, the best of the first task on top."""
    first = next(iter(tasks.values()))
    ordered = sorted(first, key=lambda name: -np.mean(first[name]["accuracy"]))
    rows = [
        (
            name,
            f"{100 * np.mean(first[name]['touched']):.0f}%",
            *(_cell(name, rows) for rows in tasks.values()),
        )
        for name in ordered
    ]
    return table(("layers", "touched", *(f"{name}, %" for name in tasks)), rows)


def verdict(rows: Mapping[str, Any]) -> str:
    """How many variants are further from the naive one than seeds are from each other."""
    found: dict[str, list[str]] = {}
    for name in rows:
        found.setdefault(against_naive(name, rows), []).append(name)
    said = [
        f"{len(found[what])} {what} than naive by more than twice the standard error of the "
        f"difference ({', '.join(found[what])})"
        for what in ("better", "worse")
        if what in found
    ]
    within = [name for name in found.get("no different", []) if name != "naive"]
    if within:
        said.append(f"{len(within)} not told apart from it ({', '.join(within)})")
    return f"{'; '.join(said)}. {correlation(rows)}\n"


def against_naive(name: str, rows: Mapping[str, Any]) -> str:
    """Say "better", "worse" or "no different": by twice the standard error of the difference."""
    naive, accuracy = rows["naive"]["accuracy"], rows[name]["accuracy"]
    gap = np.mean(accuracy) - np.mean(naive)
    if abs(gap) <= 2 * np.hypot(_error(accuracy), _error(naive)):
        return "no different"
    return "better" if gap > 0 else "worse"


def correlation(rows: Mapping[str, Any]) -> str:
    """Whether what touches more is better, over the variants."""
    touched = [np.mean(row["touched"]) for row in rows.values()]
    accuracy = [np.mean(row["accuracy"]) for row in rows.values()]
    if min(len(set(touched)), len(set(accuracy))) < 2:
        return "All touch the same share."
    ranks = np.corrcoef(_ranks(touched), _ranks(accuracy))[0, 1]
    return f"Rank correlation of accuracy with the share touched, over the variants: {ranks:.2f}."


def _ranks(values: list[Any]) -> np.ndarray:
    """Places in rising order, equal values sharing the mean of theirs."""
    array = np.asarray(values)
    below = (array[:, None] > array).sum(axis=1)
    equal = (array[:, None] == array).sum(axis=1)
    return below + (equal - 1) / 2


def _cell(name: str, rows: Mapping[str, Any]) -> str:
    """Accuracy and how it stands to the naive variant's."""
    accuracy = 100 * np.asarray(rows[name]["accuracy"])
    mark = {"better": " ↑", "worse": " ↓", "no different": ""}[against_naive(name, rows)]
    return f"{accuracy.mean():.2f} ± {accuracy.std(ddof=min(len(accuracy) - 1, 1)):.2f}{mark}"


def _row(variant: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    accuracy = 100 * np.asarray(row["accuracy"])
    return (
        variant,
        f"{accuracy.mean():.2f}",
        f"{accuracy.min():.2f} to {accuracy.max():.2f}",
        f"{100 * np.mean(row['touched']):.0f}%",
        f"{np.mean(row['unevenness']):.2f}",
        f"{row['parameters']:,}",
    )


def _error(values: list[float]) -> float:
    """Standard error of a mean over seeds."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


EXPLANATION = """
One small network, its dilated depthwise convolutions in different ways. *Touched* is the share of
the square around all inputs with a gradient, at the central output of the trained network, that
have one; *unevenness* is the coefficient of variation of those gradients. *Spread* is over seeds.
The recipe is the same for all and was not tuned, but for one thing: the batches of canvases were
made smaller after a first run of four variants had learnt next to nothing, which was seen by their
test accuracy.
"""

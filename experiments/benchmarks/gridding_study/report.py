"""A record of ``gridding_accuracy.py`` as tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.stats  # type: ignore[import-untyped]
from benchmark import Record, table, where

UNITS = {
    "mnist": "accuracy on the test images",
    "cifar10": "accuracy on the test images",
    "digits": "accuracy on the test canvases' digit pixels",
}
HEADER = ("layers", "accuracy, %", "spread", "touched", "unevenness", "parameters")


def page(record: Record) -> str:
    """A table for each task, best first."""
    parts = ["# Does degridding help?\n", EXPLANATION]
    for name, rows in record["tasks"].items():
        ordered = sorted(rows.items(), key=lambda item: -np.mean(item[1]["accuracy"]))
        parts.append(f"\n## {name}: {UNITS[name]}\n")
        parts.append(table(HEADER, [_row(variant, row) for variant, row in ordered]))
        parts.append(correlation(rows))
    return "\n".join(parts)


def section(records: Mapping[str, Record]) -> str:
    """One table for all tasks of some named records, the best of the first task on top."""
    tasks: dict[str, Any] = {}
    learnt = []
    for name, record in records.items():
        tasks |= record["tasks"]
        said = ", ".join(
            f"`{task}` {_examples(record['config'], task)}" for task in record["tasks"]
        )
        learnt.append(f"{said} ([tables](experiments/results/{name}.md))")
    first = next(iter(tasks.values()))
    ordered = sorted(first, key=lambda name: -np.mean(first[name]["accuracy"]))
    rows = [
        (
            name,
            f"{np.mean(first[name]['touched']):.0%}",
            *(_cell(name, rows) for rows in tasks.values()),
        )
        for name in ordered
    ]
    header = ("layers", "touched", *(f"{name}, %" for name in tasks))
    config = record["config"]
    return (
        f"{table(header, rows)}\nTest accuracy, mean and deviation over {config['seeds']} seeds, "
        f"after {config['epochs']} epochs: of {'; of '.join(learnt)}. *Touched* is the share of "
        f"its field that the trained network sees. Arrows: better or worse than four naive layers "
        f"of equal dilation by more than twice the standard error of the difference; the ten "
        f"comparisons of a task are not corrected for being ten. Measured {where(record)}.\n"
    )


def _examples(config: Record, task: str) -> str:
    """What a task learns from."""
    if task == "digits":
        return f"{config['canvases']:,} canvases, per pixel"
    return f"{config['limit']:,} images" if config["limit"] else "all images"


def against_naive(name: str, rows: Mapping[str, Any]) -> str:
    """Say "better", "worse" or "no different": by twice the standard error of the difference."""
    naive, accuracy = rows["naive"]["accuracy"], rows[name]["accuracy"]
    gap = np.mean(accuracy) - np.mean(naive)
    if abs(gap) <= 2 * np.hypot(_error(accuracy), _error(naive)):
        return "no different"
    return "better" if gap > 0 else "worse"


def correlation(rows: Mapping[str, Any]) -> str:
    """Whether what touches more is better, over the variants."""
    touched, accuracy = (
        [np.mean(row[name]) for row in rows.values()] for name in ("touched", "accuracy")
    )
    if min(len(set(touched)), len(set(accuracy))) < 2:
        return "All touch the same share.\n"
    ranks = scipy.stats.spearmanr(touched, accuracy).statistic
    return f"Rank correlation of accuracy with the share touched, over the variants: {ranks:.2f}.\n"


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
One small network with different layers for its dilated depthwise convolutions. *Touched*: of the
smallest rectangle around all inputs that have a gradient at the central output of the trained
network, the share that has one. *Unevenness*: the coefficient of variation of those gradients.
*Spread*: over seeds. The recipe is the same for all and was not tuned, with one exception: the
batches of canvases were made smaller after a first run of four variants had learnt next to nothing,
which their test accuracy had shown.
"""

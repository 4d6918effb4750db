"""Tables of a record of ``gridding_accuracy.py``."""

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
    """Make the full report: a table for each task, in order of falling accuracy."""
    parts = ["# Does degridding help?\n", EXPLANATION]
    for name, rows in record["tasks"].items():
        ordered = sorted(rows.items(), key=lambda item: -np.mean(item[1]["accuracy"]))
        parts.append(f"\n## {name}: {UNITS[name]}\n")
        parts.append(table(HEADER, [_row(variant, row) for variant, row in ordered]))
        parts.append(correlation(rows))
    return "\n".join(parts)


def section(records: Mapping[str, Record]) -> str:
    """Make one table for all tasks of all records, ordered by accuracy on the first task."""
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
        f"{table(header, rows)}\nTest accuracy after {config['epochs']} epochs, mean ± standard "
        f"deviation over {config['seeds']} seeds. Training sets: {'; '.join(learnt)}. *Touched* is "
        f"the share of its receptive field that the trained network sees. *naive* has four layers "
        f"of equal dilation; ↑ and ↓ mark accuracies that differ from it by more than twice the "
        f"standard error of the difference, without a correction for the ten comparisons in each "
        f"task. Measured {where(record)}.\n"
    )


def _examples(config: Record, task: str) -> str:
    """Say how many examples a task trains on."""
    if task == "digits":
        return f"{config['canvases']:,} canvases, per pixel"
    return f"{config['limit']:,} images" if config["limit"] else "all images"


def against_naive(name: str, rows: Mapping[str, Any]) -> str:
    """Say if a variant is "better", "worse" or "no different", at twice the standard error."""
    naive, accuracy = rows["naive"]["accuracy"], rows[name]["accuracy"]
    gap = np.mean(accuracy) - np.mean(naive)
    if abs(gap) <= 2 * np.hypot(_error(accuracy), _error(naive)):
        return "no different"
    return "better" if gap > 0 else "worse"


def correlation(rows: Mapping[str, Any]) -> str:
    """Compute the rank correlation, over the variants, of accuracy and the share touched."""
    touched, accuracy = (
        [np.mean(row[name]) for row in rows.values()] for name in ("touched", "accuracy")
    )
    if min(len(set(touched)), len(set(accuracy))) < 2:
        return "All variants touch the same share of their fields.\n"
    ranks = scipy.stats.spearmanr(touched, accuracy).statistic
    return f"Rank correlation of accuracy and share touched, over the variants: {ranks:.2f}.\n"


def _cell(name: str, rows: Mapping[str, Any]) -> str:
    """Format the accuracy of a variant, with an arrow if it differs from the naive one's."""
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
    """Compute the standard error of a mean over seeds."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


EXPLANATION = """
The variants are one small network with different layers in place of its dilated depthwise
convolutions.

- *Touched* is measured by the gradient of the central output of the trained network: of the
  smallest rectangle that holds all inputs with a gradient, the share of inputs that have one.
- *Unevenness* is the coefficient of variation of those gradients.
- *Spread* is the range over seeds.

The recipe is the same for all variants and was not tuned, with one exception: the batches of
canvases were made smaller because the test accuracy of a first run with four variants showed that
they had learnt next to nothing.
"""

"""The tables of a record of `scaling.py`: what the program prints."""

from collections.abc import Mapping
from typing import Any

import _programs  # noqa: F401
from common.markdown import table as markdown

Record = Mapping[str, Any]

SIMULATED = (
    "These devices are simulated: they share the cores of one CPU, so that their efficiency says "
    "nothing about real ones."
)
BATCHES = {"weak": "a batch for each device", "strong": "one batch shared out"}


def section(found: Record) -> str:
    """All tables of a record, and how they came about."""
    kinds = [kind for kind in BATCHES if any(row["scaling"] == kind for row in found["rows"])]
    tables = "\n".join(table(found, kind) for kind in kinds)
    config, difference = found["config"], found["difference"]
    remark = f" {found['remark']}" if found["remark"] else ""
    return (
        f"{tables}\nTraining steps of `{config['model']}`, medians of {config['rounds']} rounds "
        f"taken in turns on {found['device']}; jax {found['versions']['jax']}, flax "
        f"{found['versions']['flax']}. Efficiency: images a second over those of as many single "
        f"devices. Difference: of the parameters after {difference['steps']} steps from those of "
        f"one device by jit, the largest, over the greatest parameter; weights that begin one "
        f"rounding away end {difference['one_rounding']:.0e} away, on one device.{remark}\n"
    )


def table(found: Record, kind: str) -> str:
    """One table, a line for each number of devices."""
    ways = list(found["difference"]["largest_relative"])
    rows = [row for row in found["rows"] if row["scaling"] == kind]
    counts = list(dict.fromkeys(row["devices"] for row in rows))
    header = [f"devices, {BATCHES[kind]}", "batch"]
    for way in ways:
        header += [f"{way}, images/s", "efficiency", "difference"]
    lines = []
    for count in counts:
        by_way = {row["way"]: row for row in rows if row["devices"] == count}
        line = [str(count), str(by_way[ways[0]]["batch_size"])]
        for way in ways:
            line += _cells(by_way[way], found["difference"]["largest_relative"][way][str(count)])
        lines.append(line)
    return markdown(header, lines)


def _cells(row: Record, difference: float) -> list[str]:
    return [
        f"{row['images_per_second']['median']:,.0f}",
        f"{row['efficiency']['median']:.0%}",
        f"{difference:.0e}" if difference else "0",
    ]

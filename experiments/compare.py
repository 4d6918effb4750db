"""Draw the learning curves of several runs, or compare all records with published results.

    python experiments/compare.py runs/a runs/b    # learning curves of both in one picture
    python experiments/compare.py                  # accuracy against size and cost, of all records

The second form draws every record of CIFAR-10 under ``experiments/results``, and the published
results in ``experiments/published.json``, which have other recipes and mostly 200 epochs or more.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals(interrupts.UNFINISHED)

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro
from adjustText import adjust_text
from common.terminal import say
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tyro.conf import Positional

from dilax import training

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Draw learning curves of several runs, or accuracy against size and cost of all records."""

    runs: Positional[tuple[Path, ...]] = ()
    """Folders of runs; if none is given, the records are drawn."""
    output: Path | None = None
    """File for the picture; by default compare.png for runs, and experiments/results/cifar10.png
    for records."""


@dataclasses.dataclass(frozen=True)
class Point:
    """The accuracy, size and cost of a network."""

    name: str
    parameters: int
    multiply_adds: int | None
    """For one image; None if unknown."""
    accuracy: float
    """A fraction."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    config = tyro.cli(Config, args=arguments)
    try:
        if config.runs:
            output = config.output or Path("compare.png")
            training.draw_learning_curves(output, histories(config.runs))
        else:
            output = config.output or RESULTS / "cifar10.png"
            draw_points(output, {"dilax": recorded(RESULTS), "published": published()})
    except (OSError, ValueError) as error:
        say(str(error), file=sys.stderr)
        return 2
    print(output)
    return 0


def histories(runs: Sequence[Path]) -> dict[str, list[Mapping[str, Any]]]:
    """Read the metrics of each run; keys are names of folders, or whole paths if names repeat.

    Raises:
        ValueError: A folder has no run, or its first epoch is not complete.
    """
    found = {}
    for folder in runs:
        path = folder / training.METRICS_FILE
        lines = path.read_text().splitlines() if path.is_file() else []
        if not lines:
            raise ValueError(f"{folder} must be the folder of a run, got no epochs in {path}.")
        found[folder] = [json.loads(line) for line in lines]
    names = [folder.name for folder in found]
    repeated = len(set(names)) < len(names)
    return {str(folder) if repeated else folder.name: lines for folder, lines in found.items()}


def recorded(results: Path) -> list[Point]:
    """Read the committed records of CIFAR-10."""
    records = {
        path.stem.removeprefix("cifar10_"): json.loads(path.read_text())
        for path in sorted(results.glob("cifar10_*.json"))
    }
    return [
        Point(
            f"{name}, {one['epochs']} epochs",
            one["parameters"],
            one["multiply_adds"],
            one["over_seeds"]["test_accuracy"]["mean"],
        )
        for name, one in records.items()
    ]


def published() -> list[Point]:
    """Read the published results."""
    points = json.loads((HERE / "published.json").read_text())["points"]
    names = [field.name for field in dataclasses.fields(Point)]
    return [Point(*(one[name] for name in names)) for one in points]


def draw_points(path: Path, groups: Mapping[str, Sequence[Point]]) -> None:
    """Draw accuracy against parameters and against multiply-adds, with a colour for each group."""
    figure = Figure(figsize=(13, 6), dpi=120, layout="constrained")
    by_size, by_cost = figure.subplots(1, 2)
    named: dict[Axes, dict[tuple[float, float], str]] = {by_size: {}, by_cost: {}}
    for name, points in groups.items():
        for axes, cost in ((by_size, "parameters"), (by_cost, "multiply_adds")):
            known = [point for point in points if getattr(point, cost)]
            spots = [(getattr(point, cost), 100 * point.accuracy) for point in known]
            axes.scatter(*zip(*spots, strict=True), label=name)
            named[axes] |= {spot: point.name for spot, point in zip(spots, known, strict=True)}
    by_size.set(xlabel="parameters", ylabel="test accuracy (%)", xscale="log")
    by_cost.set(xlabel="multiply-adds for one image", xscale="log")
    for axes in (by_size, by_cost):
        axes.margins(x=0.2)
        axes.minorticks_off()
    by_size.legend(loc="lower right")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, names in named.items():
        label(axes, names)
    figure.savefig(path)


def label(axes: Axes, names: Mapping[tuple[float, float], str]) -> None:
    """Write the name of each point near it without overlaps, joined to the point by a line."""
    texts = [axes.text(*spot, name, fontsize=7) for spot, name in names.items()]
    adjust_text(
        texts,
        ax=axes,
        expand=(1.15, 1.8),
        iter_lim=200,
        min_arrow_len=0,
        arrowprops={"arrowstyle": "-", "lw": 0.4},
    )


if __name__ == "__main__":
    sys.exit(main())

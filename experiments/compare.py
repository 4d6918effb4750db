"""Runs and records side by side, in pictures.

    python experiments/compare.py runs/a runs/b    # learning curves of both in one picture
    python experiments/compare.py                  # accuracy against size and cost, of all records

The second draws every record of CIFAR-10 under `experiments/results` beside the points of
`experiments/published.json`, which are of other recipes and mostly of 200 epochs and more.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from dilax.training import pictures
from dilax.training.folder import METRICS
from dilax.training.pictures import Point

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Draw learning curves of several runs, or accuracy against size and cost of all records."""

    runs: Positional[tuple[Path, ...]] = ()
    """Folders of runs; without any, the records are drawn."""
    output: Path | None = None
    """The picture: `compare.png`, or `experiments/results/cifar10.png` for the records."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    try:
        if config.runs:
            output = config.output or Path("compare.png")
            pictures.compared_curves(output, histories(config.runs))
        else:
            output = config.output or RESULTS / "cifar10.png"
            pictures.trade_offs(output, {"ours": recorded(RESULTS), "published": published()})
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(output)
    return 0


def histories(runs: Sequence[Path]) -> dict[str, list[Mapping[str, Any]]]:
    """The noted epochs of each run, by the end of its path that tells it from the others.

    Raises:
        ValueError: a folder holds no run, or one whose first epoch is not over.
    """
    found = {}
    for folder in runs:
        path = folder / METRICS
        lines = path.read_text().splitlines() if path.is_file() else []
        if not lines:
            raise ValueError(f"{folder} must be the folder of a run: there is no epoch in {path}")
        found[folder] = [json.loads(line) for line in lines]
    names = [folder.name for folder in found]
    alike = len(set(names)) < len(names)
    return {str(folder) if alike else folder.name: lines for folder, lines in found.items()}


def recorded(results: Path) -> list[Point]:
    """What the committed records of CIFAR-10 say."""
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
    """What others report."""
    points = json.loads((HERE / "published.json").read_text())["points"]
    names = [field.name for field in dataclasses.fields(Point)]
    return [Point(*(one[name] for name in names)) for one in points]


if __name__ == "__main__":
    sys.exit(main())

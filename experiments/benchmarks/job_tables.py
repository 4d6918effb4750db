"""Tables of trained networks that do one job, from the records of a program's runs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import benchmark
from benchmark import Record


class Metric(NamedTuple):
    """A result on the test examples, and how it is written."""

    key: str
    """Its name in the record, after ``test_``."""
    title: str
    share: bool = True
    """Whether it is a share of 1, written as a percentage."""

    def text(self, over: Mapping[str, float]) -> str:
        """Write mean and standard deviation over seeds."""
        form = ".2%" if self.share else ".2f"
        spread = f" ± {over['std']:{form}}" if over["n"] > 1 else ""
        return f"{over['mean']:{form}}{spread}"


def section(records: Mapping[str, Record], metrics: Sequence[Metric]) -> str:
    """Make a table with a row for each record, by what it is called, and say where it was made."""
    header = ("network", "parameters", "multiply-adds", "epochs", "seconds an epoch", "seeds")
    rows = []
    for name, found in records.items():
        over = found.get("over_seeds") or of_one_seed(found)
        seeds = found.get("seeds", [found["seed"]])
        seconds = found["train_seconds"] / found["epochs"] / len(seeds)
        rows.append(
            (
                name,
                *(f"{found[key]:,}" for key in ("parameters", "multiply_adds", "epochs")),
                f"{seconds:.1f}",
                str(len(seeds)),
                *(_cell(metric, over) for metric in metrics),
            )
        )
    titles = (*header, *(metric.title for metric in metrics))
    devices = sorted({found["device"] for found in records.values()})
    return f"{benchmark.table(titles, rows)}\nMean ± standard deviation; on {', '.join(devices)}.\n"


def of_one_seed(found: Record) -> dict[str, dict[str, float]]:
    """Return the results of one run as those over seeds."""
    return {
        name: {"mean": value, "std": 0.0, "n": 1}
        for name, value in found.items()
        if name.startswith("test_")
    }


def _cell(metric: Metric, over: Mapping[str, Mapping[str, float]]) -> str:
    found = over.get(f"test_{metric.key}")
    return metric.text(found) if found is not None else ""


def linked(records: Mapping[str, Record]) -> dict[str, Record]:
    """Name each record, by the stem of its file, by its network and dilation, as a link.

    And by its data set, if there are several.
    """
    several = len({found["dataset"] for found in records.values()}) > 1
    named = {}
    for stem, found in records.items():
        dilation = found["config"].get("kernel_dilation")
        with_dilation = f", dilation {', '.join(map(str, dilation))}" if dilation else ""
        on_set = f", on {found['dataset']}" if several else ""
        link = f"[`{found['model']}`](experiments/results/{stem}.json)"
        named[f"{link}{with_dilation}{on_set}"] = found
    return named


def transfer(found: Record) -> str:
    """Say what fine-tuning gave on CIFAR-10, from how many images, and how long it took."""
    config = found["config"]
    side = config["size"] or 96
    libraries = ", ".join(f"{name} {found['versions'][name]}" for name in ("jax", "flax"))
    return (
        f"Of {config['limit']:,} training images of CIFAR-10, resized to {side} x {side}, "
        f"{config['validation']:,} were held out to choose the epoch. After {config['epochs']} "
        f"passes over the others, {found['test_accuracy']:.2%} of the 10,000 test images are "
        "recognised (one seed, [record](experiments/results/transfer_cifar10.json)). These passes "
        f"took {found['train_seconds'] / 60:.1f} minutes on {found['device']}, which other "
        f"programs shared; {libraries}.\n"
    )

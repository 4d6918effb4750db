"""Write the tables of the README and of the documentation from the records.

    python experiments/benchmarks/tables.py           # rewrite the pages
    python experiments/benchmarks/tables.py --check   # exit with status 1 if a page is out of date

A page has each table between the comments ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``. The
names are the keys of ``SECTIONS``.
"""

import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import accelerate_speed
import benchmark
import call_overhead
import compiled_for_gpu
import epoch_speed
import forward_profile
import inference_speed
import job_tables
import loop_cost
import merge_speed
import paper_digits
import quantized_networks
import role_speed
import scaling
import smaller_networks
import step_speed
import stream_speed
import training_speed
import tyro
import wall_clock
from benchmark import RESULTS, Record
from gridding_study import report as gridding
from operations import report as operations

ROOT = RESULTS.parents[1]
BLOCK = re.compile(r"(<!-- begin: (\w+) -->\n)(.*?)(<!-- end: \2 -->)", re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s]+)")
"""The target of a link to a file in this repository."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Write the tables of the README and of the documentation from the records."""

    check: bool = False
    """Write nothing, but print the pages that are out of date; exit with status 1 if any is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    stale = {}
    for page in pages():
        old = page.read_text()
        if (new := fill(old, page.parent)) != old:
            stale[page] = new
    for page, text in stale.items():
        print(page.relative_to(ROOT), "is not up to date" if config.check else "rewritten")
        if not config.check:
            page.write_text(text)
    return int(config.check and bool(stale))


def pages() -> list[Path]:
    """Return the pages that may have tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def fill(text: str, folder: Path) -> str:
    """Replace every marked block of a page; links become relative to the page's folder.

    Raises:
        ValueError: A block has an unknown name.
    """

    def block(found: re.Match[str]) -> str:
        begin, name, _, end = found.groups()
        if name not in SECTIONS:
            raise ValueError(f"a block must be one of {', '.join(SECTIONS)}, got {name!r}")
        return begin + LINK.sub(lambda link: relative(link[1], folder), section(name)) + end

    return BLOCK.sub(block, text)


def relative(path: str, folder: Path) -> str:
    """Convert a path relative to the root of the repository to one relative to ``folder``."""
    return Path(os.path.relpath(ROOT / path, folder)).as_posix()


def section(name: str) -> str:
    """Return the text of a block; if its record is missing, a sentence that says so."""
    try:
        return SECTIONS[name]()
    except FileNotFoundError as missing:
        record = Path(missing.filename).stem
        return f"Not measured yet: `python experiments/benchmarks/{record}.py` measures it.\n"


def record(name: str) -> Record:
    """Read a committed record."""
    return json.loads((RESULTS / f"{name}.json").read_text())


# --- the table of the README ----------------------------------------------------------------------


def summary() -> str:
    """Make the table of at most seven results that opens the README."""
    single, steps = record("op_speed"), record("step_speed")
    plain = [row for row in single["rows"] if row["case"]["context"] == "call"]
    images = [row for row in plain if row["depthwise_2d"]]
    sequences = [row for row in plain if len(row["case"]["size"]) == 1]
    accelerated = record("accelerate_speed")["passes"]["training step"]["times_faster"]["median"]
    facts = [
        (
            f"Depthwise convolution of {what}, forward and backward ({len(rows)} shapes)",
            faster(
                lax=operations.mean_ratio(rows, "lax"),
                PyTorch=operations.mean_ratio(rows, "torch"),
            ),
        )
        for what, rows in (("images", images), ("sequences", sequences))
    ]
    facts += [
        (f"Training step of `{steps['model']}`", faster(**step_ratios(steps))),
        (
            "Training step of Keras's MobileNetV2 under `dilax.accelerate`",
            f"{operations.number(accelerated)} times faster than without",
        ),
        ("Single passes in which lax or PyTorch is faster than dilax", lost(single["rows"])),
        ("MNIST, `mnist_dsdc`", accuracy(record("mnist_dsdc"))),
        ("CIFAR-10, `dsdc`", accuracy(record("cifar10_dsdc"))),
    ]
    return benchmark.table((f"On {single['device']}", "result"), facts)


def faster(**ratios: float) -> str:
    """Say how many times faster dilax is than each baseline, given the ratios of times."""
    said = [f"than {name.replace('_', ' ')}" for name in ratios]
    numbers = map(operations.number, ratios.values())
    return ", ".join(f"{n} times faster {who}" for n, who in zip(numbers, said, strict=True))


def step_ratios(steps: Record) -> dict[str, float]:
    """Return each library's fastest time of a training step, divided by dilax's."""
    found: dict[str, float] = {}
    for name, row in steps["contestants"].items():
        library = name.split(",")[0].replace(" ", "_")
        found[library] = min(row["ratio"]["median"], found.get(library, float("inf")))
    return {name: value for name, value in found.items() if name != "dilax"}


def lost(rows: Sequence[Record]) -> str:
    """Say in how many passes lax and PyTorch were faster than dilax."""
    said = []
    for name, baseline in (("lax", "lax"), ("PyTorch", "torch")):
        losses = len(operations.losses(rows, baseline))
        said.append(f"{name}: {losses} of {len(operations.against(rows, baseline))}")
    return ", ".join(said)


def accuracy(found: Record) -> str:
    """Format the size and the test accuracy of a network."""
    over = found["over_seeds"]["test_accuracy"]
    return (
        f"{found['parameters']:,} parameters, {over['mean']:.2%} ± {over['std']:.2%} test accuracy "
        f"({over['n']} seeds)"
    )


# --- networks -------------------------------------------------------------------------------------

NETWORKS = (
    *("network", "parameters", "multiply-adds", "epochs"),
    *("test accuracy, mean", "deviation", "seeds", "recipe"),
)


def networks(dataset: str) -> str:
    """Make a table of all records whose file names start with the name of a data set."""
    records = {path: record(path.stem) for path in sorted(RESULTS.glob(f"{dataset}_*.json"))}
    rows = []
    places: dict[str, list[str]] = {}
    for path, found in records.items():
        over = found["over_seeds"]["test_accuracy"]
        rows.append(
            (
                f"[`{found['model']}`](experiments/results/{path.name})",
                *(f"{found[name]:,}" for name in ("parameters", "multiply_adds", "epochs")),
                *(f"{over['mean']:.2%}", f"{over['std']:.2%}", str(over["n"])),
                recipe(found["config"]),
            )
        )
        libraries = ", ".join(f"{name} {found['versions'][name]}" for name in ("jax", "flax"))
        places.setdefault(f"{found['device']}; {libraries}", []).append(path.stem)
    said = [f"On {place}: {', '.join(stems)}." for place, stems in places.items()]
    return f"{benchmark.table(NETWORKS, rows)}\n{' '.join(said)}\n"


def recipe(config: Record) -> str:
    """Format optimiser, learning rate, batch size, and other flags that are not at the default."""
    said = [config.get("optimizer", "adamw"), f"{config['learning_rate']:g}"]
    said.append(f"batches of {config['batch_size']}")
    if config.get("crop"):
        said.append(f"crops by {config['crop']}")
    if config.get("flip") == "alternating":
        said.append("alternating flips")
    if config.get("label_smoothing"):
        said.append(f"labels smoothed by {config['label_smoothing']:g}")
    if config.get("precision", "float32") != "float32":
        said.append(config["precision"])
    if config.get("test_flips"):
        said.append("mirrored tests")
    if config["evaluate"] != "final":
        said.append(f"{config['evaluate']} weights")
    return ", ".join(said)


def mnist() -> str:
    """Make the table of networks for MNIST, and compare half precision with float32."""
    full = accuracy_of(record("mnist_dsdc"))
    said = [
        f"{100 * (accuracy_of(record(f'mnist_dsdc_{half}')) - full):+.2f} points in {half}"
        for half in ("bfloat16", "float16")
    ]
    return f"{networks('mnist')}`mnist_dsdc` against float32: {', '.join(said)}.\n"


def cifar() -> str:
    """Make the tables for CIFAR-10: accuracy, separable against dense networks, and epoch times."""
    return (
        f"{networks('cifar10')}\n{separable_for_dense()}\n"
        f"{epoch_speed.section(record('epoch_speed'))}\n"
        f"[Picture of accuracy against size and cost](experiments/results/cifar10.png), with "
        f"published results.\n"
    )


REPLACEMENTS = (
    *(("cnn", "ds_dcn"), ("cnn", "ds_dcn_wide")),
    *(("keras_dilated", "keras_separable_adamw"), ("keras_dilated", "keras_separable")),
    *(("keras_dilated_muon", "keras_separable"), ("keras_dilated_muon", "keras_separable_longer")),
)
"""Pairs of records: a network of dense convolutions, and one of separable convolutions."""


def separable_for_dense() -> str:
    """Compare size, cost, time and accuracy of separable networks with those of dense ones."""
    seconds = record("epoch_speed")["seconds_an_epoch"]
    rows = []
    for names in REPLACEMENTS:
        dense, separable = (record(f"cifar10_{name}") for name in names)
        shares = [separable[key] / dense[key] for key in ("parameters", "multiply_adds")]
        times = [seconds[each["model"]]["median"] * each["epochs"] for each in (dense, separable)]
        rows.append(
            (
                *(f"`{each['model']}`, {brief(each)}" for each in (separable, dense)),
                *(f"{share:.2f}" for share in (*shares, times[1] / times[0])),
                f"{100 * (accuracy_of(separable) - accuracy_of(dense)):+.1f}",
            )
        )
    header = ("separable", "dense", "parameters", "multiply-adds", "time", "points of accuracy")
    return (
        f"{benchmark.table(header, rows)}\nParameters, multiply-adds and training time of the "
        f"separable network are relative to the dense one; accuracy is the difference in "
        f"percentage points.\n"
    )


def brief(found: Record) -> str:
    """Format the optimiser and the number of epochs of a run."""
    return f"{found['config'].get('optimizer', 'adamw')}, {found['epochs']} epochs"


def accuracy_of(found: Record) -> float:
    """Return the mean test accuracy of a record over its seeds."""
    return found["over_seeds"]["test_accuracy"]["mean"]


# --- all blocks, by name --------------------------------------------------------------------------


def single_operations() -> str:
    """Make the table of single operations, and compare the choice with the fastest algorithm."""
    choices = operations.choices_section(record("algorithms"))
    return f"{operations.section(record('op_speed'))}\n{choices}"


def degridding() -> str:
    """Make the table of accuracy with and without degridding, for all tasks."""
    names = [path.stem for path in sorted(RESULTS.glob("gridding_accuracy*.json"))]
    return gridding.section({name: record(name) for name in names})


def quantized() -> str:
    """Make the tables of networks of 8-bit integers, on digits and on photographs."""
    names = ("quantized_networks", "quantized_networks_cifar10")
    return "\n".join(quantized_networks.section(record(name)) for name in names)


SEGMENTATION = (
    job_tables.Metric("mean_iou", "mean IoU"),
    job_tables.Metric("boundary_iou", "boundary IoU"),
    job_tables.Metric("pixel_accuracy", "pixel accuracy"),
)


DETECTION = (
    job_tables.Metric("ap50", "AP50"),
    job_tables.Metric("ap", "AP"),
    job_tables.Metric("f1", "F1"),
)


TEXT = (
    job_tables.Metric("accuracy", "accuracy"),
    job_tables.Metric("baseline_accuracy", "of the baseline"),
)
TAGGING = (
    job_tables.Metric("token_accuracy", "words"),
    job_tables.Metric("sequence_accuracy", "whole texts"),
    job_tables.Metric("f1", "F1"),
)
SPEECH = (job_tables.Metric("accuracy", "accuracy"),)
VIDEO = (job_tables.Metric("accuracy", "accuracy"),)
SUPER_RESOLUTION = (
    job_tables.Metric("psnr", "PSNR, dB", share=False),
    job_tables.Metric("bicubic_psnr", "of bicubic", share=False),
    job_tables.Metric("ssim", "SSIM", share=False),
    job_tables.Metric("bicubic_ssim", "of bicubic", share=False),
)


def job(name: str, metrics: Sequence[job_tables.Metric]) -> str:
    """Make the table of all records of a job, whose file names begin with its name."""
    stems = [path.stem for path in sorted(RESULTS.glob(f"{name}_*.json"))]
    if not stems:
        return f"Not measured yet; `experiments/{name}.py` with `--seeds 3` measures it.\n"
    return job_tables.section(job_tables.linked({stem: record(stem) for stem in stems}), metrics)


SECTIONS: Mapping[str, Callable[[], str]] = {
    "summary": summary,
    "operations": single_operations,
    "roles": lambda: role_speed.section(record("role_speed")),
    "overhead": lambda: call_overhead.section(record("call_overhead")),
    "speed": lambda: step_speed.section(record("step_speed")),
    "training_speed": lambda: training_speed.section(record("training_speed")),
    "accelerate": lambda: accelerate_speed.section(record("accelerate_speed")),
    "mnist": mnist,
    "cifar": cifar,
    "inference": lambda: inference_speed.section(record("inference_speed")),
    "gpu": lambda: compiled_for_gpu.section(record("compiled_for_gpu")),
    "profile": lambda: forward_profile.section(record("forward_profile")),
    "streams": lambda: stream_speed.section(record("stream_speed")),
    "smaller": lambda: smaller_networks.section(record("smaller_networks")),
    "paper": lambda: paper_digits.section(record("paper_digits")),
    "quantized": quantized,
    "waiting": lambda: wall_clock.section(record("wall_clock")),
    "merging": lambda: merge_speed.section(record("merge_speed")),
    "scaling": lambda: scaling.section(record("scaling")),
    "costs": lambda: loop_cost.section(record("loop_cost")),
    "degridding": degridding,
    "detection": lambda: job("detection", DETECTION),
    "text": lambda: job("text", TEXT),
    "tagging": lambda: job("tagging", TAGGING),
    "speech": lambda: job("speech", SPEECH),
    "time_series": lambda: job("time_series", TEXT),
    "video": lambda: job("video", VIDEO),
    "super_resolution": lambda: job("super_resolution", SUPER_RESOLUTION),
    "segmentation": lambda: job("segmentation", SEGMENTATION),
    "transfer": lambda: job_tables.transfer(record("transfer_cifar10")),
}


if __name__ == "__main__":
    sys.exit(main())

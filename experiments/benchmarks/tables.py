"""Writes the tables of the README from the records under `experiments/results`.

python experiments/benchmarks/tables.py           # rewrite README.md
python experiments/benchmarks/tables.py --check   # exit status 1 if it is not up to date
"""

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _programs  # noqa: F401
import scaling_report
from common.markdown import table as markdown
from gridding_study import report as gridding_study
from operations import report

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "results"

Record = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; give its exit status."""
    check = "--check" in (sys.argv[1:] if arguments is None else arguments)
    readme = ROOT / "README.md"
    old = readme.read_text()
    new = fill(old)
    if check:
        return int(new != old)
    readme.write_text(new)
    return 0


def fill(text: str) -> str:
    """The text with every marked section written anew."""
    for name, section in SECTIONS.items():
        begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = before + begin + section() + end + after
    return text


def record(name: str) -> Record:
    """A committed record."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def speed() -> str:
    """Training steps, contestant by contestant."""
    found = record("step_speed")
    rows = [
        (
            name,
            f"{row['milliseconds']['median']:.1f}",
            "1" if name == found["ratio_to"] else f"{row['ratio']['median']:.1f}",
            *compiling(row["compile_seconds"]),
        )
        for name, row in found["contestants"].items()
    ]
    header = ("training step of", "ms", "times dilax", "s to compile", "times stock")
    table = markdown(header, rows)
    return (
        f"{table}\n`{found['model']}`, batches of {found['batch_size']}, float32, medians of "
        f"{found['rounds']} rounds taken in turns on {found['device']}; {in_words(found)} "
        f"([record](experiments/results/step_speed.json)). dilax trains in a scan.\n"
    )


def compiling(seconds: Record | None) -> tuple[str, str]:
    """Seconds to compile, and how many times the stock form's; nothing, where nothing compiles."""
    if seconds is None:
        return "", ""
    return f"{seconds['median']:.1f}", f"{seconds['of_stock']['median']:.2f}"


def accuracies(dataset: str) -> str:
    """Accuracy of the networks that have a record on a data set, by which its file is named."""
    paths = sorted(RESULTS.glob(f"{dataset}_*.json"))
    found = [record(path.stem) for path in paths]
    rows = [
        (
            f"[`{one['model']}`](experiments/results/{path.name})",
            f"{one['parameters']:,}",
            f"{one['multiply_adds']:,}",
            str(one["epochs"]),
            f"{one['over_seeds']['test_accuracy']['mean']:.2%}",
            f"{one['over_seeds']['test_accuracy']['std']:.2%}",
            str(one["over_seeds"]["test_accuracy"]["n"]),
            recipe(one["config"]),
        )
        for path, one in zip(paths, found, strict=True)
    ]
    header = (
        "network",
        "parameters",
        "multiply-adds",
        "epochs",
        "test accuracy, mean",
        "deviation",
        "seeds",
        "recipe",
    )
    where: dict[str, list[str]] = {}
    for path, one in zip(paths, found, strict=True):
        where.setdefault(f"{one['device']}; {in_words(one)}", []).append(path.stem)
    said = [
        f"On {place}{': ' + ', '.join(stems) if len(where) > 1 else ''}."
        for place, stems in where.items()
    ]
    return f"{markdown(header, rows)}\n{' '.join(said)}\n"


def recipe(config: Record) -> str:
    """The flags that tell a run's recipe from the defaults of all."""
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
    """The networks for MNIST, and what half precision costs."""
    full = record("mnist_dsdc")["over_seeds"]["test_accuracy"]["mean"]
    said = []
    for precision in ("bfloat16", "float16"):
        mean = record(f"mnist_dsdc_{precision}")["over_seeds"]["test_accuracy"]["mean"]
        said.append(f"{100 * (mean - full):+.2f} points in {precision}")
    return f"{accuracies('mnist')}`mnist_dsdc` against float32: {', '.join(said)}.\n"


def cifar() -> str:
    """The networks for CIFAR-10: accuracy, and what an epoch takes."""
    found = record("epoch_speed")
    rows = [
        (
            f"`{name}`",
            f"{seconds['median']:.3g}",
            f"{found['ratio'][name]['median']:.2f}",
        )
        for name, seconds in found["seconds_an_epoch"].items()
    ]
    table = markdown(("network", "seconds an epoch", f"to `{found['ratio_to']}`"), rows)
    return (
        f"{accuracies('cifar10')}\n{separable_for_dense()}\n{table}\n"
        f"Steps of {found['config']['batch_size']} images, augmentation included, medians of "
        f"{found['config']['rounds']} rounds taken in turns on {found['device']}; "
        f"{in_words(found)} "
        f"([record](experiments/results/epoch_speed.json)). "
        f"[Accuracy against size and cost](experiments/results/cifar10.png), beside what others "
        f"report.\n"
    )


def separable_for_dense() -> str:
    """What becomes of a network's accuracy where its convolutions are made separable."""
    epochs = record("cifar10_keras_separable_longer")["epochs"]
    ratio = record("epoch_speed")["ratio"]["keras_separable"]["median"]
    share = ratio * epochs / record("cifar10_keras_dilated_muon")["epochs"]
    return (
        f"Against `cnn`, of dense convolutions and trained alike, {against('cnn', 'ds_dcn')}; "
        f"{against('cnn', 'ds_dcn_wide')}. Against `keras_dilated` by the tutorial's recipe "
        f"(AdamW), {against('keras_dilated', 'keras_separable_adamw')} by the same recipe and "
        f"{lead('keras_dilated', 'keras_separable')} by Muon's. Against `keras_dilated` by "
        f"Muon's recipe, it is {lead('keras_dilated_muon', 'keras_separable')} in as many epochs, "
        f"and {lead('keras_dilated_muon', 'keras_separable_longer')} in {epochs}, which take "
        f"{share:.2f} of its time.\n"
    )


def against(dense: str, name: str) -> str:
    """Parameters, cost and accuracy of a network beside those of a dense one."""
    plain, found = record(f"cifar10_{dense}"), record(f"cifar10_{name}")
    parameters, cost = (found[key] / plain[key] for key in ("parameters", "multiply_adds"))
    return (
        f"`{found['model']}`, with {parameters:.2f} of the parameters and {cost:.2f} of the "
        f"multiply-adds, is {lead(dense, name)}"
    )


def lead(dense: str, name: str) -> str:
    """By how many points one record's accuracy is above another's, in words."""
    accuracies = [record(f"cifar10_{one}")["test_accuracy"] for one in (dense, name)]
    points = 100 * (accuracies[1] - accuracies[0])
    return f"{abs(points):.1f} points {'behind' if points < 0 else 'ahead'}"


def waiting() -> str:
    """What a newcomer waits for."""
    found = record("wall_clock")
    imported, run = found["import_seconds"], found["default_run_seconds"]
    field = found["field_seconds"]
    return (
        f"On {found['device']}, the default run takes {run['median']:.0f} s from start to finish "
        f"(n = {run['n']}), `import dilax` {imported['median']:.2f} s beyond jax and flax (median "
        f"of {imported['n']}), and reading the receptive field off a network of 50 blocks "
        f"{field['median']:.1f} s (median of {field['n']}; "
        f"[record](experiments/results/wall_clock.json)).\n"
    )


def in_words(found: Record) -> str:
    """The versions of a record."""
    names = ("jax", "flax", "torch")
    return ", ".join(
        f"{name} {found['versions'][name]}" for name in names if name in found["versions"]
    )


def operations() -> str:
    """Single operations, family by family, and every loss."""
    found = record("op_speed")
    table = markdown(report.FAMILY_HEADER, report.families(found))
    lost = {baseline: len(report.losses(found, baseline)) for baseline in ("lax", "torch")}
    timed = {baseline: report.comparisons(found, baseline) for baseline in lost}
    return (
        f"{table}\nTimes of the others in units of dilax's, geometric means; lax at the best of "
        f"its flags in each case. float32 unless the case says otherwise, medians of "
        f"{found['rounds']} rounds taken in turns on {found['device']}; {in_words(found)} "
        f"([every case](experiments/results/op_speed.md), "
        f"[picture](experiments/results/op_speed.png), "
        f"[record](experiments/results/op_speed.json)).\n\n"
        f"{separable_blocks(found)}\n\n"
        f"Of single passes, lax was faster in {lost['lax']} of {timed['lax']} comparisons and "
        f"PyTorch in {lost['torch']} of {timed['torch']}: every one is listed there.\n"
        f"{choices()}"
    )


def separable_blocks(found: Record) -> str:
    """Whether separable convolution is faster than the dense one it replaces, as it promises."""
    blocks = [row for row in found["rows"] if row["case"]["kind"] == "separable"]
    parts = [
        f"{report.ratio(row, report.BOTH, 'dense'):.1f} times as fast with "
        f"{row['case']['features']} channels"
        for row in sorted(blocks, key=lambda row: row["case"]["features"])
    ]
    return (
        "A separable block, forward and backward, is "
        + " and ".join(parts)
        + " as the dense 3x3 convolution that it replaces is by lax."
    )


def choices() -> str:
    """How near the table of algorithms comes to the fastest, and how far two processes differ."""
    found = record("algorithms")
    times, again = report.choices(found), report.by_itself(found)
    near, (worst, where) = sum(time <= 1.1 for time, _ in times), max(times)
    low, _, high = statistics.quantiles(again, n=4)
    return (
        f"\nWhat [the table of algorithms](dilax/algorithms/_choice.py) chooses takes at most a "
        f"tenth longer than the fastest of dilax's algorithms and lax in {near} of {len(times)} "
        f"passes, at worst {worst:.1f} times as long ({where}): [every case]"
        f"(experiments/results/algorithms.md), [record](experiments/results/algorithms.json). "
        f"There `shift_and_add` stands twice, by name and as what dilax chooses, in two processes: "
        f"by name it took {low:.2f} to {high:.2f} times as long (middle half of {len(again)} "
        f"cases). Differences of that size say nothing.\n"
    )


def accelerate() -> str:
    """A network of another library, as it is and accelerated."""
    found = record("accelerate_speed")
    rows = [
        (
            name,
            f"{row['as it is']['milliseconds']['median']:.0f}",
            f"{row['accelerated']['milliseconds']['median']:.0f}",
            f"{row['times_faster']['median']:.1f}",
            f"{row['as it is']['compile_seconds']:.1f}",
            f"{row['accelerated']['compile_seconds']:.1f}",
        )
        for name, row in found["passes"].items()
    ]
    header = ("", "ms, as it is", "ms, accelerated", "times faster", "s to compile", "accelerated")
    return (
        f"{markdown(header, rows)}\n`{found['model']}`, {found['image_size']} x "
        f"{found['image_size']}, batches of {found['batch_size']}, Keras "
        f"{found['versions']['keras']} on JAX; medians of {found['rounds']} rounds taken in turns "
        f"on {found['device']}; {in_words(found)} "
        f"([record](experiments/results/accelerate_speed.json)).\n"
    )


def merging() -> str:
    """Branches of a depthwise block, before and after they are merged."""
    found = record("merge_speed")
    rows = [
        (
            f"{max(row['kernel_sizes'])} x {max(row['kernel_sizes'])}",
            str(row["branches"]),
            f"{row['milliseconds']['branches']['median']:.1f}",
            f"{row['milliseconds']['merged']['median']:.1f}",
            f"{row['times_faster']['median']:.1f}",
            f"{row['largest_relative_difference']:.0e}",
        )
        for row in found["blocks"]
    ]
    header = ("block", "branches", "ms, branches", "ms, merged", "times faster", "difference")
    config = found["config"]
    return (
        f"{markdown(header, rows)}\nUniRepLKNet's blocks in evaluation, ({config['batch_size']}, "
        f"{config['image_size']}, {config['image_size']}, {config['features']}) float32, medians "
        f"of {config['rounds']} rounds taken in turns on {found['device']}; {in_words(found)} "
        f"([record](experiments/results/merge_speed.json)).\n"
    )


def degridding() -> str:
    """Whether the degridding help, in one table for all tasks."""
    paths = sorted(RESULTS.glob("gridding_accuracy*.json"))
    records = {path.stem: record(path.stem) for path in paths}
    tasks: dict[str, Any] = {}
    said = []
    for stem, found in records.items():
        tasks |= found["tasks"]
        where = f"experiments/results/{stem}"
        learnt = ", ".join(f"`{name}` {examples(found['config'], name)}" for name in found["tasks"])
        said.append(f"{learnt} ([tables]({where}.md), [record]({where}.json))")
    config = found["config"]
    return (
        f"{gridding_study.overview(tasks)}\nTest accuracy, mean and deviation over "
        f"{config['seeds']} seeds, after {config['epochs']} epochs: of {'; of '.join(said)}. "
        f"*Touched* is the share of its field that the trained network sees. Arrows: better or "
        f"worse than four naive equal rates by more than twice the standard error of the "
        f"difference, the ten comparisons of a task not corrected for being ten. On "
        f"{found['device']}; {in_words(found)}.\n"
    )


def examples(config: Record, task: str) -> str:
    """What a task of `gridding_accuracy.py` learns from."""
    if task == "digits":
        return f"{config['canvases']:,} canvases, per pixel"
    return f"{config['limit']:,} images" if config["limit"] else "all images"


def costs() -> str:
    """What checkpoints and streaming take."""
    found = record("loop_cost")
    share = found["share_of_checkpoints"]["median"]
    return (
        f"A checkpoint after each epoch takes {share:.1%} of an epoch of "
        f"`{found['config']['model']}`, were it waited for; streamed images come "
        f"{found['streamed_throughput']:.2f} times as fast as those that lie on the device "
        f"(medians of {found['config']['rounds']} epochs of each, taken in turns on "
        f"{found['device']}; {in_words(found)}; [record](experiments/results/loop_cost.json)).\n"
    )


def scaling() -> str:
    """Images a second on 1 to n devices."""
    text = scaling_report.section(record("scaling")).rstrip()
    return f"{text} ([record](experiments/results/scaling.json))\n"


SECTIONS: Mapping[str, Callable[[], str]] = {
    "speed": speed,
    "operations": operations,
    "accelerate": accelerate,
    "mnist": mnist,
    "cifar": cifar,
    "waiting": waiting,
    "merging": merging,
    "scaling": scaling,
    "costs": costs,
    "degridding": degridding,
}


if __name__ == "__main__":
    sys.exit(main())

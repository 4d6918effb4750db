"""Pictures of a run: learning curves, confusion matrix, mistakes and feature maps.

Each function writes one PNG file, without a window and without global state of Matplotlib.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from dilax.training._lettering import letter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST = 50.0
"""The longest side of a confusion matrix, in inches."""
_MOST_TICKS = 100


def draw_learning_curves(
    path: Path, runs: Mapping[str, Sequence[Mapping[str, Any]]], *, score: str = "accuracy"
) -> None:
    """Draw loss and score over the epochs of one run or several, dashed for validation.

    A score that is a share, such as an accuracy, is drawn as what is missing to 100 %.

    Args:
        path: The PNG file.
        runs: By name, the lines of ``metrics.jsonl`` of each run.
        score: The metric to draw beside the loss.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _figure(width=9, height=4)
    losses, scores = figure.subplots(1, 2)
    names, family, note = letter(list(runs), longest=60)
    curves = {
        (place, part, metric): [line[f"{part}_{metric}"] for line in history]
        for place, history in enumerate(runs.values())
        for part in ("train", "validation")
        for metric in ("loss", score)
        if history and f"{part}_{metric}" in history[0]
    }
    drawn = [curve for (_, _, metric), curve in curves.items() if metric == score]
    share = all(0 <= value <= 1 for curve in drawn for value in curve)
    for (place, part, metric), curve in curves.items():
        named = names[place] if part == "train" and metric == "loss" else None
        values = [100 * (1 - value) for value in curve] if metric == score and share else curve
        (losses if metric == "loss" else scores).plot(
            range(1, len(curve) + 1),
            values,
            label=named,
            color=f"C{place % 10}",
            linestyle="-" if part == "train" else "--",
            marker=".",
        )
    words = score.replace("_", " ")
    missing = "error (%)" if score == "accuracy" else f"100 % minus {words} (%)"
    losses.set(xlabel="epoch", ylabel="loss", yscale="log")
    scores.set(
        xlabel="epoch",
        ylabel=missing if share else words,
        yscale="log" if share else "linear",
    )
    for axes in (losses, scores):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend = losses.legend(
        loc="upper right", title="training; validation dashed", prop={"family": family, "size": 8}
    )
    legend.get_title().set_fontsize(8)
    _add_note(figure, note)
    figure.savefig(path)


def draw_confusion_matrix(path: Path, counts: np.ndarray, class_names: Sequence[str]) -> None:
    """Draw a confusion matrix, coloured by the mistakes alone.

    Args:
        path: The PNG file.
        counts: ``(classes, classes)``: rows are labels, columns predictions.
        class_names: One name per class.
    """
    names, family, note = letter(class_names, longest=24)
    longest = max(map(len, names), default=0)
    side = 1 + 0.1 * longest + min(0.5 * len(names), _LARGEST)
    figure = _figure(width=side, height=side)
    axes = figure.subplots()
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    largest = max(1, wrong.max())
    axes.imshow(wrong, cmap="Reds", vmin=0, vmax=largest)
    every = -(-len(names) // _MOST_TICKS)
    places = range(0, len(names), every)
    axes.set_xticks(places, names[::every], rotation=90, fontfamily=family)
    axes.set_yticks(places, names[::every], fontfamily=family)
    axes.set(xlabel="prediction", ylabel="label")
    if len(names) <= 20:
        _write_counts(axes, counts, wrong / largest)
    _add_note(figure, note)
    figure.savefig(path)


def _write_counts(axes: "Axes", counts: np.ndarray, darkness: np.ndarray) -> None:
    """Write each count into its cell, white on dark ones."""
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if darkness[row, column] > 0.5 else "black"
        size = 8 if count < 10_000 else 6
        axes.text(column, row, str(count), ha="center", va="center", fontsize=size, color=colour)


def draw_mistakes(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    *,
    most: int = 60,
) -> None:
    """Draw the misclassified images, the most confident first.

    The title of each is its label, the prediction, and the probability of the prediction.

    Args:
        path: The PNG file.
        images: ``(N, H, W, C)`` uint8.
        labels: ``(N,)`` integers.
        logits: ``(N, classes)``.
        class_names: One name per class.
        most: Number of images that are drawn at most.
    """
    confidence = np.asarray(jax.nn.softmax(logits, axis=-1)).max(axis=-1)
    predictions = logits.argmax(axis=-1)
    wrong = np.flatnonzero(predictions != labels)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    names, family, note = letter(class_names, longest=16)
    titles = [
        _title(names[labels[n]], f"→ {names[predictions[n]]} {confidence[n]:.0%}") for n in shown
    ]
    columns, rows = 10, max(1, -(-len(shown) // 10))
    figure, grid = _grid(rows, columns, width=1.1 * columns, height=1.3 * rows + 0.5)
    figure.suptitle(f"{len(wrong)} of {len(labels)} wrong: label → prediction, probability")
    for axes, number, title in zip(grid.flat, shown, titles, strict=False):
        axes.imshow(images[number], cmap="gray")
        axes.set_title(title, fontsize=6, fontfamily=family)
    _add_note(figure, note)
    figure.savefig(path)


def draw_predictions(
    path: Path, images: Sequence[np.ndarray], answers: Sequence[str], *, most: int = 60
) -> None:
    """Draw pictures, each with what a network says of it as its title.

    Args:
        path: The PNG file.
        images: ``(H, W, C)`` uint8, of any size.
        answers: One text per picture; its lines stand one below the other.
        most: Number of pictures that are drawn at most, the first ones.
    """
    texts = [answer.split("\n") for answer in answers[:most]]
    names, family, note = letter([line for text in texts for line in text], longest=30)
    lines = iter(names)
    titles = ["\n".join(next(lines) for _ in text) for text in texts]
    columns = min(6, max(len(titles), 1))
    rows = max(1, -(-len(titles) // columns))
    tallest = max(map(len, texts), default=1)
    figure, grid = _grid(rows, columns, width=2 * columns, height=(2.1 + 0.14 * tallest) * rows)
    figure.set_layout_engine("constrained", h_pad=0.1)
    for axes, image, title in zip(grid.flat, images, titles, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=7, fontfamily=family)
    _add_note(figure, note)
    figure.savefig(path)


def _title(label: str, prediction: str) -> str:
    """Join two parts, on one line if there is room for both above a small image."""
    return label + (" " if len(label) + len(prediction) < 24 else "\n") + prediction


def draw_feature_maps(
    path: Path, image: np.ndarray, layers: Mapping[str, np.ndarray], *, most: int = 12
) -> None:
    """Draw an image and, in a row for each layer, the first channels of its activations.

    Args:
        path: The PNG file.
        image: ``(H, W, C)`` uint8.
        layers: By the title of its row, ``(h, w, channels)`` floats; at least one.
        most: Number of channels that are drawn at most.
    """
    rows = {"input": [image]} | {
        title: [maps[..., channel] for channel in range(min(most, maps.shape[-1]))]
        for title, maps in layers.items()
    }
    figure, grid = _grid(len(rows), most, width=1.1 * most + 1.3, height=1.15 * len(rows))
    for line, (title, row) in zip(grid, rows.items(), strict=True):
        for axes, shown in zip(line, row, strict=False):
            axes.imshow(shown, cmap="gray")
        beside = {"ha": "right", "va": "center", "fontsize": 8}
        line[0].text(-0.1, 0.5, title, transform=line[0].transAxes, **beside)
    figure.savefig(path)


def _grid(rows: int, columns: int, *, width: float, height: float) -> tuple["Figure", np.ndarray]:
    """Create a figure with a grid of axes for images, without frames."""
    figure = _figure(width=width, height=height)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def _add_note(figure: "Figure", note: str) -> None:
    if note:
        figure.supxlabel(note, fontsize=7)


def _figure(*, width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")

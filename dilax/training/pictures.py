"""Pictures of a run: how it learned, what it takes for what, where it errs, what it sees.

Each function writes one PNG file. Figures are drawn without a window and without global state.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning_curves(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw loss and error over the epochs, in training and, when noted, in validation.

    Args:
        path: the PNG file.
        history: the lines of `metrics.jsonl`.
    """
    figure = _figure(width=9, height=3.5)
    loss, error = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in history]
    for part in ("train", "validation"):
        if f"{part}_loss" in history[0]:
            loss.plot(epochs, [line[f"{part}_loss"] for line in history], marker=".", label=part)
            errors = [100 * (1 - line[f"{part}_accuracy"]) for line in history]
            error.plot(epochs, errors, marker=".", label=part)
    loss.set(xlabel="epoch", ylabel="loss (nats)", yscale="log")
    error.set(xlabel="epoch", ylabel="error (%)")
    error.legend()
    figure.savefig(path)


def compared_curves(path: Path, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw loss and error of several runs over their epochs: in validation dashed, where noted.

    Args:
        path: the PNG file.
        runs: by name, the lines of each `metrics.jsonl`.
    """
    figure = _figure(width=9, height=4)
    loss, error = figure.subplots(1, 2)
    for place, (name, history) in enumerate(runs.items()):
        epochs = [line["epoch"] for line in history]
        for part, style in (("train", "-"), ("validation", "--")):
            if f"{part}_loss" in history[0]:
                look = {"color": f"C{place % 10}", "linestyle": style, "marker": "."}
                label = name if part == "train" else None
                loss.plot(epochs, [line[f"{part}_loss"] for line in history], label=label, **look)
                errors = [100 * (1 - line[f"{part}_accuracy"]) for line in history]
                error.plot(epochs, errors, **look)
    loss.set(xlabel="epoch", ylabel="loss (nats)", yscale="log")
    error.set(xlabel="epoch", ylabel="error (%)", yscale="log")
    loss.legend(title="training; validation dashed", fontsize=8, title_fontsize=8)
    figure.savefig(path)


@dataclasses.dataclass(frozen=True)
class Point:
    """A network's accuracy and what it takes."""

    name: str
    parameters: int
    multiply_adds: int | None
    """Of one image; None where nobody says."""
    accuracy: float
    """A fraction."""


def trade_offs(path: Path, groups: Mapping[str, Sequence[Point]]) -> None:
    """Draw accuracy against parameters and against multiply-adds.

    Args:
        path: the PNG file.
        groups: by name, networks that get one look.
    """
    figure = _figure(width=13, height=6)
    by_size, by_cost = figure.subplots(1, 2)
    named: dict[Axes, dict[tuple[float, float], str]] = {by_size: {}, by_cost: {}}
    for place, (name, points) in enumerate(groups.items()):
        for axes, cost in ((by_size, "parameters"), (by_cost, "multiply_adds")):
            shown = [point for point in points if getattr(point, cost)]
            spots = [(getattr(point, cost), 100 * point.accuracy) for point in shown]
            axes.scatter(*zip(*spots, strict=True), label=name, color=f"C{place}")
            named[axes] |= {spot: point.name for spot, point in zip(spots, shown, strict=True)}
    by_size.set(xlabel="parameters", ylabel="test accuracy (%)", xscale="log")
    by_cost.set(xlabel="multiply-adds of an image", xscale="log")
    for axes in (by_size, by_cost):
        axes.margins(x=0.2)
        axes.minorticks_off()
    by_size.legend()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, names in named.items():
        _write_beside(axes, names)
    figure.savefig(path)


_BESIDE = tuple(
    (x, y, side)
    for y in (0, 6, -6, 12, -12)
    for x, side in ((6, "left"), (-6, "right"), (0, "center"))
    if x or y
)
"""Offsets of a name from its point, in points of type, and the side of it that stands there."""


def _write_beside(axes: "Axes", names: Mapping[tuple[float, float], str]) -> None:
    """Write names beside their points, each where it covers least of points and other names."""
    from matplotlib.transforms import Bbox

    def covered(box: Bbox) -> float:
        shared = [one for other in taken if (one := Bbox.intersection(box, other)) is not None]
        inside = Bbox.intersection(box, axes.bbox)
        missing = box.width * box.height - (inside.width * inside.height if inside else 0)
        return missing + sum(one.width * one.height for one in shared)

    spots = axes.transData.transform(list(names))
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in spots]
    for spot, name in names.items():
        tried = [
            axes.annotate(
                *(name, spot, (x, y)), textcoords="offset points", ha=side, va="center", fontsize=7
            )
            for x, y, side in _BESIDE
        ]
        boxes = [text.get_window_extent() for text in tried]
        best = min(range(len(boxes)), key=lambda place: covered(boxes[place]))
        taken.append(boxes[best])
        for place, text in enumerate(tried):
            if place != best:
                text.remove()


def confusion(path: Path, counts: np.ndarray, class_names: Sequence[str]) -> None:
    """Draw a confusion matrix; the colour is that of the mistakes alone.

    Args:
        path: the PNG file.
        counts: `(classes, classes)`, row the truth, column the prediction.
        class_names: one a class.
    """
    side = 2 + 0.5 * len(class_names)
    figure = _figure(width=side, height=side)
    axes = figure.subplots()
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=max(1, mistakes.max()))
    places = range(len(class_names))
    axes.set_xticks(places, class_names, rotation=90)
    axes.set_yticks(places, class_names)
    axes.set(xlabel="prediction", ylabel="truth")
    if len(class_names) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8)
    figure.savefig(path)


def mistakes(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    *,
    most: int = 60,
) -> None:
    """Draw a page of the wrongly classified images, the most confident first.

    Above each stands truth, prediction, and the probability given to the prediction.

    Args:
        path: the PNG file.
        images: `(N, H, W, C)` uint8.
        labels: `(N,)` integers.
        logits: `(N, classes)`.
        class_names: one a class.
        most: how many images fit on the page.
    """
    confidence = _softmax(logits).max(axis=-1)
    predictions = logits.argmax(axis=-1)
    wrong = np.flatnonzero(predictions != labels)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    titles = [
        f"{class_names[labels[n]]} → {class_names[predictions[n]]} {confidence[n]:.0%}"
        for n in shown
    ]
    columns, rows = 10, max(1, -(-len(shown) // 10))
    figure, grid = _grid(rows, columns, width=1.1 * columns, height=1.3 * rows + 0.5)
    figure.suptitle(f"{len(wrong)} of {len(labels)} wrong: truth → prediction, confidence")
    for axes, number, title in zip(grid.flat, shown, titles, strict=False):
        _show(axes, images[number])
        axes.set_title(title, fontsize=6)
    figure.savefig(path)


def feature_maps(
    path: Path, image: np.ndarray, layers: Mapping[str, np.ndarray], *, most: int = 12
) -> None:
    """Draw an image and, a row for each layer, what its first channels make of it.

    Args:
        path: the PNG file.
        image: `(H, W, C)` uint8.
        layers: by what stands beside its row, `(h, w, channels)` floats; at least one.
        most: how many channels fit in a row.
    """
    rows = {"input": [image]} | {
        title: [maps[..., channel] for channel in range(min(most, maps.shape[-1]))]
        for title, maps in layers.items()
    }
    figure, grid = _grid(len(rows), most, width=1.1 * most + 1.3, height=1.15 * len(rows))
    for line, (title, row) in zip(grid, rows.items(), strict=True):
        for axes, shown in zip(line, row, strict=False):
            _show(axes, shown)
        beside = {"ha": "right", "va": "center", "fontsize": 8}
        line[0].text(-0.1, 0.5, title, transform=line[0].transAxes, **beside)
    figure.savefig(path)


def _grid(rows: int, columns: int, *, width: float, height: float) -> tuple["Figure", np.ndarray]:
    """A figure of places for images, with nothing around them."""
    figure = _figure(width=width, height=height)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def _show(axes: "Axes", image: np.ndarray) -> None:
    """Show `(H, W)`, `(H, W, 1)` in grey or `(H, W, 3)` in colour."""
    grey = image.ndim == 2 or image.shape[-1] == 1
    axes.imshow(image.squeeze(-1) if grey and image.ndim == 3 else image, cmap="gray")


def _figure(*, width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)

"""Pictures of a run: how it learned, what it takes for what, where it errs, what it sees.

Each function writes one PNG file. Figures are drawn without a window and without global state.
"""

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
    heading = f"{len(wrong)} of {len(labels)} wrong: truth → prediction, confidence"
    _page(path, [images[n] for n in shown], titles, heading=heading, columns=10)


def feature_maps(path: Path, image: np.ndarray, maps: np.ndarray, *, name: str) -> None:
    """Draw an image and what each channel of a layer makes of it.

    Args:
        path: the PNG file.
        image: `(H, W, C)` uint8.
        maps: `(h, w, channels)` floats.
        name: the layer's.
    """
    channels = [maps[..., channel] for channel in range(maps.shape[-1])]
    titles = ["input", *(str(channel) for channel in range(len(channels)))]
    _page(path, [image, *channels], titles, heading=f"{name}: its channels", columns=9)


def _page(
    path: Path, images: Sequence[np.ndarray], titles: Sequence[str], *, heading: str, columns: int
) -> None:
    rows = max(1, -(-len(images) // columns))
    figure = _figure(width=1.1 * columns, height=1.3 * rows + 0.5)
    figure.suptitle(heading)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, title in zip(grid.flat, images, titles, strict=False):
        _show(axes, image)
        axes.set_title(title, fontsize=6)
    figure.savefig(path)


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

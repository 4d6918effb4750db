"""Pictures of what stacks of layers see: growing fields, coverage, effective fields.

Each function writes one PNG file, without opening a window and without global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dilax.analysis._effective import EffectiveField
from dilax.analysis._gridding import Coverage, coverage
from dilax.analysis._layers import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def growing_fields(path: Path, image: np.ndarray, schedules: Mapping[str, Sequence[Layer]]) -> None:
    """Draw what an image's central pixel sees after each layer, in a row for each schedule.

    Pixels that are touched are bright; the frame is the receptive field.

    Args:
        path: The PNG file.
        image: ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)`` uint8.
        schedules: Layers with two window axes, by the name of the schedule.
    """
    depth = max(len(layers) for layers in schedules.values())
    figure = _figure(width=1.8 * depth, height=2.1 * len(schedules))
    grid = figure.subplots(len(schedules), depth, squeeze=False)
    for row, (name, layers) in zip(grid, schedules.items(), strict=True):
        for axes in row[len(layers) :]:
            axes.set_axis_off()
        for number, axes in enumerate(row[: len(layers)], 1):
            found = coverage(layers[:number])
            _show_field(axes, image, found)
            axes.set_title(f"{name}, layer {number}: {_times(found.size)}", fontsize=7)
    figure.savefig(path)


def coverage_maps(path: Path, schedules: Mapping[str, Sequence[Layer]]) -> None:
    """Draw how often each offset of the receptive field is touched; white means never.

    Args:
        path: The PNG file.
        schedules: Layers with two window axes, by the name of the schedule.
    """
    figure = _figure(width=2.6 * len(schedules), height=3.0)
    for axes, (name, layers) in zip(_row(figure, len(schedules)), schedules.items(), strict=True):
        found = coverage(layers)
        counts = found.array()
        shown = axes.imshow(np.where(counts > 0, counts, np.nan), cmap="viridis", vmin=0)
        figure.colorbar(shown, ax=axes, shrink=0.7)
        axes.set(xticks=[], yticks=[])
        axes.set_title(
            f"{name}: {_times(found.size)}\n{found.share:.0%} touched, "
            f"unevenness {found.unevenness:.2f}",
            fontsize=8,
        )
    figure.savefig(path)


def effective_fields(path: Path, fields: Mapping[str, EffectiveField]) -> None:
    """Draw how much each input weighs (as a square root, to show the tails), and the radius.

    Args:
        path: The PNG file.
        fields: Effective fields over two window axes, by name.
    """
    figure = _figure(width=2.6 * len(fields), height=3.0)
    for axes, (name, field) in zip(_row(figure, len(fields)), fields.items(), strict=True):
        axes.imshow(np.sqrt(field.weights), cmap="magma", vmin=0)
        _circle(axes, field)
        axes.set_title(f"{name}\nradius {field.radius:.1f}", fontsize=8)
    figure.savefig(path)


def _show_field(axes: Axes, image: np.ndarray, found: Coverage) -> None:
    from matplotlib.patches import Rectangle

    grey = image.reshape(*image.shape[:2], -1).mean(axis=-1)
    low = [n // 2 - size // 2 for n, size in zip(grey.shape, found.size, strict=True)]
    axes.imshow(np.where(_touched(grey.shape, low, found), grey, grey / 4), cmap="gray", vmin=0)
    corner = (low[1] - 0.5, low[0] - 0.5)
    frame = Rectangle(corner, found.size[1], found.size[0], fill=False, edgecolor="orange")
    axes.add_patch(frame)
    axes.set(xlim=(-0.5, grey.shape[1] - 0.5), ylim=(grey.shape[0] - 0.5, -0.5))
    axes.set_axis_off()


def _touched(shape: tuple[int, ...], low: Sequence[int], found: Coverage) -> np.ndarray:
    """The pixels of an image that a field whose first offset lies at ``low`` touches."""
    lines = []
    for size, first, counts in zip(shape, low, found.counts, strict=True):
        places = np.flatnonzero(counts) + first
        lines.append(np.isin(np.arange(size), places))
    return np.logical_and.outer(*lines)


def _circle(axes: Axes, field: EffectiveField) -> None:
    from matplotlib.patches import Circle

    row, column = field.center
    axes.add_patch(Circle((column, row), field.radius, fill=False, edgecolor="cyan"))
    axes.set_axis_off()


def _times(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _row(figure: Figure, columns: int) -> list[Axes]:
    return list(figure.subplots(1, columns, squeeze=False)[0])


def _figure(*, width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")

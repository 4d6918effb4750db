"""What the program of detection does with images and boxes: read, move, judge and draw them."""

import contextlib
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from common.canvases import compose, make_examples, source_of
from common.job import Examples
from common.terminal import stage
from dilax import data, training
from dilax.training import Batch, Boxes, box_iou

MOST_DRAWN = 10
DRAWN_SCORE = 0.3
FOUND = 0.5
"""Intersection over union from which on an object counts as found."""


def of_digits(config: Any) -> Examples:
    """Compose canvases of digits."""
    batches = {
        name: Batch(one.images, Boxes(one.boxes, one.labels))
        for name, one in compose(config).items()
    }
    names = tuple("0123456789")
    return make_examples(config, "digits", source_of(config), batches, names, labels="labels")


def of_folder(config: Any) -> Examples:
    """Read a folder of images and boxes."""
    if not Path(config.dataset).is_dir():
        raise ValueError(
            f"--dataset must be digits, or a folder with annotations.json or Annotations, got "
            f"{config.dataset}."
        )
    pictures = data.PictureOptions(size=config.size, channels=3)
    with stage(f"loading {config.dataset}", show=training.is_main_process()):
        found = data.load_boxes(config.dataset, pictures=pictures)
    batches = {
        name: Batch(split.images, Boxes(split.boxes, split.labels))
        for name, split in found.splits.items()
    }
    return make_examples(
        config, found.name, found.source, batches, found.class_names, labels="labels"
    )


def shift(key: Array, images: Array, boxes: Boxes, *, pixels: int) -> tuple[Array, Boxes]:
    """Shift images and their boxes by equal random offsets; what comes in is black.

    A box is cut at the edge of the image, and an object of which less than half is left is none.

    Returns:
        Floats in [0, 1] ``(N, H, W, C)``, and boxes.
    """
    offsets = jax.random.randint(key, (len(images), 2), -pixels, pixels + 1)
    moved = data.augment.shift(images.astype(jnp.float32) / 255, offsets)
    return moved, _moved(boxes, offsets.astype(jnp.float32), *images.shape[1:3])


def flip(key: Array, images: Array, boxes: Boxes) -> tuple[Array, Boxes]:
    """Mirror images and their boxes left to right, each pair with probability one half."""
    mirrored = jax.random.bernoulli(jax.random.fold_in(key, 1), shape=(len(images), 1, 1))
    top, left, bottom, right = jnp.moveaxis(boxes.boxes, -1, 0)
    width = images.shape[2]
    turned = jnp.stack([top, width - right, bottom, width - left], axis=-1)
    turned = jnp.where((boxes.labels >= 0)[..., None], turned, 0)
    return (
        jnp.where(mirrored[..., None], images[:, :, ::-1], images),
        Boxes(jnp.where(mirrored, turned, boxes.boxes), boxes.labels),
    )


def _moved(boxes: Boxes, offset: Array, height: int, width: int) -> Boxes:
    limits = jnp.asarray((height, width) * 2, jnp.float32)[None, None]
    whole = boxes.boxes + jnp.tile(offset, 2)[:, None]
    cut = jnp.clip(whole, 0, limits)
    sides = [each[..., 2:] - each[..., :2] for each in (cut, whole)]
    left, all_of_it = (each[..., 0] * each[..., 1] for each in sides)
    labels = jnp.where(left >= 0.5 * all_of_it, boxes.labels, -1)
    there = (labels >= 0)[..., None]
    return Boxes(jnp.where(there, cut, 0), labels)


def by_class(
    truth: Any, found: Any, class_names: Sequence[str], *, least_score: float = DRAWN_SCORE
) -> list[dict[str, Any]]:
    """Compute the share of the objects of each class that are found, and their number."""
    match = jax.vmap(box_iou)(jnp.asarray(found.boxes), jnp.asarray(truth.boxes)) >= FOUND
    alike = found.labels[:, :, None] == truth.labels[:, None]
    hit = np.asarray(match) & alike & (found.scores >= least_score)[:, :, None]
    seen = hit.any(axis=1)
    rows = []
    for label, name in enumerate(class_names):
        own = truth.labels == label
        recall = float(seen[own].mean()) if own.any() else None
        rows.append({"name": name, "images": int(own.any(axis=1).sum()), "recall": recall})
    return rows


def average_precision(truth: Any, found: Any, classes: int) -> dict[str, float]:
    """Compute COCO's average precision by pycocotools; nothing if that is not installed.

    Returns:
        ``ap``, the mean over classes and over intersections over union from 0.5 to 0.95, and
        ``ap50``, that at 0.5.

    Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", 2014.
    """
    if importlib.util.find_spec("pycocotools") is None:
        return {}
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        known = COCO()
        known.dataset = _as_coco(truth, classes)
        known.createIndex()
        answers = known.loadRes(_as_results(found))
        judge = COCOeval(known, answers, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {"ap": float(judge.stats[0]), "ap50": float(judge.stats[1])}


def _as_coco(truth: Any, classes: int) -> dict[str, Any]:
    marks = [
        {
            "id": number,
            "image_id": int(image),
            "category_id": int(truth.labels[image, place]),
            "bbox": _as_corner_and_size(truth.boxes[image, place]),
            "area": float(np.prod(truth.boxes[image, place, 2:] - truth.boxes[image, place, :2])),
            "iscrowd": 0,
        }
        for number, (image, place) in enumerate(np.argwhere(truth.labels >= 0), start=1)
    ]
    return {
        "images": [{"id": image} for image in range(len(truth.labels))],
        "categories": [{"id": label} for label in range(classes)],
        "annotations": marks,
    }


def _as_results(found: Any) -> list[dict[str, Any]]:
    return [
        {
            "image_id": int(image),
            "category_id": int(found.labels[image, place]),
            "bbox": _as_corner_and_size(found.boxes[image, place]),
            "score": float(found.scores[image, place]),
        }
        for image, place in np.argwhere(found.scores > 0)
    ]


def _as_corner_and_size(box: np.ndarray) -> list[float]:
    top, left, bottom, right = map(float, box)
    return [left, top, right - left, bottom - top]


def draw(
    path: Path,
    images: np.ndarray,
    truth: Any,
    found: Any,
    class_names: Sequence[str],
) -> None:
    """Draw images with their boxes, the true ones above and those found below.

    Args:
        path: The PNG file.
        images: ``(N, H, W, C)`` uint8; the first ones are drawn.
        truth: Their objects, as ``Boxes``.
        found: What was found in them, as ``Detections``.
        class_names: One name per class.
    """
    from matplotlib.figure import Figure

    count = min(MOST_DRAWN, len(images))
    figure = Figure(figsize=(1.7 * count, 4.2), dpi=120, layout="constrained")
    grid = figure.subplots(2, count, squeeze=False)
    rows: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {
        "truth": (truth.boxes, truth.labels, np.where(truth.labels >= 0, 1.0, 0.0)),
        "found": (found.boxes, found.labels, np.asarray(found.scores)),
    }
    for line, (title, marks) in zip(grid, rows.items(), strict=True):
        for place, axes in enumerate(line):
            axes.imshow(images[place], cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            for box, label, score in zip(*(each[place] for each in marks), strict=True):
                if score >= DRAWN_SCORE:
                    _mark(axes, box, class_names[label], score if title == "found" else None)
        line[0].set_ylabel(title)
    figure.savefig(path)


def _mark(axes: Any, box: np.ndarray, name: str, score: float | None) -> None:
    from matplotlib.patches import Rectangle

    top, left, bottom, right = box
    corner = (left - 0.5, top - 0.5)
    axes.add_patch(
        Rectangle(corner, right - left, bottom - top, fill=False, edgecolor="C1", linewidth=1)
    )
    text = name if score is None else f"{name} {score:.0%}"
    axes.text(left, top - 1, text, fontsize=6, color="C1", clip_on=True)

"""What the program of segmentation does with images and masks: read, move, judge and draw them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jax import Array
from PIL import Image

from common.canvases import compose, make_examples, source_of
from common.job import Examples
from common.terminal import stage
from dilax import data, models, training
from dilax.training import Batch

BOUNDARY = 0.02
"""Width of a boundary, as a share of the diagonal of the image."""
MOST_DRAWN = 8
DIGIT_NAMES = ("background", *"0123456789")


def of_digits(config: Any) -> Examples:
    """Compose canvases of digits."""
    batches = {name: Batch(one.images, one.masks) for name, one in compose(config).items()}
    return make_examples(config, "digits", source_of(config), batches, DIGIT_NAMES)


def of_folder(config: Any) -> Examples:
    """Read a folder of images and masks."""
    if not Path(config.dataset).is_dir():
        raise ValueError(
            f"--dataset must be digits, or a folder with images and masks, got {config.dataset}."
        )
    pictures = data.PictureOptions(size=config.size, channels=3)
    with stage(f"loading {config.dataset}", show=training.is_main_process()):
        found = data.load_masks(config.dataset, pictures=pictures)
    batches = {name: Batch(split.images, split.masks) for name, split in found.splits.items()}
    return make_examples(config, found.name, found.source, batches, found.class_names)


def shift(
    key: Array, images: Array, masks: Array, *, pixels: int, void: int
) -> tuple[Array, Array]:
    """Shift images and their masks by equal random offsets; what comes in is black, and void.

    Returns:
        Floats in [0, 1] ``(N, H, W, C)``, and masks ``(N, H, W)`` of the same type.
    """
    floats = images.astype(jnp.float32) / 255
    labels = masks.astype(jnp.float32)[..., None] + 1  # what comes in is 0, and so is no label
    moved = data.augment.random_shift(key, jnp.concatenate([floats, labels], -1), pixels=pixels)
    labels = moved[..., -1].astype(jnp.int32) - 1
    return moved[..., :-1], jnp.where(labels < 0, void, labels).astype(masks.dtype)


def flip(key: Array, images: Array, masks: Array) -> tuple[Array, Array]:
    """Mirror images and their masks left to right, each pair with probability one half."""
    mirrored = jax.random.bernoulli(jax.random.fold_in(key, 1), shape=(len(images), 1, 1))
    return (
        jnp.where(mirrored[..., None], images[:, :, ::-1], images),
        jnp.where(mirrored, masks[:, :, ::-1], masks),
    )


def by_class(
    masks: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Compute, for each class, intersection over union and the number of images that show it."""
    counts = confusion(masks, predicted, classes=len(class_names))
    found = training.intersection_over_union(counts)
    images = [int((masks == label).any(axis=(1, 2)).sum()) for label in range(len(class_names))]
    return [
        {"name": name, "images": count, "iou": None if np.isnan(iou) else float(iou)}
        for name, count, iou in zip(class_names, images, found, strict=True)
    ]


def confusion(masks: np.ndarray, predicted: np.ndarray, *, classes: int) -> np.ndarray:
    """Count pixels by label (rows) and prediction (columns); labels that are no class are left out.

    >>> confusion(np.array([0, 1, 255]), np.array([1, 1, 0]), classes=2).tolist()
    [[0, 1], [0, 1]]
    """
    counted = masks < classes
    pairs = masks[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def boundary_iou(masks: np.ndarray, predicted: np.ndarray, *, classes: int) -> float:
    """Compute the mean over classes of intersection over union of their boundaries.

    The boundary of a class is the part of it that lies within 2 % of the image's diagonal (at least
    one pixel) of pixels of other classes. Pixels without a label are left out.

    Source: B. Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
    2021.
    """
    width = max(1, round(BOUNDARY * np.hypot(*masks.shape[1:])))
    both, either = np.zeros(classes), np.zeros(classes)
    for mask, answer in zip(masks, predicted, strict=True):
        counted = mask < classes
        for label in np.union1d(mask[counted], answer[counted]):
            own, told = (boundary(each == label, width) & counted for each in (mask, answer))
            both[label] += (own & told).sum()
            either[label] += (own | told).sum()
    return float((both[either > 0] / either[either > 0]).mean())


def boundary(region: np.ndarray, width: int) -> np.ndarray:
    """Select the pixels of a region within a distance of its outside; the image's edge is none.

    >>> boundary(np.ones((1, 3), bool), 1).any()
    np.False_
    """
    square = np.ones((3, 3), bool)
    inner = scipy.ndimage.binary_erosion(region, square, iterations=width, border_value=1)
    return region & ~inner


def draw(
    path: Path,
    images: np.ndarray,
    masks: np.ndarray,
    predicted: np.ndarray,
    class_names: Sequence[str],
) -> None:
    """Draw images, truth, predictions and errors, an image in each column.

    Args:
        path: The PNG file.
        images: ``(N, H, W, C)`` uint8; the first ones are drawn.
        masks: ``(N, H, W)`` integers; what is no class is white.
        predicted: ``(N, H, W)`` integers.
        class_names: One name per class.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    count = min(MOST_DRAWN, len(images))
    colours = palette(len(class_names))
    wrong = np.where(masks[:count] >= len(class_names), False, masks[:count] != predicted[:count])
    rows = {
        "image": images[:count].repeat(3 // images.shape[-1], axis=-1),
        "truth": colours[np.minimum(masks[:count], len(class_names))],
        "prediction": colours[predicted[:count]],
        "errors": np.where(wrong[..., None], (200, 0, 0), (235, 235, 235)).astype(np.uint8),
    }
    figure = Figure(figsize=(1.5 * count + 1, 6.8), dpi=120, layout="constrained")
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (title, pictures) in zip(grid, rows.items(), strict=True):
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(title)
    shown = np.unique(np.concatenate([masks[:count].ravel(), predicted[:count].ravel()]))
    handles = [
        Patch(color=colours[label] / 255, label=class_names[label])
        for label in shown
        if label < len(class_names)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8)
    figure.savefig(path)


def write_masks(folder: Path, found: models.Segments) -> None:
    """Write the class of each pixel of each picture as ``NAME.png``, whose values are classes."""
    folder.mkdir(parents=True, exist_ok=True)
    colours = palette(len(found.class_names))
    names: dict[str, int] = {}
    for path, mask in zip(found.paths, found.masks, strict=True):
        names[path.stem] = names.get(path.stem, 0) + 1
        number = f"_{names[path.stem]}" if names[path.stem] > 1 else ""
        picture = Image.fromarray(mask, mode="P")
        picture.putpalette(colours.ravel().tolist())
        picture.save(folder / f"{path.stem}{number}.png")


def draw_answers(path: Path, found: models.Segments, *, most: int) -> None:
    """Draw the masks of the first pictures, with the names of the largest classes."""
    colours = palette(len(found.class_names))
    titles = [
        "\n".join([one.name, *(f"{name} {share:.0%}" for name, share in classes if share)])
        for one, classes in zip(found.paths, found.top(3), strict=True)
    ]
    masks = [colours[mask] for mask in found.masks[:most]]
    training.draw_predictions(path, masks, titles, most=most)


def palette(classes: int) -> np.ndarray:
    """Return a colour for each class, the first one black, and white for no class, uint8."""
    import matplotlib

    colours = matplotlib.colormaps["tab20"]
    each = [(0, 0, 0), *(colours(place % 20)[:3] for place in range(classes - 1)), (1, 1, 1)]
    return (255 * np.asarray(each)).round().astype(np.uint8)

"""Pictures of one object on an even background, in the form of MNIST's digits.

MNIST's digits are bright on black, as large as a box of 20 by 20 pixels allows, and moved so that
their centre of mass is the centre of the image. A digit on paper has another brightness, size and
place, and a network that was trained on MNIST recognises it only in MNIST's own form.

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-Based Learning Applied to Document
Recognition", 1998, section III.A, for this form; N. Otsu, "A Threshold Selection Method from
Gray-Level Histograms", 1979, for the threshold between object and background.
"""

import numpy as np
import scipy.ndimage
from PIL import Image

from dilax.data._dataset import DataError

_MOST_EXAMINED = 10_000
"""Number of images that are examined."""
_TYPICAL = 0.95
"""Share of the images that must have a black border, and of these, of objects as described."""
_TOLERANCE = 1.0
"""Largest deviation, in pixels, of a typical object's size and centre."""
_WORKING_SIDE = 256
"""Longer side to which a picture is reduced before its object is sought."""
ENOUGH = 2 * _WORKING_SIDE
"""Pixels along each axis that a picture needs, to be reduced without loss."""
_TRIMS = 5
"""How often the background is fitted again without what differs from it."""
_LEAST_CONTRAST = 0.1
"""Least difference of brightness between object and background; black and white differ by 1."""
_SPECK = 0.03
"""Parts of an object are at least this share of its largest part; smaller ones are dirt."""


def find_object_size(images: np.ndarray) -> int | None:
    """Return the longer side, in pixels, of the objects that all images show; None otherwise.

    Args:
        images: uint8 ``(N, H, W, C)``.

    Returns:
        The side, if almost every image is grey with an object on black, of the usual size, whose
        centre of mass is the centre of the image.

    >>> images = np.zeros((3, 9, 9, 1), np.uint8)
    >>> images[:, 2:7, 3:6] = 200
    >>> find_object_size(images)
    5
    """
    shown = images[:_MOST_EXAMINED]
    if not len(shown) or shown.shape[-1] != 1 or min(shown.shape[1:3]) < 3:
        return None
    grey = shown[..., 0]
    bordered = ~grey[:, [0, -1]].any(axis=(1, 2)) & ~grey[:, :, [0, -1]].any(axis=(1, 2))
    objects = grey[bordered & grey.any(axis=(1, 2))]
    if len(objects) < _TYPICAL * len(grey):
        return None
    sides = np.maximum(*(_extents(np.asarray(objects.any(axis=axis))) for axis in (1, 2)))
    side = np.median(sides)
    usual = np.abs(sides - side) <= _TOLERANCE
    middle = np.asarray(grey.shape[1:]) / 2
    centred = (np.abs(_centres(objects) - middle) <= _TOLERANCE).all(axis=1)
    return int(side) if (usual & centred).mean() >= _TYPICAL else None


def isolate_object(grey: np.ndarray, *, size: tuple[int, int], object_size: int) -> np.ndarray:
    """Show the object of a picture bright on black, in the given size, in the middle.

    The background may be brighter or darker than the object, and may change smoothly over the
    picture, as light on paper does. A picture of this size stays as it is, if most of its border
    is black.

    Args:
        grey: uint8 ``(H, W, 1)``.
        size: Height and width of the result.
        object_size: Longer side of the object in the result, in pixels.

    Returns:
        uint8 ``(*size, 1)``.

    Raises:
        DataError: Nothing differs from the background.

    >>> paper = np.full((80, 60, 1), 230, np.uint8)
    >>> paper[10:50, 20:24] = 40
    >>> bar = isolate_object(paper, size=(28, 28), object_size=20)[..., 0]
    >>> int(bar.any(axis=1).sum()), int(bar.any(axis=0).sum()), int(bar.max())
    (20, 2, 255)
    """
    if grey.shape[:2] == size and np.median(_border(grey)) == 0:
        return grey
    ink = _ink(_reduced(grey[..., 0]))
    box = ink[np.ix_(*(_span(np.asarray(ink.any(axis=1 - axis))) for axis in (0, 1)))]
    room = min(whole / side for whole, side in zip(size, box.shape, strict=True))
    scale = min(object_size / max(box.shape), room)
    height, width = (max(1, round(scale * side)) for side in box.shape)
    small = np.asarray(
        Image.fromarray((255 * box).round().astype(np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
    )
    bright = np.clip(small * (255 / max(small.max(), 1)), 0, 255).round().astype(np.uint8)
    return _centred(bright, size)[..., np.newaxis]


def _reduced(grey: np.ndarray) -> np.ndarray:
    """Reduce a picture to at most ``_WORKING_SIDE`` pixels along each axis; floats in [0, 1]."""
    image = Image.fromarray(grey)
    image.thumbnail((_WORKING_SIDE, _WORKING_SIDE), Image.Resampling.BOX)
    return np.asarray(image, np.float64) / 255


def _ink(values: np.ndarray) -> np.ndarray:
    """Return how much of the object is in each pixel, in [0, 1]; 0 is background."""
    difference = values - _background(values)
    if -difference.min() > difference.max():
        difference = -difference
    threshold = _otsu(difference)
    above = difference > threshold
    both = above.any() and not above.all()
    if not both or difference[above].mean() - difference[~above].mean() < _LEAST_CONTRAST:
        raise DataError("nothing differs from its background")
    parts, count = scipy.ndimage.label(above, structure=np.ones((3, 3)))
    areas = scipy.ndimage.sum_labels(above, parts, range(1, count + 1))
    kept = np.isin(parts, 1 + np.flatnonzero(areas >= _SPECK * areas.max()))
    near = scipy.ndimage.binary_dilation(kept, np.ones((3, 3)))
    full = np.median(difference[kept])
    low = min(threshold / 2, full / 2)
    return np.where(near, np.clip((difference - low) / (full - low), 0, 1), 0)


def _background(values: np.ndarray) -> np.ndarray:
    """Fit a surface of second degree to a picture, without the pixels that differ from it."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, side) for side in values.shape), indexing="ij")
    terms = [np.ones_like(rows), rows, columns, rows * columns, rows**2, columns**2]
    basis = np.stack(terms, axis=-1).reshape(-1, len(terms))
    flat = values.reshape(-1)
    surface = np.full_like(flat, np.median(flat))
    for _ in range(_TRIMS):
        error = np.abs(flat - surface)
        kept = error <= max(2.5 * np.median(error), 1 / 255)
        surface = basis @ np.linalg.lstsq(basis[kept], flat[kept], rcond=None)[0]
    return surface.reshape(values.shape)


def _otsu(values: np.ndarray) -> float:
    """Find the threshold that separates two groups of values best, by their variances."""
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    means = sums / np.maximum(below, 1), (sums[-1] - sums) / np.maximum(above, 1)
    return float(middles[np.argmax(below * above * (means[0] - means[1]) ** 2)])


def _centred(shown: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Place an object so that its centre of mass is the centre, if it then lies in the image."""
    image = np.zeros(size, np.uint8)
    centre = _centres(shown[np.newaxis])[0]
    corner = [
        min(max(round(whole / 2 - at), 0), whole - side)
        for whole, side, at in zip(size, shown.shape, centre, strict=True)
    ]
    image[tuple(slice(at, at + side) for at, side in zip(corner, shown.shape, strict=True))] = shown
    return image


def _centres(grey: np.ndarray) -> np.ndarray:
    """Compute the centres of mass ``(N, 2)`` of images ``(N, H, W)``."""
    weights = grey.astype(np.float64)
    total = weights.sum(axis=(1, 2))
    rows = weights.sum(axis=2) @ np.arange(grey.shape[1]) / total
    columns = weights.sum(axis=1) @ np.arange(grey.shape[2]) / total
    return np.stack([rows, columns], axis=1)


def _extents(occupied: np.ndarray) -> np.ndarray:
    """Count the entries ``(N,)`` from the first to the last one that is occupied, ``(N, n)``."""
    last = occupied.shape[1] - occupied[:, ::-1].argmax(axis=1)
    return last - occupied.argmax(axis=1)


def _span(occupied: np.ndarray) -> np.ndarray:
    """Return the indices from the first to the last entry that is occupied."""
    found = np.flatnonzero(occupied)
    return np.arange(found[0], found[-1] + 1)


def _border(grey: np.ndarray) -> np.ndarray:
    return np.concatenate([grey[[0, -1]].ravel(), grey[:, [0, -1]].ravel()])

"""Canvases on which digits are composed, with the class of each pixel and a box for each digit."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from dilax._checks import check_instance, integer
from dilax.data._dataset import DataError, Split

INK = 128
"""Least brightness of a pixel that belongs to a digit."""
BACKGROUND = 0
"""The label of all other pixels; class ``d`` of the digits has the label ``d + 1``."""
SCALES = (0.9, 1.5)
CONTRASTS = (0.6, 1.0)
MOST_FRAGMENTS = 8
FRAGMENT = 8
"""Side of a fragment of clutter, in pixels."""
MOST_NOISE = 16.0
"""Largest standard deviation of the noise, of 255."""
LEAST_VISIBLE = 0.9
"""Share of a digit's ink that later digits leave visible."""
TRIES = 10
_MOST = 1_000_000
_LARGEST = 4096


class Canvases(NamedTuple):
    """Composed images, and what they show.

    >>> from dilax.data import load
    >>> canvases = compose_canvases(load("mnist").splits["test"], 2)
    >>> canvases.images.shape, canvases.masks.shape, canvases.boxes.shape
    ((2, 64, 64, 1), (2, 64, 64), (2, 3, 4))
    """

    images: np.ndarray
    """``(N, size, size, 1)`` uint8."""
    masks: np.ndarray
    """``(N, size, size)`` uint8: 0 for the background, ``d + 1`` for class ``d``."""
    boxes: np.ndarray
    """``(N, most, 4)`` float32: top, left, bottom and right of the visible ink, in pixels, the
    last two behind it; zeros where there is no further digit."""
    labels: np.ndarray
    """``(N, most)`` int32: the class of each box, -1 where there is none."""


def compose_canvases(
    digits: Split, count: int, *, size: int = 64, least: int = 1, most: int = 3, seed: int = 0
) -> Canvases:
    """Compose canvases of digits of several sizes, over clutter and noise, that hide each other.

    Each digit is drawn at random, resized by 0.9 to 1.5, dimmed to between 60 % and all of its
    brightness, and set at a random place; a later one covers earlier ones, of which at least 90 %
    stays visible. Below them lie fragments of other digits, which belong to the background, and
    noise is added to all.

    Args:
        digits: Images ``(N, H, W, 1)`` of bright objects on black, such as those of MNIST.
        count: Number of canvases.
        size: Height and width of a canvas, in pixels.
        least: Fewest digits on a canvas.
        most: Most digits on a canvas; fewer, where no place is left.
        seed: Seed of all draws.

    Returns:
        Images, masks and boxes.

    Raises:
        ValueError: A number is out of range, or an enlarged digit does not fit on a canvas.
        DataError: There are no digits, or they have several channels.
        TypeError: An argument is of another type.

    Source: the clutter is that of V. Mnih et al., "Recurrent Models of Visual Attention", 2014.
    """
    check_digits(digits)
    count = integer(count, "count", minimum=0, maximum=_MOST)
    most = integer(most, "most", minimum=1, maximum=255)
    least = integer(least, "least", minimum=0, maximum=most)
    seed = integer(seed, "seed", minimum=0)
    smallest = round(SCALES[1] * max(digits.images.shape[1:3]))
    size = integer(size, "size", minimum=smallest, maximum=_LARGEST)
    canvases = Canvases(
        images=np.zeros((count, size, size, 1), np.uint8),
        masks=np.full((count, size, size), BACKGROUND, np.uint8),
        boxes=np.zeros((count, most, 4), np.float32),
        labels=np.full((count, most), -1, np.int32),
    )
    for place in range(count):
        rng = np.random.default_rng([seed, place])
        number = int(rng.integers(least, most + 1))
        _compose(rng, digits, number, *(part[place] for part in canvases))
    return canvases


def check_digits(digits: Split) -> None:
    """Refuse what are no images of digits.

    Raises:
        DataError: There are none, or they have several channels.
        TypeError: They are no split of a data set.
    """
    check_instance(digits, Split, "digits")
    if not len(digits) or digits.images.shape[-1] != 1:
        raise DataError(
            f"digits must be one or more images (N, H, W, 1), got {digits.images.shape}."
        )


def _compose(
    rng: np.random.Generator,
    digits: Split,
    number: int,
    image: np.ndarray,
    mask: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Compose one canvas, in place."""
    brightness = _clutter(rng, digits, len(image))
    owner = np.full(mask.shape, -1)
    inked: list[int] = []
    for _ in range(number):
        chosen = int(rng.integers(len(digits)))
        digit = _resized(digits.images[chosen, ..., 0], rng.uniform(*SCALES))
        corner = _find_place(rng, owner, inked, digit >= INK)
        if corner is None:
            continue
        part = tuple(slice(at, at + side) for at, side in zip(corner, digit.shape, strict=True))
        covered, contrast = digit / 255.0, rng.uniform(*CONTRASTS)
        brightness[part] = covered * 255 * contrast + (1 - covered) * brightness[part]
        owner[part][digit >= INK] = len(inked)
        labels[len(inked)] = digits.labels[chosen]
        inked.append(int((digit >= INK).sum()))
    noisy = brightness + rng.normal(0, rng.uniform(0, MOST_NOISE), brightness.shape)
    image[..., 0] = np.clip(noisy, 0, 255).round().astype(np.uint8)
    for place in range(len(inked)):
        rows, columns = np.nonzero(owner == place)
        boxes[place] = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        mask[rows, columns] = labels[place] + 1


def _clutter(rng: np.random.Generator, digits: Split, size: int) -> np.ndarray:
    """Draw fragments of digits, float ``(size, size)``."""
    brightness = np.zeros((size, size))
    side = min(FRAGMENT, *digits.images.shape[1:3])
    for _ in range(int(rng.integers(MOST_FRAGMENTS + 1))):
        source = digits.images[int(rng.integers(len(digits))), ..., 0]
        top, left = (int(rng.integers(length - side + 1)) for length in source.shape)
        row, column = rng.integers(size - side + 1, size=2)
        part = brightness[row : row + side, column : column + side]
        fragment = source[top : top + side, left : left + side] * rng.uniform(*CONTRASTS)
        np.maximum(part, fragment, out=part)
    return brightness


def _resized(digit: np.ndarray, scale: float) -> np.ndarray:
    height, width = (max(round(scale * side), 1) for side in digit.shape)
    return np.asarray(Image.fromarray(digit).resize((width, height), Image.Resampling.BILINEAR))


def _find_place(
    rng: np.random.Generator, owner: np.ndarray, inked: list[int], ink: np.ndarray
) -> tuple[int, int] | None:
    """Find a corner at which enough of every earlier digit stays visible; None if none is found."""
    if not ink.any():
        return None
    for _ in range(TRIES):
        row, column = (
            int(rng.integers(whole - side + 1))
            for whole, side in zip(owner.shape, ink.shape, strict=True)
        )
        after = owner.copy()
        after[row : row + ink.shape[0], column : column + ink.shape[1]][ink] = -1
        visible = np.bincount(after[after >= 0], minlength=len(inked))
        if (visible >= LEAST_VISIBLE * np.asarray(inked)).all():
            return row, column
    return None

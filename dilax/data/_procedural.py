"""A procedural data set of coloured shapes, for tests and dry runs without any download.

Ten figures at random places, sizes, angles and colours, on coloured ground, with noise. Neither
colour nor place tells the class, so that a linear classifier stays near chance while a small
convolutional network learns it.
"""

from collections.abc import Callable

import numpy as np

from dilax._checks import integer
from dilax.data._dataset import Dataset, Split

_SIZE = 32
_MOST = 1_000_000
_RADIUS = (7.0, 11.0)
_NOISE = 16.0
_LEAST_CONTRAST = 0.5


def shapes(*, train_count: int = 10_000, test_count: int = 2_000, seed: int = 0) -> Dataset:
    """Draw a data set of coloured shapes: 32x32 colour images in 10 classes of equal size.

    Args:
        train_count: How many images the split ``"train"`` has.
        test_count: How many images the split ``"test"`` has, which is drawn independently.
        seed: The seed of all draws; it decides the set up to the rounding of the processor.

    Returns:
        The data set: uint8 images ``(N, 32, 32, 3)``, labels 0 to 9.

    Raises:
        ValueError: A count is negative or above a million, or the seed is negative.
        TypeError: An argument is not an integer.

    >>> data = shapes(train_count=20, test_count=10)
    >>> data.splits["train"].images.shape, data.class_names[0]
    ((20, 32, 32, 3), 'disk')
    """
    counts = {"train": train_count, "test": test_count}
    for name, count in counts.items():
        if not 0 <= integer(count, f"{name}_count") <= _MOST:
            raise ValueError(f"{name}_count must be from 0 to {_MOST}, got {count}.")
    integer(seed, "seed", minimum=0)
    splits = {
        name: _draw_split(np.random.default_rng([seed, stream]), count)
        for stream, (name, count) in enumerate(counts.items())
    }
    return Dataset("shapes", splits, tuple(_FIGURES), source=f"procedural, seed {seed}")


def _draw_split(generator: np.random.Generator, count: int) -> Split:
    labels = generator.permutation(np.arange(count) % len(_FIGURES)).astype(np.int32)
    x, y, radius = _coordinates(generator, count)
    coverage = np.empty((count, _SIZE, _SIZE), np.float32)
    for label, inside in enumerate(_FIGURES.values()):
        chosen = labels == label
        depth = inside(x[chosen], y[chosen]) * radius[chosen]
        coverage[chosen] = np.clip(depth + 0.5, 0, 1)
    return Split(_paint(generator, coverage[..., np.newaxis]), labels)


def _coordinates(
    generator: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw where each figure lies; return each pixel's coordinates in its frame, and the radius."""
    radius, angle, column, row = generator.random((4, count, 1, 1), dtype=np.float32)
    radius = _RADIUS[0] + (_RADIUS[1] - _RADIUS[0]) * radius
    free = _SIZE - 1 - 2 * radius
    pixel = np.arange(_SIZE, dtype=np.float32)
    x = (pixel - radius - free * column) / radius
    y = (pixel[:, np.newaxis] - radius - free * row) / radius
    cosine, sine = np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle)
    return cosine * x + sine * y, cosine * y - sine * x, radius


def _paint(generator: np.random.Generator, coverage: np.ndarray) -> np.ndarray:
    """Mix two random colours by ``coverage`` and add noise: uint8 ``(N, 32, 32, 3)``."""
    ground, figure = generator.random((2, len(coverage), 1, 1, 3), dtype=np.float32)
    close = np.linalg.norm(figure - ground, axis=-1, keepdims=True) < _LEAST_CONTRAST
    figure = np.where(close, (figure + 0.5) % 1, figure)
    images = generator.standard_normal((*coverage.shape[:3], 3), dtype=np.float32)
    images *= _NOISE
    images += 255 * (ground + coverage * (figure - ground))
    return np.clip(images, 0, 255, out=images).astype(np.uint8)


_FIGURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disk": lambda x, y: 0.8 - np.hypot(x, y),
    "ring": lambda x, y: 0.2 - np.abs(np.hypot(x, y) - 0.75),
    "square": lambda x, y: 0.7 - np.maximum(np.abs(x), np.abs(y)),
    "frame": lambda x, y: 0.17 - np.abs(np.maximum(np.abs(x), np.abs(y)) - 0.58),
    "triangle": lambda x, y: 0.48 - np.maximum(np.abs(x) * np.sqrt(3) / 2 - y / 2, y),
    "star": lambda x, y: 0.62 + 0.3 * np.cos(5 * np.arctan2(y, x)) - np.hypot(x, y),
    "cross": lambda x, y: np.minimum(
        0.25 - np.minimum(np.abs(x), np.abs(y)), 0.95 - np.maximum(np.abs(x), np.abs(y))
    ),
    "crescent": lambda x, y: np.minimum(0.9 - np.hypot(x, y), np.hypot(x - 0.45, y) - 0.65),
    "bars": lambda x, y: np.minimum(0.2 - np.abs(np.abs(x) - 0.45), 0.75 - np.abs(y)),
    "bowtie": lambda x, y: np.minimum(np.abs(x) - np.abs(y), 0.75 - np.abs(x)),
}
"""How deep a point of the unit disk lies inside each figure, in units of the radius; negative
outside, and close to the edge nearly the distance from it."""

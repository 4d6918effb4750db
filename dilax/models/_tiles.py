"""Large pictures in tiles that overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

LEAST_TILE = 64
LARGEST_TILE = 2**14


def in_tiles(
    answer: Callable[[np.ndarray], Any],
    pixels: np.ndarray,
    *,
    tile: int,
    margin: int,
    stride: int = 1,
    scale: int = 1,
) -> np.ndarray:
    """Answer a picture in tiles that overlap, of each of which the inner part is kept.

    Args:
        answer: Maps ``(1, h, w, C)`` to ``(1, scale h, scale w, ...)``.
        pixels: ``(H, W, C)``, multiples of ``stride``.
        tile: Height and width of a tile, a multiple of ``stride``.
        margin: What an answer sees of its surroundings, in pixels.
        stride: Pixels between the places at which a tile may begin.
        scale: Pixels of the answer for each pixel.

    >>> twice = lambda images: images.repeat(2, axis=1).repeat(2, axis=2)
    >>> in_tiles(twice, np.ones((100, 70, 3)), tile=64, margin=8, scale=2).shape
    (200, 140, 3)
    """
    height, width = pixels.shape[:2]
    whole: np.ndarray | None = None
    for rows, kept_rows in spans(height, tile, margin, stride):
        for columns, kept_columns in spans(width, tile, margin, stride):
            found = np.asarray(answer(pixels[np.newaxis, rows, columns]))[0]
            if whole is None:
                whole = np.empty((scale * height, scale * width, *found.shape[2:]), found.dtype)
            inside = found[_within(kept_rows, rows, scale), _within(kept_columns, columns, scale)]
            origin = slice(0, 0)
            whole[_within(kept_rows, origin, scale), _within(kept_columns, origin, scale)] = inside
    assert whole is not None, "a picture has at least one pixel"
    return whole


def spans(length: int, tile: int, margin: int, stride: int) -> Iterator[tuple[slice, slice]]:
    """Iterate over the tiles along one axis: what is computed, and which part of it is kept."""
    if length <= tile:
        yield slice(0, length), slice(0, length)
        return
    step = (tile - 2 * margin) // stride * stride
    last, kept = length - tile, 0
    for start in [*range(0, last, step), last]:
        stop = length if start == last else start + tile - margin
        yield slice(start, start + tile), slice(kept, stop)
        kept = stop


def _within(kept: slice, computed: slice, scale: int) -> slice:
    """Return where ``kept`` lies from the start of ``computed`` on, after enlargement."""
    return slice(scale * (kept.start - computed.start), scale * (kept.stop - computed.start))

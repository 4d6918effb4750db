"""Trained networks that answer each pixel of pictures of any size, in tiles if these are large."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dilax._checks import check_callable, integer
from dilax.data import DataError
from dilax.data._pictures import read_pixels
from dilax.models._preparation import Preparation, as_single_images
from dilax.models._trained import TrainedNetwork, as_paths

LEAST_TILE = 64
LARGEST_TILE = 2**14


class Answers(NamedTuple):
    """The answers to pictures, an array for each that could be used."""

    arrays: list[np.ndarray]
    paths: tuple[Path, ...]
    unread: tuple[tuple[Path, str], ...]


class AnySizeNetwork(TrainedNetwork):
    """A trained network that answers each pixel of pictures of any size.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.
    """

    def _answer(self, pixels: np.ndarray, tile: int) -> np.ndarray:
        """Answer one picture ``(H, W, C)``, uint8 or floats in [0, 1]."""
        raise NotImplementedError

    def _answer_all(
        self, images: Any, *, tile: int, on_progress: Callable[[int, int], None]
    ) -> Answers:
        """Answer pictures, as ``predict`` of the subclasses documents it."""
        side = integer(tile, "tile", minimum=LEAST_TILE, maximum=LARGEST_TILE)
        check_callable(on_progress, "on_progress")
        if isinstance(images, Iterator | set | frozenset):
            images = list(images)
        paths = as_paths(images)
        pictures: list[Any] = as_single_images(images) if paths is None else [*paths]
        arrays: list[np.ndarray] = []
        used: list[Path] = []
        unread: list[tuple[Path, str]] = []
        for done, picture in enumerate(pictures, start=1):
            try:
                arrays.append(self._answer(self._pixels(picture), side))
                used += [picture] if isinstance(picture, Path) else []
            except DataError as error:
                if not isinstance(picture, Path):
                    raise
                unread.append((picture, str(error)))
            on_progress(done, len(pictures))
        return Answers(arrays, tuple(used), tuple(unread))

    def _pixels(self, picture: Path | np.ndarray | Image.Image) -> np.ndarray:
        """Bring a picture to the channels of the network, ``(H, W, C)``; its size is kept."""
        if isinstance(picture, Path):
            with warnings.catch_warnings(action="ignore"):
                return read_pixels(picture, size=None, channels=len(self.preparation.mean))
        if isinstance(picture, Image.Image):
            width, height = picture.size
            if picture.getexif().get(0x0112, 1) >= 5:  # turned by a quarter
                height, width = width, height
            return self._own_size(height, width).from_image(picture)
        return self._own_size(*picture.shape[:2]).from_array(picture)

    def _own_size(self, height: int, width: int) -> Preparation:
        return dataclasses.replace(self.preparation, height=height, width=width)


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

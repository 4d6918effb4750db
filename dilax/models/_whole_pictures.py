"""Pictures in their own size, with the channels that a network takes."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dilax.data import DataError
from dilax.data._pictures import read_pixels
from dilax.models._preparation import Preparation, as_single_images
from dilax.models._trained import as_paths

_ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is turned; from 5 on by a quarter."""


class Answered(NamedTuple):
    """The answers for pictures, in their order, and which files they are for."""

    answers: list[Any]
    paths: tuple[Path, ...]
    unread: tuple[tuple[Path, str], ...]


def answer_each(
    images: Any,
    preparation: Preparation,
    answer: Callable[[np.ndarray], Any],
    on_progress: Callable[[int, int], None],
) -> Answered:
    """Answer pictures one by one, each in its own size.

    Args:
        images: Paths, arrays or images of Pillow, as for ``TrainedClassifier.predict``.
        preparation: What the network takes.
        answer: Called with the pixels of each picture, ``(h, w, channels)``.
        on_progress: Called after each picture, with the number so far and in all.

    Raises:
        FileNotFoundError: A path leads nowhere.
        DataError: A folder holds no picture.
        ValueError: An array has another shape, type or range.
        TypeError: ``images`` is neither.
    """
    if isinstance(images, Iterator | set | frozenset):
        images = list(images)
    paths = as_paths(images)
    pictures: list[Any] = as_single_images(images) if paths is None else [*paths]
    answers: list[Any] = []
    used: list[Path] = []
    unread: list[tuple[Path, str]] = []
    for done, picture in enumerate(pictures, start=1):
        try:
            answers.append(answer(read_whole(picture, preparation)))
            used += [picture] if isinstance(picture, Path) else []
        except DataError as error:
            if not isinstance(picture, Path):
                raise
            unread.append((picture, str(error)))
        on_progress(done, len(pictures))
    return Answered(answers, tuple(used), tuple(unread))


def read_whole(picture: Path | np.ndarray | Image.Image, preparation: Preparation) -> np.ndarray:
    """Bring a picture to the channels of a network; its size is kept.

    Args:
        picture: A file, an array ``(h, w, c)``, or an image of Pillow.
        preparation: What the network takes.

    Returns:
        ``(h, w, channels)``, uint8, or floats in [0, 1] where an array has them.

    Raises:
        DataError: The file is damaged or no picture, or has too many pixels.
        ValueError: The values of an array are of another type or range.
    """
    if isinstance(picture, Path):
        with warnings.catch_warnings(action="ignore"):  # of large pictures and odd metadata
            return read_pixels(picture, size=None, channels=len(preparation.mean))
    if isinstance(picture, Image.Image):
        width, height = picture.size
        if picture.getexif().get(_ORIENTATION, 1) >= 5:
            height, width = width, height
        return _sized(preparation, height, width).from_image(picture)
    return _sized(preparation, *picture.shape[:2]).from_array(picture)


def _sized(preparation: Preparation, height: int, width: int) -> Preparation:
    return dataclasses.replace(preparation, height=height, width=width, object_size=None)

"""Pictures at their own sizes, for what learns from parts of them."""

import concurrent.futures
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dilax._checks import integer, shown
from dilax.data._finding import find_pictures
from dilax.data._pictures import read_pixels


def read_pictures(
    paths: Iterable[str | os.PathLike[str]], *, channels: int = 3
) -> dict[Path, np.ndarray]:
    """Read pictures at their own sizes, upright, of several frames the first.

    Args:
        paths: Pictures (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM), and folders of pictures.
        channels: 1 for grey (ITU-R BT.601), 3 for red, green and blue.

    Returns:
        For each file uint8 ``(H, W, channels)``; transparent parts are white.

    Raises:
        FileNotFoundError: A path leads nowhere.
        DataError: A folder holds no picture, or one cannot be read; the message names it.
        ValueError: ``channels`` is neither 1 nor 3.
        TypeError: ``paths`` are no paths.
    """
    if integer(channels, "channels") not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}.")
    if isinstance(paths, str | bytes) or not isinstance(paths, Iterable):
        raise TypeError(f"paths must be a sequence of paths, got {shown(paths)}.")
    given = list(paths)
    if other := [one for one in given if not isinstance(one, str | os.PathLike)]:
        raise TypeError(f"paths must be paths, got {shown(other[0])}.")
    found = find_pictures(map(Path, given))

    def read(path: Path) -> np.ndarray:
        return read_pixels(path, size=None, channels=channels)

    with (
        warnings.catch_warnings(action="ignore"),
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as executor,
    ):
        return dict(zip(found, executor.map(read, found), strict=True))

"""How a video becomes the input of a trained network: its frames, their size and colours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dilax._checks import LONGEST, integer, shown
from dilax.data import DataError
from dilax.data._videos import evenly, read_clip
from dilax.models._preparation import Preparation, statistics

_FORMS = "(t, h, w, c) or (n, t, h, w, c), with 1 to 4 channels"


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoPreparation(Preparation):
    """How videos become the clips that a network was trained on.

    ``frames`` frames are taken of a video, evenly, and each is cropped in the middle, resized and
    coloured as ``Preparation`` does it with pictures.

    Raises:
        TypeError: A value is of another type.
        ValueError: A value is out of range, or there are not 1 or 3 channels.

    >>> preparation = VideoPreparation(frames=4, height=8, width=8, mean=(0.5,), std=(0.25,))
    >>> preparation.from_array(np.full((30, 16, 16, 3), 255, np.uint8)).shape
    (4, 8, 8, 1)
    >>> preparation.normalise(np.ones((1, 4, 8, 8, 1), np.float32))[0, 0, 0, 0].item()
    2.0
    """

    frames: int
    """Frames of a clip."""

    def __post_init__(self) -> None:
        super().__post_init__()
        integer(self.frames, "frames", minimum=1, maximum=LONGEST)

    @classmethod
    def of_clips(cls, clips: np.ndarray) -> VideoPreparation:
        """Prepare videos as training clips are, uint8 ``(N, T, H, W, C)``."""
        _, frames, height, width, _ = clips.shape
        mean, std = statistics(clips)
        return cls(frames=frames, height=height, width=width, mean=mean, std=std)

    def normalise(self, images: jax.typing.ArrayLike) -> jax.Array:
        """Map clips ``(N, T, H, W, C)``, uint8 or floats in [0, 1], to mean 0 and deviation 1."""
        return jax.vmap(super().normalise, in_axes=1, out_axes=1)(images)

    def from_file(self, path: Path) -> np.ndarray:
        """Read a video, or a folder of frames, as uint8 ``(T, H, W, C)``.

        Raises:
            DataError: It is damaged, no video, or too short.
        """
        size = (self.height, self.width)
        return read_clip(path, frames=self.frames, size=size, channels=len(self.mean))

    def from_array(self, pixels: np.ndarray) -> np.ndarray:
        """Bring an array ``(t, h, w, c)`` to the form of the clips.

        Its values are uint8, uint16, bool, or floats in [0, 1].

        Returns:
            uint8 ``(T, H, W, C)``; or floats, if they have this height, width and channels already.

        Raises:
            ValueError: Its values are of another type or range.
            DataError: It has fewer frames than ``frames``.
        """
        if len(pixels) < self.frames:
            raise DataError(f"a clip must have at least {self.frames} frames, got {len(pixels)}.")
        chosen = [pixels[place] for place in evenly(len(pixels), self.frames)]
        return np.stack([super(VideoPreparation, self).from_array(frame) for frame in chosen])


def as_clips(clips: Any, preparation: VideoPreparation) -> np.ndarray:
    """Bring an array of one clip or several to the form of a network's clips.

    Args:
        clips: ``(t, h, w, c)``, or with an axis of clips before; or a sequence of the former.
        preparation: What the network takes.

    Returns:
        ``(N, T, H, W, C)``, uint8 or float32.

    Raises:
        TypeError: ``clips`` cannot be converted to an array.
        ValueError: Their shape, type or values are others.
    """
    if isinstance(clips, list | tuple) and any(getattr(one, "ndim", 0) == 4 for one in clips):
        return np.concatenate([as_clips(one, preparation) for one in clips])
    try:
        array = np.asarray(clips)
    except Exception as error:  # conversion of an arbitrary object can raise anything
        raise TypeError(f"clips must be an array or paths, got {shown(clips)}.") from error
    array = array[np.newaxis] if array.ndim == 4 else array
    if array.ndim != 5 or array.shape[-1] not in (1, 2, 3, 4) or 0 in array.shape:
        raise ValueError(f"clips must have shape {_FORMS}, got {np.shape(array)}.")
    return np.stack([preparation.from_array(one) for one in array])

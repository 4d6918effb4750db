"""A folder of videos as a data set, whose classes are folders."""

import concurrent.futures
import dataclasses
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dilax._checks import LONGEST, check_instance, integer
from dilax.data._class_folders import Kind, Labelled, find_labelled
from dilax.data._clips import VideoSplit
from dilax.data._dataset import DataError, SplitDataset, check_size
from dilax.data._pictures import PictureOptions
from dilax.data._videos import SUFFIXES, is_clip, read_clip

_VIDEOS = Kind("video", SUFFIXES, is_clip)


@dataclasses.dataclass(frozen=True, eq=False)
class VideoDataset(SplitDataset):
    """A named set of clips with classes, held in memory.

    Attributes:
        name: The name by which it was asked for.
        splits: A :class:`VideoSplit` by its name (``"train"``, ``"test"``, ...).
        class_names: The name of each class, in the order of the labels.
        source: Where the arrays came from, for records of experiments.
        notes: What a user should know, such as files that were left out.

    >>> split = VideoSplit(np.zeros((2, 4, 8, 8, 1), np.uint8), np.array([0, 1], np.int32))
    >>> len(VideoDataset("toy", {"train": split}, ("left", "right"), source="by hand").fingerprint)
    64
    """

    splits: Mapping[str, VideoSplit]
    notes: tuple[str, ...] = ()


def load_videos(
    path: str | os.PathLike[str], *, frames: int, pictures: PictureOptions
) -> VideoDataset:
    """Load a folder of videos, whose classes are folders.

    The folder has ``train/CLASS/NAME.mp4`` and ``test/CLASS/NAME.mp4`` (and ``validation``), or
    only ``CLASS/NAME.mp4``, of which a share is held out as the split ``test``. A folder of
    pictures in a folder of a class is a video, too: its frames, in the order of their names.
    ``frames`` frames are taken of each video, evenly, and the middle of each is cropped and resized
    to ``pictures.size``. Files of videos are read by PyAV (``pip install "dilax-jax[video]"``).

    Args:
        path: The folder.
        frames: Frames of each clip.
        pictures: Size, colours, and the share held out.

    Returns:
        The clips and labels of all splits.

    Raises:
        DataError: A video cannot be read, is cut short or has fewer frames, a class has no videos,
            or the training split lacks one; the message names the file.
        ValueError: ``pictures`` has no size, or ``frames`` is below 1.
        TypeError: ``pictures`` are no options.
    """
    check_instance(pictures, PictureOptions, "pictures")
    frames = integer(frames, "frames", minimum=1, maximum=LONGEST)
    if pictures.size is None:
        raise ValueError("pictures must have a size, got None; give PictureOptions(size=...).")
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder} must be a folder with a folder for each class, got no folder.")
    found = find_labelled(folder, _VIDEOS, test_share=pictures.test_share, seed=pictures.seed)
    total = sum(len(part.paths) for part in found.parts.values())
    check_size(total * frames * pictures.size**2 * pictures.channels, f"the {total} videos")
    splits = {name: _read(part, frames, pictures) for name, part in found.parts.items()}
    source = f"{folder}, {frames} frames of each video, {pictures.description}{found.held_out}"
    return VideoDataset(
        folder.resolve().name, splits, found.class_names, source=source, notes=found.notes
    )


def _read(part: Labelled, frames: int, options: PictureOptions) -> VideoSplit:
    """Decode videos in threads; the first that cannot be used ends it."""
    side = integer(options.size, "size")

    def read(path: Path) -> np.ndarray:
        return read_clip(
            path,
            frames=frames,
            size=(side, side),
            channels=options.channels,
            background=options.background,
        )

    executor = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    try:
        with warnings.catch_warnings(action="ignore"):
            clips = list(executor.map(read, part.paths))
    finally:
        executor.shutdown(cancel_futures=True)
    shape = (frames, side, side, options.channels)
    return VideoSplit(np.stack(clips) if clips else np.empty((0, *shape), np.uint8), part.labels)

"""One video, or a folder of frames, as an array of frames that are taken evenly."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dilax.data._dataset import DataError
from dilax.data._finding import below, is_picture
from dilax.data._pictures import MAX_PIXELS, convert_image, read_pixels

SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ogv"))
MISSING = 'PyAV must be installed to read videos: pip install "dilax-jax[video]"'
LEAST_PRESENT = 0.9
"""Share of the frames that a file announces which must be there; else it is cut short."""


def is_video(path: Path) -> bool:
    """Return whether a file is a video by its name; ``._a.mp4`` is of a file manager."""
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def is_clip(path: Path) -> bool:
    """Return whether a path is a video or a folder of frames."""
    return is_video(path) or (path.is_dir() and any(map(is_picture, path.iterdir())))


def find_clips(paths: Iterable[Path]) -> list[Path]:
    """List the files among ``paths``, and the videos and folders of frames in folders, in order.

    Raises:
        FileNotFoundError: A path leads nowhere.
        DataError: A folder holds no video and no frame.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "wave.mp4").touch()
    >>> (folder / "notes.txt").touch()
    >>> [path.name for path in find_clips([folder])]
    ['wave.mp4']
    """
    return [
        clip
        for path in paths
        for clip in ([path] if is_clip(path) else below(path, is_clip, "video", SUFFIXES))
    ]


def evenly(count: int, frames: int) -> list[int]:
    """Return the middle of each of ``frames`` equal parts of ``count`` frames.

    >>> evenly(12, 4), evenly(3, 3)
    ([1, 4, 7, 10], [0, 1, 2])
    """
    return [(2 * place + 1) * count // (2 * frames) for place in range(frames)]


def read_clip(
    path: Path, *, frames: int, size: tuple[int, int], channels: int, background: str = "white"
) -> np.ndarray:
    """Read a video, or a folder of frames in the order of their names, as uint8.

    Args:
        path: The video, or the folder.
        frames: Number of frames that are taken, evenly.
        size: Height and width to which the middle of each frame is cropped and resized.
        channels: 1 for grey, 3 for colours.
        background: The colour behind transparent parts.

    Returns:
        ``(frames, height, width, channels)``.

    Raises:
        DataError: It cannot be read, is cut short, or has fewer frames; or PyAV is not installed.
    """
    if path.is_dir():
        found = sorted(filter(is_picture, path.iterdir()))
        _check_frames(len(found), frames, path)
        return np.stack(
            [
                read_pixels(found[place], size=size, channels=channels, background=background)
                for place in evenly(len(found), frames)
            ]
        )
    images = _decoded(path, frames)
    return np.stack([convert_image(image, size=size, channels=channels) for image in images])


def _decoded(path: Path, frames: int) -> list[Image.Image]:
    """Decode a video, and keep the frames that are taken."""
    av = _library()
    try:
        with av.open(str(path)) as container:
            count, announced = _count(container, path)
        if count < LEAST_PRESENT * announced:
            raise DataError(
                f"{path} is cut short: it announces {announced} frames and has {count}; get it "
                "again."
            )
        _check_frames(count, frames, path)
        wanted = evenly(count, frames)
        with av.open(str(path)) as container:
            found = _take(container.decode(video=0), wanted)
    except av.error.FFmpegError as error:
        reason = (error.strerror or str(error)).rstrip(".")
        raise DataError(
            f"{path} cannot be read as a video ({reason}); get it again or delete it."
        ) from error
    if len(found) < frames:
        raise DataError(
            f"{path} is damaged: of its {count} frames, {wanted[len(found)]} could not be decoded; "
            "get it again."
        )
    return found


def _count(container: Any, path: Path) -> tuple[int, int]:
    """Count the frames that are in the file, without decoding, and those that it announces."""
    if not container.streams.video:
        raise DataError(f"{path} must have pictures, got none; is it damaged, or sound alone?")
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise DataError(
            f"{path} must have frames of at most {MAX_PIXELS:,} pixels, got "
            f"{stream.width}x{stream.height}."
        )
    announced = stream.frames
    if not announced and container.duration and stream.average_rate:
        announced = int(container.duration / 1e6 * stream.average_rate)
    return sum(packet.size > 0 for packet in container.demux(stream)), announced


def _take(decoded: Iterator[Any], wanted: list[int]) -> list[Image.Image]:
    """Convert the frames whose numbers are wanted, upright as the file says."""
    chosen, last = set(wanted), wanted[-1]
    found = []
    for number, frame in enumerate(decoded):
        if number in chosen:
            image = Image.fromarray(frame.to_ndarray(format="rgb24"))
            found.append(image.rotate(getattr(frame, "rotation", 0), expand=True))
        if number == last:
            break
    return found


def _check_frames(count: int, frames: int, path: Path) -> None:
    if count < frames:
        raise DataError(
            f"{path} must have at least {frames} frames, which the network sees, got {count}; "
            "leave it out, or train with fewer frames."
        )


def _library() -> Any:
    try:
        import av
    except ImportError as error:
        raise DataError(f"{MISSING}.") from error
    return av

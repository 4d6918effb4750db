"""Clips in which a digit moves, of which a single frame does not say how."""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from dilax._checks import check_instance, integer
from dilax.data._canvases import CONTRASTS, MOST_NOISE, check_digits
from dilax.data._dataset import DataError, Split, check_size

SPEEDS = (0.3, 0.6)
"""Length of a motion in a whole clip, as a share of its circle."""
TURNS = (0.35, 0.65)
"""When a motion to and fro turns back, as a share of the clip."""
SMALLEST = 0.5
"""Scale of the smallest digits; the largest ones are twice as large."""
_MOST = 1_000_000
_LARGEST = 1024


class Motion(NamedTuple):
    """What an action changes of a digit."""

    part: int
    """Which of row, column, angle and logarithm of the size."""
    direction: int
    """1 or -1; 0 for to and fro."""


MOTIONS = {
    "up": Motion(0, -1),
    "down": Motion(0, 1),
    "bounces": Motion(0, 0),
    "left": Motion(1, -1),
    "right": Motion(1, 1),
    "clockwise": Motion(2, 1),
    "anticlockwise": Motion(2, -1),
    "swings": Motion(2, 0),
    "grows": Motion(3, 1),
    "shrinks": Motion(3, -1),
}
ACTIONS = tuple(MOTIONS)
"""The names of the classes of ``compose_clips``."""


@dataclasses.dataclass(frozen=True, eq=False)
class VideoSplit:
    """The clips of one split of a data set, and their labels.

    Attributes:
        clips: uint8 ``(N, T, H, W, C)``, of ``T`` frames.
        labels: int32 ``(N,)``, indices into the class names.

    Raises:
        TypeError: Either is not a NumPy array.
        DataError: A dtype or a shape differs from these.

    >>> VideoSplit(np.zeros((2, 12, 8, 8, 1), np.uint8), np.array([0, 1], np.int32)).clips.shape
    (2, 12, 8, 8, 1)
    """

    clips: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        for name in ("clips", "labels"):
            check_instance(getattr(self, name), np.ndarray, name)
        found = (self.clips.dtype, self.labels.dtype, self.clips.shape[:1])
        if self.clips.ndim != 5 or found != (np.uint8, np.int32, self.labels.shape):
            raise DataError(
                "clips must be uint8 (N, T, H, W, C) and labels int32 (N,), got "
                f"{self.clips.dtype} {self.clips.shape} and {self.labels.dtype} "
                f"{self.labels.shape}."
            )

    def __len__(self) -> int:
        return len(self.labels)


def compose_clips(
    digits: Split, count: int, *, frames: int = 12, size: int = 32, seed: int = 0
) -> VideoSplit:
    """Compose clips in which a digit moves, turns, grows or shrinks, as its label says.

    The classes are ``ACTIONS``. Row, column, angle and the logarithm of the size of a digit are
    each on a circle: what leaves on the right enters on the left, and what has grown to the largest
    size goes on from the smallest, half as large. All four are drawn evenly, and the action moves
    one of them by 0.3 to 0.6 of its circle; where it goes to and fro (``bounces``, up and down, and
    ``swings``, which turns) it is sent back near the middle of the clip. On a circle, what is even
    stays even when it is moved. So **each frame, seen alone, has the same distribution in all
    classes, exactly**, and only several frames tell one from another. The brightness, between 60 %
    and all, and the strength of the noise are those of the whole clip.

    Args:
        digits: Images ``(N, H, W, 1)`` of bright objects on black, such as those of MNIST.
        count: Number of clips.
        frames: Frames of a clip.
        size: Height and width of a frame, in pixels.
        seed: Seed of all draws.

    Returns:
        Clips ``(count, frames, size, size, 1)`` and labels.

    Raises:
        ValueError: A number is out of range, or a digit does not fit into a frame.
        DataError: There are no digits, or they have several channels.
        TypeError: An argument is of another type.

    Source: digits that move: N. Srivastava et al., "Unsupervised Learning of Video Representations
    using LSTMs", 2015.

    >>> from dilax.data import load
    >>> found = compose_clips(load("mnist").splits["test"], 2)
    >>> found.clips.shape, [ACTIONS[label] for label in found.labels]
    ((2, 12, 32, 32, 1), ['grows', 'clockwise'])
    """
    check_digits(digits)
    count = integer(count, "count", minimum=0, maximum=_MOST)
    frames = integer(frames, "frames", minimum=2, maximum=_LARGEST)
    size = integer(size, "size", minimum=max(digits.images.shape[1:3]), maximum=_LARGEST)
    seed = integer(seed, "seed", minimum=0)
    check_size(count * frames * size**2, f"{count} clips")
    clips = np.empty((count, frames, size, size, 1), np.uint8)
    labels = np.empty(count, np.int32)
    for place in range(count):
        rng = np.random.default_rng([seed, place])
        labels[place] = rng.integers(len(ACTIONS))
        digit = digits.images[int(rng.integers(len(digits))), ..., 0]
        poses = draw_poses(rng, MOTIONS[ACTIONS[labels[place]]], frames)
        brightness = rng.uniform(*CONTRASTS) * render(digit, poses, size)
        noise = rng.uniform(0, MOST_NOISE) * rng.standard_normal(brightness.shape, np.float32)
        clips[place, ..., 0] = np.clip(brightness + noise, 0, 255).round()
    return VideoSplit(clips, labels)


def draw_poses(rng: np.random.Generator, motion: Motion, frames: int) -> np.ndarray:
    """Draw row, column, angle and logarithm of the size in each frame, ``(frames, 4)`` in [0, 1).

    >>> poses = draw_poses(np.random.default_rng(0), MOTIONS["down"], 5)
    >>> poses.shape, bool((poses[:, 1:] == poses[0, 1:]).all())
    ((5, 4), True)
    """
    poses = np.tile(rng.uniform(size=4), (frames, 1))
    times, speed = np.linspace(0, 1, frames), rng.uniform(*SPEEDS)
    if motion.direction:
        path = motion.direction * times
    else:
        path = rng.choice([-1, 1]) * abs(times - rng.uniform(*TURNS))
    poses[:, motion.part] += speed * path
    return poses % 1


def render(digit: np.ndarray, poses: np.ndarray, size: int) -> np.ndarray:
    """Draw a digit ``(h, w)`` in each pose, bilinearly: float32 ``(frames, size, size)``.

    >>> still = np.array([[0.5, 0.5, 0.0, 0.999999]])
    >>> render(np.full((8, 8), 255, np.uint8), still, 8)[0, 4, 4].round().item()
    255.0
    """
    centre, angle = size * poses[:, :2], 2 * np.pi * poses[:, 2, None, None]
    pixels = np.arange(size) + 0.5
    apart = (pixels - centre[..., None] + size / 2) % size - size / 2  # the short way round
    y, x = apart[:, 0, :, None], apart[:, 1, None, :]
    scale = (SMALLEST * 2 ** poses[:, 3])[:, None, None]
    sine, cosine = np.sin(angle) / scale, np.cos(angle) / scale
    rows = y * cosine - x * sine + (digit.shape[0] - 1) / 2
    columns = x * cosine + y * sine + (digit.shape[1] - 1) / 2
    return scipy.ndimage.map_coordinates(
        digit.astype(np.float32), [rows, columns], order=1, mode="constant"
    )

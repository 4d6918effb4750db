"""Sounds in WAV files: read as one channel, at one rate, of one length."""

import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dilax._checks import LONGEST, integer, shown
from dilax.data._dataset import DataError, check_size
from dilax.data._splits import few

LARGEST = 32_767
"""Of 16-bit samples."""
SUFFIX = ".wav"


class Sound(NamedTuple):
    """A sound that was read from a file."""

    samples: np.ndarray
    """int16 ``(samples,)``."""
    file_rate: int
    """Samples a second in the file; if it is not the rate that was asked for, it was resampled."""


def read_sound(path: str | os.PathLike[str], *, rate: int = 16_000) -> Sound:
    """Read a WAV file of 8, 16, 24 or 32-bit integers or of floats.

    Several channels are averaged. A file of another rate is resampled by a polyphase filter.

    Args:
        path: The file.
        rate: Samples a second to return.

    Raises:
        DataError: The file is damaged or empty, holds samples that are not finite, or is no WAV
            file.
        FileNotFoundError: There is no such file.
        ValueError: The rate is below 1.
        TypeError: ``path`` is no path, or the rate not an integer.
    """
    rate = integer(rate, "rate", minimum=1, maximum=LONGEST)
    if not isinstance(path, str | os.PathLike) or not str(path).strip("\0"):
        raise TypeError(f"path must be the path of a WAV file, got {shown(path)}.")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give the path of a WAV file.")
    own_rate, samples = _decode(path)
    x = _as_floats(samples)
    if not x.size:
        raise DataError(f"{path} must hold sound, got no samples; delete the file.")
    if not np.isfinite(x).all():
        raise DataError(f"{path} must hold finite samples, got NaN or infinity.")
    if x.ndim > 1:
        x = x.mean(axis=1)
    if own_rate != rate:
        x = resampled(x, own_rate, rate)
    return Sound(np.rint(np.clip(x, -1, 1) * LARGEST).astype(np.int16), own_rate)


def resampling_notes(rates: Mapping[Path, int], rate: int) -> tuple[str, ...]:
    """Say which files have another rate than was asked for.

    >>> resampling_notes({Path("a.wav"): 16_000, Path("b.wav"): 44_100}, 16_000)
    ('resampled to 16,000 Hz: b.wav from 44,100 Hz',)
    """
    others = [f"{path.name} from {own:,} Hz" for path, own in rates.items() if own != rate]
    return (f"resampled to {rate:,} Hz: {few(others)}",) if others else ()


def fit_length(samples: np.ndarray, length: int) -> np.ndarray:
    """Pad a sound by zeros at both ends, or take its part with the most energy.

    >>> fit_length(np.array([3, 4], np.int16), 5).tolist()
    [0, 3, 4, 0, 0]
    >>> fit_length(np.array([0, 1, 5, 5, 0], np.int16), 2).tolist()
    [5, 5]
    """
    missing = length - len(samples)
    if missing >= 0:
        return np.pad(samples, (missing // 2, missing - missing // 2))
    energy = np.cumsum(np.square(samples, dtype=np.float64))
    start = int(np.argmax(energy[length - 1 :] - np.pad(energy[:-length], (1, 0))))
    return samples[start : start + length]


def _decode(path: Path) -> tuple[int, np.ndarray]:
    """Read the rate and the samples ``(samples,)`` or ``(samples, channels)`` as they are stored.

    A file that is cut short only makes the reader warn, as do chunks that are not sound.
    """
    import scipy.io.wavfile

    check_size(path.stat().st_size, str(path))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore")
            warnings.filterwarnings("error", message="Reached EOF|Incomplete")
            rate, samples = scipy.io.wavfile.read(path)
    except Exception as error:  # a damaged file: whatever its reader raises
        reason = str(error).split(";")[0].rstrip(".")
        raise DataError(f"{path} is not a readable WAV file: {reason}; get it again.") from error
    if rate < 1:
        raise DataError(f"{path} must have a rate of at least 1 Hz, got {rate}; get it again.")
    return int(rate), samples


def _as_floats(samples: np.ndarray) -> np.ndarray:
    """Convert samples of any type to float64 in [-1, 1]; 8-bit integers have no sign."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float64) - 128) / 127
    return samples.astype(np.float64) / np.iinfo(samples.dtype).max


def resampled(x: np.ndarray, own_rate: int, rate: int) -> np.ndarray:
    """Convert ``(samples,)`` from one rate to another by a polyphase filter.

    >>> resampled(np.zeros(441), 44_100, 16_000).shape
    (160,)
    """
    import scipy.signal

    shared = math.gcd(own_rate, rate)
    return scipy.signal.resample_poly(x, rate // shared, own_rate // shared)

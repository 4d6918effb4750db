"""Spectrograms on the mel scale, as a pure function that can be differentiated and streamed."""

import functools
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dilax._arrays import as_array
from dilax._checks import LONGEST, integer, number, shown

FramePadding = Literal["VALID", "CAUSAL"] | tuple[int, int]
LONGEST_WINDOW = 2**20
LINEAR_STEP, BREAK, OCTAVES = 200 / 3, 1000.0, np.log(6.4) / 27
"""Hertz in a mel up to the break, in hertz, and the logarithm of their ratio beyond it."""


def log_mel_spectrogram(
    sounds: ArrayLike,
    *,
    rate: int = 16_000,
    window: int = 400,
    hop: int = 160,
    bands: int = 40,
    low: float = 20.0,
    high: float | None = None,
    padding: FramePadding = "CAUSAL",
    floor: float = 1e-6,
) -> Array:
    r"""Compute the logarithm of the energy of sounds in bands of the mel scale, frame by frame.

    .. math::

        y_{t,b} = \log\Bigl(\varepsilon + \sum_f M_{f,b}
        \Bigl|\sum_n w_n \, x_{t h + n - l} \, e^{-2 \pi i f n / K}\Bigr|^2\Bigr)

    with Hann windows :math:`w`, hop :math:`h`, padding :math:`l` in front, and triangular filters
    :math:`M` of equal area, whose corners are equally far apart on the mel scale of Slaney: linear
    up to 1000 Hz, logarithmic above. :math:`K` is the next power of two of the window's length.

    With ``padding="CAUSAL"``, frame ``t`` ends with sample ``(t + 1) hop``, so that
    ``dilax.inference.stream`` takes the function; chunks are then multiples of ``hop``.

    Args:
        sounds: Floats ``(..., samples)``, usually in [-1, 1].
        rate: Samples a second.
        window: Samples in a frame; 400 are 25 ms.
        hop: Samples between frames; 160 are 10 ms.
        bands: Number of bands.
        low: Lower edge of the lowest band, in hertz.
        high: Upper edge of the highest band, in hertz; half the rate when left out.
        padding: Zeros before and after each sound: none (``"VALID"``), as many in front that there
            are ``samples // hop`` frames (``"CAUSAL"``), or two numbers.
        floor: :math:`\varepsilon`, added to the energy.

    Returns:
        ``(..., frames, bands)``.

    Raises:
        ValueError: A number is out of range, a band is narrower than the resolution of the windows,
            or the sounds are shorter than a window.
        TypeError: The sounds are no floats, or a number is none.

    Source: S. Davis and P. Mermelstein, "Comparison of Parametric Representations for Monosyllabic
    Word Recognition", 1980; the mel scale: M. Slaney, "Auditory Toolbox", 1998.

    >>> log_mel_spectrogram(jnp.zeros((8, 16_000))).shape
    (8, 100, 40)
    """
    x = as_array(sounds, "sounds")
    if x.ndim < 1 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"sounds must be floats (..., samples), got {x.dtype} {x.shape}; divide 16-bit "
            "integers by 32768."
        )
    integer(rate, "rate", minimum=1, maximum=LONGEST)
    integer(window, "window", minimum=2, maximum=LONGEST_WINDOW)
    integer(hop, "hop", minimum=1, maximum=window)
    size = 1 << (window - 1).bit_length()
    integer(bands, "bands", minimum=1, maximum=size // 2)
    epsilon = float(number(floor, "floor"))
    if not 0 < epsilon < np.inf:
        raise ValueError(f"floor must be positive, got {floor}.")
    lowest, highest = float(number(low, "low")), rate / 2
    if high is not None:
        highest = float(number(high, "high"))
    filters = mel_filters(rate, size, bands, lowest, highest)
    cut = frames(x.astype(jnp.float32), window, hop, padding)
    weights = jnp.asarray(hann(window), jnp.float32).reshape(*[1] * x.ndim, window)
    spectrum = jnp.fft.rfft(cut * weights, n=size)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    return jnp.log(jnp.matmul(power, filters, precision="highest") + epsilon).astype(x.dtype)


def frames(x: Array, window: int, hop: int, padding: FramePadding) -> Array:
    """Cut ``(..., samples)`` into overlapping frames ``(..., frames, window)``.

    Neighbouring blocks of ``hop`` samples are put side by side, which can be done as they arrive.

    >>> frames(jnp.arange(6), 3, 2, "VALID").tolist()
    [[0, 1, 2], [2, 3, 4]]
    >>> frames(jnp.arange(6), 3, 2, "CAUSAL").tolist()
    [[0, 0, 1], [1, 2, 3], [3, 4, 5]]
    """
    side_by_side = -(-window // hop)
    before = [(0, 0)] * (x.ndim - 1)
    causal = isinstance(padding, str) and padding == "CAUSAL"
    if causal:
        count = x.shape[-1] // hop
        missing, start = 0, side_by_side * hop - window
    else:
        x = jnp.pad(x, [*before, _ends(padding, window)])
        count = (x.shape[-1] - window) // hop + 1
        missing, start = max(0, (count - 1 + side_by_side) * hop - x.shape[-1]), 0
    if count < 1:
        raise ValueError(
            f"sounds must have at least {hop if causal else window} samples for a "
            f"frame of this window and hop, with their padding, got {x.shape[-1]}."
        )
    if missing:
        x = jnp.pad(x, [*before, (0, missing)])
    if x.shape[-1] % hop:
        x = x[..., : x.shape[-1] // hop * hop]
    blocks = x.reshape(*x.shape[:-1], -1, hop)
    if causal:
        blocks = jnp.pad(blocks, [*before, (side_by_side - 1, 0), (0, 0)])
    shifted = [blocks[..., first : first + count, :] for first in range(side_by_side)]
    return jnp.concatenate(shifted, axis=-1)[..., start : start + window]


@functools.cache
def hann(window: int) -> np.ndarray:
    """Compute the periodic Hann window."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


@functools.cache
def mel_filters(rate: int, size: int, bands: int, low: float, high: float) -> np.ndarray:
    """Compute triangles of equal area over the frequencies of a transform of ``size`` samples.

    Returns:
        float32 ``(size // 2 + 1, bands)``.

    Raises:
        ValueError: The edges are out of range, or a triangle meets no frequency.

    >>> mel_filters(16_000, 512, 40, 20.0, 8000.0).shape
    (257, 40)
    """
    if not 0 <= low < high <= rate / 2:
        raise ValueError(
            f"low and high must be from 0 to half the rate, {rate / 2} Hz, and high above low, got "
            f"{low} and {high}."
        )
    corners = to_hertz(np.linspace(to_mel(low), to_mel(high), bands + 2))
    frequencies = np.arange(size // 2 + 1)[:, None] * rate / size
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (
        (frequencies - left) / (middle - left),
        (right - frequencies) / (right - middle),
    )
    filters = np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)
    if (empty := (filters == 0).all(axis=0)).any():
        raise ValueError(
            f"bands must be wide enough for window and rate, got band {empty.argmax()} of {bands} "
            f"from low {low} Hz to high {high} Hz without one of the {size // 2 + 1} frequencies; "
            "give fewer bands or a longer window."
        )
    return filters.astype(np.float32)


def to_mel(hertz: float) -> float:
    """Convert a frequency to Slaney's mel scale.

    >>> round(to_mel(1000.0)), round(to_mel(6400.0))
    (15, 42)
    """
    if hertz < BREAK:
        return hertz / LINEAR_STEP
    return float(BREAK / LINEAR_STEP + np.log(hertz / BREAK) / OCTAVES)


def to_hertz(mel: np.ndarray) -> np.ndarray:
    """Convert numbers of Slaney's mel scale to frequencies."""
    beyond = BREAK * np.exp(OCTAVES * (mel - BREAK / LINEAR_STEP))
    return np.where(mel < BREAK / LINEAR_STEP, mel * LINEAR_STEP, beyond)


def _ends(padding: FramePadding, window: int) -> tuple[int, int]:
    """Return the zeros before and after a sound."""
    if isinstance(padding, str) and padding == "VALID":
        return 0, 0
    if not isinstance(padding, tuple) or len(padding) != 2:
        raise ValueError(f"padding must be VALID, CAUSAL or two integers, got {shown(padding)}.")
    first, last = (integer(each, "each of padding", minimum=0, maximum=window) for each in padding)
    return first, last

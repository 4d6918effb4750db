"""Log-mel spectrograms by their definition: slow, in float64, of NumPy alone."""

import numpy as np


def log_mel(sounds, *, rate, window, hop, bands, low, high, padding, floor):
    x = np.asarray(sounds, np.float64)
    ends = {"CAUSAL": (window - hop, 0), "VALID": (0, 0)}.get(str(padding), padding)
    x = np.pad(x, [*[(0, 0)] * (x.ndim - 1), ends])
    starts = range(0, x.shape[-1] - window + 1, hop)
    assert starts
    size = 2 ** int(np.ceil(np.log2(window)))
    places, bins = np.arange(window), np.arange(size // 2 + 1)
    hann = np.sin(np.pi * places / window) ** 2
    waves = np.exp(-2j * np.pi * np.outer(places, bins) / size)
    filters = mel_filters(rate, size, bands, low, rate / 2 if high is None else high)
    frames = [np.abs((x[..., at : at + window] * hann) @ waves) ** 2 @ filters for at in starts]
    return np.log(np.stack(frames, axis=-2) + floor)


def mel_filters(rate, size, bands, low, high):
    """Slaney's scale: 15 mels to 1000 Hz, and 27 from each frequency to 6.4 times that."""

    def mel_of(hertz):
        return hertz * 15 / 1000 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)

    mels = [mel_of(low) + (mel_of(high) - mel_of(low)) * n / (bands + 1) for n in range(bands + 2)]
    corners = [mel * 1000 / 15 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27) for mel in mels]
    bins = np.arange(size // 2 + 1) * rate / size
    triangles = [
        np.interp(bins, corners[n : n + 3], [0, 1, 0]) * 2 / (corners[n + 2] - corners[n])
        for n in range(bands)
    ]
    assert all(triangle.any() for triangle in triangles)
    return np.stack(triangles, axis=1)

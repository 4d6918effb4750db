"""Convolution and its two gradients as loops over output positions and kernel taps, in float64.

Slow and obvious, in NumPy alone: this is what the algorithms are measured against. Arrays are those
of an algorithm: ``x`` (N, *S, C), ``kernel`` (*K, C // groups, O), ``g`` (N, *S_out, O).

The forward pass pads an array and reads from it. The gradients never pad: they walk the outputs,
ask for each tap where it fell in the input, and leave out what fell outside.
"""

from collections.abc import Iterator

import numpy as np

Index = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


def conv(
    x: np.ndarray,
    kernel: np.ndarray,
    *,
    strides: Index,
    padding: Pads,
    kernel_dilation: Index,
    feature_group_count: int,
) -> np.ndarray:
    """Every output is a sum over taps of a padded input entry times a (C // groups, O) matrix."""
    padded = _pad(np.asarray(x, np.float64), padding)
    matrices = _by_group(np.asarray(kernel, np.float64), feature_group_count)
    taps = kernel.shape[:-2]
    starts = [
        range(0, size - dilation * (count - 1), stride)
        for size, count, stride, dilation in zip(
            padded.shape[1:-1], taps, strides, kernel_dilation, strict=True
        )
    ]
    out = np.zeros((x.shape[0], *map(len, starts), kernel.shape[-1]))
    for position in np.ndindex(*map(len, starts)):
        for tap in np.ndindex(*taps):
            source = tuple(
                start[p] + t * d
                for start, p, t, d in zip(starts, position, tap, kernel_dilation, strict=True)
            )
            entry = _split(padded[:, *source], feature_group_count)
            product = np.einsum("ngc,cgo->ngo", entry, matrices[tap])
            out[:, *position] += product.reshape(x.shape[0], kernel.shape[-1])
    return out


def input_gradient(
    g: np.ndarray,
    kernel: np.ndarray,
    *,
    input_size: Index,
    strides: Index,
    padding: Pads,
    kernel_dilation: Index,
    feature_group_count: int,
) -> np.ndarray:
    """Each output's cotangent is added to every input entry that the output had read."""
    matrices = _by_group(np.asarray(kernel, np.float64), feature_group_count)
    in_features = kernel.shape[-2] * feature_group_count
    gradient = np.zeros((g.shape[0], *input_size, in_features))
    taps = kernel.shape[:-2]
    for position, tap, source in _reads(
        g.shape[1:-1], taps, input_size, strides, padding, kernel_dilation
    ):
        cotangent = _split(np.asarray(g[:, *position], np.float64), feature_group_count)
        product = np.einsum("ngo,cgo->ngc", cotangent, matrices[tap])
        gradient[:, *source] += product.reshape(g.shape[0], in_features)
    return gradient


def kernel_gradient(
    x: np.ndarray,
    g: np.ndarray,
    *,
    kernel_size: Index,
    strides: Index,
    padding: Pads,
    kernel_dilation: Index,
    feature_group_count: int,
) -> np.ndarray:
    """Each tap sums products of the inputs that it reads and the cotangents of the outputs."""
    in_features, out_features = x.shape[-1], g.shape[-1]
    gradient = np.zeros((*kernel_size, in_features // feature_group_count, out_features))
    for position, tap, source in _reads(
        g.shape[1:-1], kernel_size, x.shape[1:-1], strides, padding, kernel_dilation
    ):
        entry = _split(np.asarray(x[:, *source], np.float64), feature_group_count)
        cotangent = _split(np.asarray(g[:, *position], np.float64), feature_group_count)
        product = np.einsum("ngc,ngo->cgo", entry, cotangent)
        gradient[tap] += product.reshape(gradient.shape[-2:])
    return gradient


def _pad(x: np.ndarray, padding: Pads) -> np.ndarray:
    """Zeros around the window axes; a negative amount cuts instead."""
    added = [(max(low, 0), max(high, 0)) for low, high in padding]
    padded = np.pad(x, [(0, 0), *added, (0, 0)])
    cut = [
        slice(max(-low, 0), max(size - max(-high, 0), 0))
        for (low, high), size in zip(padding, padded.shape[1:-1], strict=True)
    ]
    return padded[:, *cut]


def _reads(
    positions: Index, taps: Index, input_size: Index, strides: Index, padding: Pads, dilation: Index
) -> Iterator[tuple[Index, Index, Index]]:
    """Every (output position, tap, input entry) where the tap falls inside the input."""
    for position in np.ndindex(*positions):
        for tap in np.ndindex(*taps):
            source = tuple(
                p * s + t * d - low
                for p, s, t, d, (low, _) in zip(
                    position, strides, tap, dilation, padding, strict=True
                )
            )
            if all(0 <= entry < size for entry, size in zip(source, input_size, strict=True)):
                yield position, tap, source


def _split(features: np.ndarray, groups: int) -> np.ndarray:
    """(N, features) to (N, groups, features // groups)."""
    return features.reshape(features.shape[0], groups, features.shape[1] // groups)


def _by_group(kernel: np.ndarray, groups: int) -> np.ndarray:
    """(*K, C // groups, O) to (*K, C // groups, groups, O // groups)."""
    return kernel.reshape(*kernel.shape[:-1], groups, kernel.shape[-1] // groups)

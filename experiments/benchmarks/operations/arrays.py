"""Operands of a case, drawn from a seed, and its answers in float64 NumPy."""

import itertools

import numpy as np

from operations.cases import Case

Arrays = tuple[np.ndarray, ...]


def operands(case: Case) -> Arrays:
    """Input, kernels and the output's cotangent, in float32."""
    rng = np.random.default_rng(0)
    shapes = (*case.shapes, case.output_shape)
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)


def convolution(case: Case, x: np.ndarray, kernel: np.ndarray, g: np.ndarray) -> Arrays:
    """Output, input gradient and kernel gradient: one sum over taps, in float64."""
    geometry = case.geometry
    x, kernel, g = (array.astype(np.float64) for array in (x, kernel, g))
    padded = np.pad(x, [(0, 0), *geometry.padding, (0, 0)])
    output, to_padded, to_kernel = map(np.zeros_like, (g, padded, kernel))
    for tap in itertools.product(*map(range, geometry.kernel_size)):
        window = _window(case, tap)
        for ins, outs in _groups(case):
            seen, received = padded[:, *window, ins], g[..., outs]
            weights = kernel[tap][:, outs]
            to_output, to_seen, to_weights = _products(seen, weights, received)
            output[..., outs] += to_output
            to_padded[:, *window, ins] += to_seen
            to_kernel[tap][:, outs] = to_weights
    pads = zip(geometry.padding, case.size, strict=True)
    inside = tuple(slice(low, low + length) for (low, _), length in pads)
    return output, to_padded[:, *inside], to_kernel


def _products(seen: np.ndarray, weights: np.ndarray, received: np.ndarray) -> Arrays:
    """What one tap adds to each of the three: elementwise for a plain depthwise convolution."""
    if len(weights) < seen.shape[-1]:
        axes = tuple(range(seen.ndim - 1))
        to_weights = np.sum(seen * received, axis=axes)[None]
        return seen * weights[0], received * weights[0], to_weights
    flat = seen.reshape(-1, seen.shape[-1]).T @ received.reshape(-1, received.shape[-1])
    return seen @ weights, received @ weights.T, flat


def _window(case: Case, tap: tuple[int, ...]) -> tuple[slice, ...]:
    """Where a tap reads the padded input."""
    geometry = case.geometry
    starts = [place * rate for place, rate in zip(tap, geometry.kernel_dilation, strict=True)]
    spans = [
        step * (count - 1) + 1
        for step, count in zip(geometry.strides, geometry.output_size, strict=True)
    ]
    axes = zip(starts, spans, geometry.strides, strict=True)
    return tuple(slice(start, start + span, step) for start, span, step in axes)


def _groups(case: Case) -> list[tuple[slice, slice]]:
    """Input and output channels of each group; a plain depthwise convolution goes all at once."""
    if case.depthwise and case.outputs == case.features:
        return [(slice(None), slice(None))]
    members, outputs = case.features // case.group_count, case.outputs // case.group_count
    return [
        (slice(i * members, (i + 1) * members), slice(i * outputs, (i + 1) * outputs))
        for i in range(case.group_count)
    ]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, in units of the largest value expected."""
    difference = np.abs(np.asarray(found, np.float64) - expected).max(initial=0)
    return float(difference / max(np.abs(expected).max(initial=0), 1e-300))

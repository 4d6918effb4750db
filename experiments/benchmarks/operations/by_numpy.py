"""The convolutions in float64 by NumPy, tap by tap: what errors are measured against."""

import numpy as np

from operations.cases import Case


def answers(
    case: Case, x: np.ndarray, kernel: np.ndarray, g: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the output, the input gradient and the kernel gradient for the cotangent ``g``."""
    x, kernel, g = (np.asarray(array, np.float64) for array in (x, kernel, g))
    around = ((0, 0), *case.pads, (0, 0))
    padded = np.pad(x, around)
    output, kernel_gradient = np.zeros(case.output_shape), np.zeros_like(kernel)
    padded_gradient = np.zeros_like(padded)
    for tap in np.ndindex(*case.kernel_size):
        read = (slice(None), *_read_by(case, tap))
        matrix = _by_group(kernel[tap], case.group_count)
        output += _product(padded[read], matrix)
        padded_gradient[read] += _product(g, matrix.swapaxes(1, 2))
        kernel_gradient[tap] = _gradient(padded[read], g, case.group_count)
    inside = tuple(slice(low, low + size) for (low, _), size in zip(around, x.shape, strict=True))
    return output, padded_gradient[inside], kernel_gradient


def _read_by(case: Case, tap: tuple[int, ...]) -> list[slice]:
    """Return what a tap reads of the padded input, one slice for each window axis."""
    starts = [entry * dilation for entry, dilation in zip(tap, case.dilations, strict=True)]
    sizes = case.output_shape[1:-1]
    return [
        slice(start, start + (size - 1) * stride + 1, stride)
        for start, size, stride in zip(starts, sizes, case.strides, strict=True)
    ]


def _by_group(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Reshape (C // groups, O) to (groups, C // groups, O // groups)."""
    return kernel.reshape(kernel.shape[0], groups, -1).swapaxes(0, 1)


def _product(features: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Multiply the features of each group, (..., groups * C), by its matrix, (groups, C, O)."""
    groups, inputs, outputs = matrices.shape
    if inputs == outputs == 1:
        return features * matrices[:, 0, 0]
    parts = features.reshape(-1, groups, inputs).swapaxes(0, 1)
    return (parts @ matrices).swapaxes(0, 1).reshape(*features.shape[:-1], groups * outputs)


def _gradient(features: np.ndarray, g: np.ndarray, groups: int) -> np.ndarray:
    """Sum the products of features and cotangents in each group: (C // groups, O)."""
    if features.shape == g.shape and groups == g.shape[-1]:
        return (features * g).reshape(-1, groups).sum(0, keepdims=True)
    parts = features.reshape(-1, groups, features.shape[-1] // groups).transpose(1, 2, 0)
    cotangents = g.reshape(-1, groups, g.shape[-1] // groups).swapaxes(0, 1)
    return (parts @ cotangents).swapaxes(0, 1).reshape(-1, g.shape[-1])

"""Expected results of the functions of ``dilax.degridding``, by loops over entries in NumPy."""

from typing import Any

import jax.numpy as jnp
import numpy as np


def mixed(x: Any, mixing: Any, kernel_dilation: Any) -> np.ndarray:
    """Phases of each block mixed, an entry at a time; entries beyond the end are zeros."""
    x, mixing = np.asarray(x), np.asarray(mixing)
    window = x.shape[-len(kernel_dilation) - 1 : -1]
    y = np.zeros(x.shape, np.result_type(x, mixing))
    phases = list(np.ndindex(*kernel_dilation))
    for place in np.ndindex(*window):
        corner = np.subtract(place, np.mod(place, kernel_dilation))
        own = phases.index(tuple(np.subtract(place, corner)))
        for other, phase in enumerate(phases):
            source = tuple(np.add(corner, phase))
            if all(np.less(source, window)):
                y[(..., *place, slice(None))] += mixing[own, other] * x[(..., *source, slice(None))]
    return y.astype(x.dtype)


def interpolated(weights: Any, positions: Any, kernel_size: Any, sigma: Any = None) -> np.ndarray:
    """Each tap shared out among the entries of the kernel, axis by axis."""
    weights, positions = np.asarray(weights), np.asarray(positions)
    kernel = np.zeros((*kernel_size, *weights.shape[1:]))
    for tap, output in np.ndindex(weights.shape[0], weights.shape[2]):
        shares = np.ones(())
        for axis, size in enumerate(kernel_size):
            place = np.clip(positions[tap, axis, output], -(size // 2), size - 1 - size // 2)
            distance = np.arange(size) - size // 2 - np.float64(place)
            near = np.maximum(1 - np.abs(distance), 0)
            if sigma is not None:
                width = np.abs(np.asarray(sigma)[tap, axis, output]) + 0.27
                near = np.exp(-((distance / width) ** 2) / 2)
            shares = np.multiply.outer(shares, near / near.sum())
        kernel[..., output] += np.multiply.outer(shares, weights[tap, :, output])
    return kernel


def merged(kernels: Any, kernel_dilation: Any) -> np.ndarray:
    """One kernel of several with their centres aligned, tap by tap."""
    rank = np.ndim(kernels[0]) - 2
    dilations = [np.broadcast_to(dilation, rank) for dilation in kernel_dilation]
    spans = [
        dilation * (np.array(np.shape(kernel)[:-2]) - 1) + 1
        for kernel, dilation in zip(kernels, dilations, strict=True)
    ]
    assert all((span % 2).all() for span in spans), "an even kernel has no centre"
    window = np.max(spans, axis=0)
    total = np.zeros((*window, *np.shape(kernels[0])[-2:]), jnp.result_type(*kernels))
    for kernel, dilation, span in zip(kernels, dilations, spans, strict=True):
        for tap in np.ndindex(*np.shape(kernel)[:-2]):
            total[tuple((window - span) // 2 + tap * dilation)] += np.asarray(kernel)[tap]
    return total

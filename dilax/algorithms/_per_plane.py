"""Volumes as batches of planes: along the first window axis, tap by tap.

    conv             y[n, i]   =  sum_k  conv(x[n, s i + d k - low], w[k])
    input gradient   x'[n, t]  =  the sum over all ``k`` and ``i`` with ``s i + d k - low = t``
    kernel gradient  w'[k]     =  that of all planes ``x[n, s i + d k - low]`` with ``g[n, i]``

where the convolutions on the right have one axis less, and are given as a pass of a algorithm. What
one tap sees is stored, and no more.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from dilax.algorithms._windows import window
from dilax.geometry import ConvGeometry

PlanePass = Callable[[jax.Array, jax.Array, ConvGeometry], jax.Array]


def conv(plane: PlanePass, x: jax.Array, kernel: jax.Array, geometry: ConvGeometry) -> jax.Array:
    """The output, from ``plane(x, kernel, geometry)`` of one axis less."""
    inner = _of_planes(geometry)
    taps = range(geometry.kernel_size[0])
    parts = [plane(_seen(x, tap, geometry), kernel[tap], inner) for tap in taps]
    whole = functools.reduce(lax.add, parts)
    return whole.reshape(x.shape[0], *geometry.output_size, whole.shape[-1])


def input_gradient(
    plane: PlanePass, g: jax.Array, kernel: jax.Array, geometry: ConvGeometry
) -> jax.Array:
    """The input's gradient, from ``plane(g, kernel, geometry)`` of one axis less."""
    inner, planes = _of_planes(geometry), _flat(g)

    def part(tap: int) -> jax.Array:
        gradient = plane(planes, kernel[tap], inner)
        return _returned(gradient.reshape(*g.shape[:2], *gradient.shape[1:]), tap, geometry)

    return functools.reduce(lax.add, map(part, range(len(kernel))))


def kernel_gradient(
    plane: PlanePass, x: jax.Array, g: jax.Array, geometry: ConvGeometry
) -> jax.Array:
    """The kernel's gradient, from ``plane(x, g, geometry)`` of one axis less."""
    inner, planes = _of_planes(geometry), _flat(g)
    taps = range(geometry.kernel_size[0])
    return jnp.stack([plane(_seen(x, tap, geometry), planes, inner) for tap in taps])


def _of_planes(geometry: ConvGeometry) -> ConvGeometry:
    """The same without the first axis."""
    return dataclasses.replace(
        geometry,
        input_size=geometry.input_size[1:],
        kernel_size=geometry.kernel_size[1:],
        strides=geometry.strides[1:],
        padding=geometry.padding[1:],
        kernel_dilation=geometry.kernel_dilation[1:],
    )


def _flat(x: jax.Array) -> jax.Array:
    """Examples and planes as one axis."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _start(tap: int, geometry: ConvGeometry) -> int:
    """The plane that a tap sees for the first output; outside of the input it is padding."""
    return geometry.kernel_dilation[0] * tap - geometry.padding[0][0]


def _seen(x: jax.Array, tap: int, geometry: ConvGeometry) -> jax.Array:
    """The planes that a tap sees, one for each output of each example."""
    rest = geometry.input_size[1:]
    offset, ones = (0,) * len(rest), (1,) * len(rest)
    sizes, strides = (geometry.output_size[0], *rest), (geometry.strides[0], *ones)
    return _flat(window(x, (_start(tap, geometry), *offset), sizes, strides))


def _returned(parts: jax.Array, tap: int, geometry: ConvGeometry) -> jax.Array:
    """Undo ``_seen``: each plane where it was seen, and zeros between and beside them."""
    start, stride = _start(tap, geometry), geometry.strides[0]
    after = geometry.input_size[0] - start - stride * (geometry.output_size[0] - 1) - 1
    edges = [(0, 0, 0), (start, after, stride - 1), *[(0, 0, 0)] * (parts.ndim - 2)]
    return lax.pad(parts, parts.dtype.type(0), edges)

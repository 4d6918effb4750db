"""A convolution of volumes as a sum, over taps of the first axis, of convolutions of planes.

    conv             y[n, i]   =  sum_k       conv(x[n, s i + d k - low], w[k])
    input gradient   x'[n, t]  =  sum_{k, i}  input_gradient(g[n, i], w[k]),  s i + d k - low = t
    kernel gradient  w'[k]     =  sum_{n, i}  kernel_gradient(x[n, s i + d k - low], g[n, i])

The convolutions on the right have two window axes, as XLA's fast routine on CPU needs, and are
computed group by group; with three axes, XLA runs slow scalar code. At any time, only the planes
that one tap sees are stored. With fewer than three window axes, ``per_group`` is used.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax.algorithms import _per_group
from dilax.algorithms._algorithm import Algorithm, accumulation_type, result_type
from dilax.algorithms._windows import window
from dilax.geometry import ConvGeometry


def conv(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    unrolled_groups: int = 1,
) -> jax.Array:
    """``y[n, i] = sum_k conv(x[n, s i + d k - low], w[k])``."""
    dtype = result_type(lhs, preferred_element_type)
    options = _options(lhs, rhs, geometry, precision, dtype, unrolled_groups)
    if geometry.rank < 3:
        return _per_group.conv(lhs, rhs, geometry, **options)
    inner = _of_planes(geometry)
    parts = [
        _per_group.conv(_seen(lhs, tap, geometry), rhs[tap], inner, **options)
        for tap in range(geometry.kernel_size[0])
    ]
    whole = functools.reduce(lax.add, parts)
    return whole.reshape(lhs.shape[0], *geometry.output_size, whole.shape[-1]).astype(dtype)


def input_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    unrolled_groups: int = 1,
) -> jax.Array:
    """``x'[n, t] = sum_{k, i} input_gradient(g[n, i], w[k])`` over ``s i + d k - low = t``."""
    dtype = result_type(lhs, preferred_element_type)
    options = _options(lhs, rhs, geometry, precision, dtype, unrolled_groups)
    if geometry.rank < 3 or lhs.size == 0:
        return _per_group.input_gradient(lhs, rhs, geometry, **options)
    inner, planes = _of_planes(geometry), _as_batch(lhs)

    def part(tap: int) -> jax.Array:
        gradient = _per_group.input_gradient(planes, rhs[tap], inner, **options)
        return _returned(gradient.reshape(*lhs.shape[:2], *gradient.shape[1:]), tap, geometry)

    return functools.reduce(lax.add, map(part, range(len(rhs)))).astype(dtype)


def kernel_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    unrolled_groups: int = 1,
) -> jax.Array:
    """``w'[k] = sum_{n, i} kernel_gradient(x[n, s i + d k - low], g[n, i])``."""
    options = {
        "precision": precision,
        "preferred_element_type": result_type(lhs, preferred_element_type),
        "unrolled_groups": unrolled_groups,
    }
    if geometry.rank < 3 or lhs.size == 0 or rhs.size == 0:
        return _per_group.kernel_gradient(lhs, rhs, geometry, **options)
    inner, planes = _of_planes(geometry), _as_batch(rhs)
    parts = [
        _per_group.kernel_gradient(_seen(lhs, tap, geometry), planes, inner, **options)
        for tap in range(geometry.kernel_size[0])
    ]
    return jnp.stack(parts)


def _options(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    precision: Any,
    dtype: jnp.dtype,
    unrolled_groups: int,
) -> dict[str, Any]:
    """Return options of the pass of a plane; sums of several planes get a wide type."""
    return {
        "precision": precision,
        "preferred_element_type": dtype
        if geometry.rank < 3
        else accumulation_type(lhs, rhs, dtype),
        "unrolled_groups": unrolled_groups,
    }


def _of_planes(geometry: ConvGeometry) -> ConvGeometry:
    """Drop the first window axis."""
    return dataclasses.replace(
        geometry,
        input_size=geometry.input_size[1:],
        kernel_size=geometry.kernel_size[1:],
        strides=geometry.strides[1:],
        padding=geometry.padding[1:],
        kernel_dilation=geometry.kernel_dilation[1:],
    )


def _as_batch(x: jax.Array) -> jax.Array:
    """Make one batch axis of examples and planes."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _start(tap: int, geometry: ConvGeometry) -> int:
    """Return the index of the plane that a tap reads for the first output; it may be padding."""
    return geometry.kernel_dilation[0] * tap - geometry.padding[0][0]


def _seen(x: jax.Array, tap: int, geometry: ConvGeometry) -> jax.Array:
    """Return the planes that a tap reads, one for each output of each example."""
    rest = geometry.input_size[1:]
    offset, ones = (0,) * len(rest), (1,) * len(rest)
    sizes, strides = (geometry.output_size[0], *rest), (geometry.strides[0], *ones)
    return _as_batch(window(x, (_start(tap, geometry), *offset), sizes, strides))


def _returned(parts: jax.Array, tap: int, geometry: ConvGeometry) -> jax.Array:
    """Undo ``_seen``: put each plane back where the tap read it, and zeros elsewhere."""
    start, stride = _start(tap, geometry), geometry.strides[0]
    after = geometry.input_size[0] - start - stride * (geometry.output_size[0] - 1) - 1
    edges = [(0, 0, 0), (start, after, stride - 1), *[(0, 0, 0)] * (parts.ndim - 2)]
    return lax.pad(parts, parts.dtype.type(0), edges)


per_plane = Algorithm("per_plane", conv, input_gradient, kernel_gradient)

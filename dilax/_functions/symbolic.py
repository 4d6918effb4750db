"""Convolution and padding for window sizes that are symbolic, in programs exported for any size.

lax computes them: every algorithm of dilax is chosen by size. But JAX cannot export the gradient of
a convolution whose output differs in size from its input, for its padding depends on the size. So
derivatives are those of a convolution that has an output for every input, of which some are taken.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax import algorithms
from dilax.geometry import AxisPadding, ConvGeometry


def has_known_size(sizes: Iterable[Any]) -> bool:
    """Whether all sizes are integers; others are symbolic, in a program exported for any size."""
    return all(isinstance(size, int) for size in sizes)


def conv_of_symbolic_size(
    x: jax.Array, kernel: jax.Array, geometry: ConvGeometry, precision: Any, dtype: Any
) -> jax.Array:
    """Convolve ``(batch..., *S, C)``, of which ``S`` may be symbolic, with any kernel."""
    if (batch_axes := x.ndim - geometry.rank - 1) != 1:
        rest = functools.partial(
            conv_of_symbolic_size,
            kernel=kernel,
            geometry=geometry,
            precision=precision,
            dtype=dtype,
        )
        return jax.vmap(rest)(x) if batch_axes else rest(x[None])[0]
    spans, ones = geometry.effective_kernel_size, (1,) * geometry.rank
    paddings = zip(geometry.padding, spans, strict=True)
    if geometry.strides == ones and all(sum(edges) == span - 1 for edges, span in paddings):
        options = {"precision": precision, "preferred_element_type": dtype}
        return algorithms.lax.conv(x, kernel, geometry, **options)  # of the size of the input
    x = _padded(x, geometry.padding, x.dtype.type(0))

    def run(
        strides: tuple[int, ...], highs: Sequence[int], x: jax.Array, kernel: jax.Array
    ) -> jax.Array:
        pads = tuple((0, high) for high in highs)
        window = dataclasses.replace(geometry, strides=strides, padding=pads)
        options = {"precision": precision, "preferred_element_type": dtype}
        return algorithms.lax.conv(x, kernel, window, **options)

    everywhere = functools.partial(run, ones, [span - 1 for span in spans])

    @jax.custom_jvp
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return run(geometry.strides, (0,) * geometry.rank, x, kernel)

    @convolve.defjvp
    def _derivative(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        (x, kernel), (dx, dkernel) = primals, tangents
        y, moved = convolve(x, kernel), everywhere(dx, kernel) + everywhere(x, dkernel)
        for axis, stride in enumerate(geometry.strides, 1):
            moved = _every(moved, axis, stride, y.shape[axis])
        return y, moved

    return convolve(x, kernel)


def pool_of_symbolic_size(
    x: jax.Array,
    axes: Sequence[Any],
    neutral: Any,
    combine: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    """Fold the entries of the windows along ``axes``, as the pools of dilax describe them."""
    for window in reversed(axes):
        span = window.dilation * (window.size - 1) + 1
        low, high = window.padding
        length = window.length + low + high
        count = jax.eval_shape(
            lambda row, span=span, stride=window.stride: lax.reduce_window(
                row, 0.0, lax.add, (span,), (stride,), "VALID"
            ),
            jax.ShapeDtypeStruct((length,), jnp.float32),
        ).shape[0]
        pads = [(0, 0)] * window.axis + [(low, high + span - 1)]
        padded = _padded(x, pads, neutral, first=0)
        parts = [
            lax.slice_in_dim(padded, start, start + length, axis=window.axis)
            for start in window.starts()
        ]
        x = _every(functools.reduce(combine, parts), window.axis, window.stride, count)
    return x


def pad_by_index(x: jax.Array, padding: Sequence[AxisPadding], mode: str) -> jax.Array:
    """Pad the axes before the last as ``jnp.pad`` does in the modes ``wrap`` and ``reflect``."""
    for axis, (low, high) in enumerate(padding, x.ndim - len(padding) - 1):
        size = x.shape[axis]
        places = jnp.arange(size + low + high) - low
        if mode == "wrap":
            places = places % size
        else:
            last = size - 1 + 0 * places  # an array, for the size may be symbolic
            places = places % jnp.maximum(2 * last, 1)
            places = jnp.minimum(places, 2 * last - places)
        x = jnp.take(x, jnp.maximum(places, 0), axis=axis)
    return x


def _padded(
    x: jax.Array, padding: Sequence[AxisPadding], value: Any, *, first: int = 1
) -> jax.Array:
    """Pad axes from ``first`` on."""
    pads = [(0, 0)] * first + list(padding)
    pads += [(0, 0)] * (x.ndim - len(pads))
    if all(edges == (0, 0) for edges in pads):
        return x
    return lax.pad(x, value, [(low, high, 0) for low, high in pads])


def _every(x: jax.Array, axis: int, stride: int, count: Any) -> jax.Array:
    """Take ``count`` entries along an axis, every ``stride``-th."""
    return jnp.take(x, jnp.arange(count) * stride, axis=axis)

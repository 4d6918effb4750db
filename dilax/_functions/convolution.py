"""Convolution with one, two or three window axes: dilated, strided and grouped."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from dilax import _primitives, algorithms
from dilax._arrays import as_array, holds
from dilax._functions.arguments import (
    Options,
    as_arrays,
    canonical_options,
    check_array,
    geometry_of,
)
from dilax._functions.sharding import call_sharded, specs_of
from dilax._functions.symbolic import conv_of_symbolic_size, has_known_size
from dilax.algorithms import Algorithm
from dilax.geometry import ConvGeometry, PaddingLike


def conv(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    strides: int | Sequence[int] = 1,
    padding: PaddingLike = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    bias: ArrayLike | None = None,
    precision: jax.lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    algorithm: Algorithm | None = None,
) -> jax.Array:
    """Convolve (cross-correlate) with dilation, strides and groups, channels last.

    For one window axis, with stride ``s``, dilation ``d`` and ``low`` zeros padded in front::

        y[..., i, o] = bias[o] + sum_k sum_c x[..., s i + d k - low, c] kernel[k, c, o]

    Two or three window axes have a sum over taps and an index for each axis. Out-feature ``o`` sees
    the ``C // groups`` in-features of its own group. Half-precision inputs are summed in float32
    and rounded once.

    Args:
        x: ``(batch..., *window, C)``, with any number of batch axes, or none.
        kernel: ``(*window, C // feature_group_count, O)``; its rank determines the number of window
            axes.
        strides: Entries between neighbouring outputs, one integer or one for each window axis.
        padding: ``"SAME"``, ``"SAME_LOWER"``, ``"VALID"``, ``"CAUSAL"`` (no output sees later
            inputs along any axis), ``"CIRCULAR"``, ``"REFLECT"``, an integer, or an integer or a
            pair for each window axis.
        kernel_dilation: Entries between neighbouring kernel taps.
        feature_group_count: Number of groups that the features are split into.
        bias: ``(O,)``.
        precision: As in ``jax.lax.conv_general_dilated``.
        preferred_element_type: Type of the result; the inputs' type when left out.
        algorithm: How to compute this convolution and all its derivatives; when left out, it is
            chosen for each pass by platform and shape.

    Returns:
        ``(batch..., *window_out, O)``, along each axis ``floor((n + pads - d (k - 1) - 1) / s) +
        1``.

    Raises:
        ValueError: Shapes do not fit, or the dilated kernel is larger than the padded input.
        TypeError: An array is not of numbers, or strides, padding or dilation are not integers.

    Source: Yu and Koltun, "Multi-scale context aggregation by dilated convolutions" (2016).

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(1.0, 10.0)[:, None]
    >>> kernel = jnp.array([1.0, 0.0, -1.0])[:, None, None]
    >>> conv(x, kernel, kernel_dilation=2, padding="VALID")[:, 0]
    Array([-4., -4., -4., -4., -4.], dtype=float32)
    """
    x, kernel = as_arrays(x, kernel)
    options = canonical_options(x.dtype, precision, preferred_element_type, algorithm)
    x, geometry = geometry_of(
        x,
        kernel,
        strides=strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
    )
    y = conv_canonical(x, kernel, geometry, options)
    return y if bias is None else add_bias(y, bias)


def conv_canonical(
    x: jax.Array, kernel: jax.Array, geometry: ConvGeometry, options: Options
) -> jax.Array:
    """Convolve ``(batch..., *S, C)`` with ``(*K, C // groups, O)``, without checks."""
    if not has_known_size(geometry.input_size):
        return conv_of_symbolic_size(x, kernel, geometry, options.precision, options.dtype)
    batch = x.shape[: -geometry.rank - 1]
    if len(batch) != 1:
        x = x.reshape(math.prod(batch), *x.shape[len(batch) :])
    if 0 in (*kernel.shape, *geometry.output_size):
        y = jnp.zeros((x.shape[0], *geometry.output_size, kernel.shape[-1]), options.dtype)
    elif options.algorithm is algorithms.lax or _is_narrow(x.dtype):
        y = _primitives.conv_by_lax(x, kernel, geometry, options.precision, options.dtype)
    else:
        check_array(kernel, "kernel")
        run = functools.partial(_primitives.conv, geometry=geometry, **options._asdict())
        x_spec, kernel_spec = specs_of(x, kernel)
        shape = (x.shape[0], *geometry.output_size, kernel.shape[-1])
        spec = (*x_spec[:-1], kernel_spec[-1])
        y = call_sharded(run, x, kernel, shape=shape, spec=spec)
    return y if len(batch) == 1 else y.reshape(*batch, *y.shape[1:])


def _is_narrow(dtype: np.dtype) -> bool:
    """Whether it is a float of under 16 bits, which lax converts as each platform needs."""
    return jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 2


def add_bias(y: jax.Array, bias: ArrayLike) -> jax.Array:
    """Add ``bias`` to the features, in the type of ``y``."""
    bias = as_array(bias, "bias")
    if not holds(y.dtype, bias.dtype):
        raise TypeError(
            f"bias must be of a type that the result's {y.dtype} can hold, got {bias.dtype}."
        )
    if bias.shape != y.shape[-1:]:
        raise ValueError(
            f"bias must have one entry for each out-feature, shape {y.shape[-1:]}, got "
            f"{bias.shape}; reshape it, or check the kernel's last axis."
        )
    return y + jnp.expand_dims(bias.astype(y.dtype), range(y.ndim - 1))

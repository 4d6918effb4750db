"""Blocks as pure functions: convolution, batch normalisation, activation, optional residual.

A block takes ``(x, params)`` and returns ``(y, params)``. In training, the returned params have
updated running statistics; in evaluation, the params are returned unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from dilax._arrays import as_array, common_type
from dilax._checks import check_callable, check_instance, shown
from dilax._functions.arguments import as_scalar
from dilax._functions.convolution import conv
from dilax._functions.separable import separable_conv
from dilax.algorithms import Algorithm
from dilax.geometry import PaddingLike

Activation = Callable[[jax.Array], jax.Array]


class BatchNormParams(NamedTuple):
    """Parameters and statistics of batch normalisation of ``C`` features, each ``(C,)``."""

    scale: jax.Array
    bias: jax.Array
    mean: jax.Array  # running
    var: jax.Array  # running


class DilatedBlockParams(NamedTuple):
    """Parameters of ``dilated_block``: a convolution and its normalisation."""

    kernel: jax.Array  # (*window, C // groups, O)
    norm: BatchNormParams  # O features


class SeparableBlockParams(NamedTuple):
    """Parameters of ``separable_block``: a separable convolution and its normalisation."""

    depthwise_kernel: jax.Array  # (*window, 1, C m)
    pointwise_kernel: jax.Array  # (C m, O)
    norm: BatchNormParams  # O features


def batch_norm(
    x: ArrayLike,
    params: BatchNormParams,
    *,
    use_running_average: bool = False,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    axis_name: str | None = None,
    mask: ArrayLike | None = None,
) -> tuple[jax.Array, BatchNormParams]:
    """Normalise each feature over all other axes: ``(x - mean) / sqrt(var + eps) scale + bias``.

    In training, ``mean`` and ``var`` are the statistics of the batch, and of all devices along
    ``axis_name`` if one is given. The variance is ``E[x^2] - E[x]^2``, in float32. The running
    statistics become ``momentum old + (1 - momentum) new``. With ``use_running_average``, as in
    evaluation, ``mean`` and ``var`` are the running statistics, which do not change.

    It is computed as ``x gain + (bias - mean gain)`` with ``gain = scale / sqrt(var + eps)``. The
    rounding is that of the last bit of ``x``, which the variance has, too; and the derivative needs
    two sums over the batch where that of ``x - mean`` needs three.

    Args:
        x: ``(..., C)``.
        params: The statistics, scale and bias, each ``(C,)``.
        use_running_average: Whether to normalise by the running statistics.
        momentum: Share of the old running statistics that each update keeps.
        epsilon: Added to the variance.
        axis_name: Mapped axis (of pmap, shard_map or vmap) to take the statistics over.
        mask: Booleans of the shape of ``x``, or broadcast to it: false for entries that the
            statistics leave out, such as padding. They are normalised like the others.

    Returns:
        The normalised array, and the params with updated statistics.

    Raises:
        ValueError: The features or the mask do not fit, or ``axis_name`` is not mapped.
        TypeError: ``params`` are no ``BatchNormParams`` of arrays.

    Source: Ioffe and Szegedy, "Batch normalization" (2015).

    >>> import jax.numpy as jnp
    >>> ones, zeros = jnp.ones(4), jnp.zeros(4)
    >>> x = jnp.arange(8.0).reshape(2, 4)
    >>> y, moved = batch_norm(x, BatchNormParams(ones, zeros, zeros, ones), momentum=0.9)
    >>> moved.mean.round(1)
    Array([0.2, 0.3, 0.4, 0.5], dtype=float32)
    """
    x = as_array(x, "x")
    given = check_norm(params, "params", x.shape[-1:], f"x has shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x must be of floating point, to be normalised, got {x.dtype}.")
    momentum, epsilon = as_scalar(momentum, "momentum"), as_scalar(epsilon, "epsilon")
    mean, var = given.mean, given.var
    if not use_running_average:
        mean, var = _batch_statistics(x, axis_name, mask)
        moved = [_lerp(*pair, momentum) for pair in ((given.mean, mean), (given.var, var))]
        params = params._replace(mean=moved[0], var=moved[1])
    wide = common_type(x, mean, var, given.scale, given.bias)
    gain = lax.rsqrt(var.astype(wide) + epsilon) * given.scale.astype(wide)
    shift = given.bias.astype(wide) - mean.astype(wide) * gain
    y = x.astype(wide) * _over_features(gain, x) + _over_features(shift, x)
    return y.astype(x.dtype), params


def check_norm(params: Any, name: str, features: tuple[int, ...], whose: str) -> BatchNormParams:
    """Check the params of a normalisation, and return them as arrays with an entry per feature."""
    check_instance(params, BatchNormParams, name)
    fields = {
        field: as_array(getattr(params, field), f"{name}.{field}") for field in params._fields
    }
    for field, array in fields.items():
        if jnp.issubdtype(array.dtype, jnp.complexfloating):
            raise TypeError(f"{name}.{field} must be of real numbers, got {array.dtype}.")
        if array.shape != features:
            raise ValueError(
                f"{name}.{field} is for features of shape {array.shape}, {whose}; required: "
                f"{features}, an entry for each feature."
            )
    return BatchNormParams(**fields)


def dilated_block(
    x: ArrayLike,
    params: DilatedBlockParams,
    *,
    strides: int | Sequence[int] = 1,
    padding: PaddingLike = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    activation: Activation = jax.nn.relu,
    residual: bool = False,
    use_running_average: bool = False,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    axis_name: str | None = None,
    precision: lax.PrecisionLike = None,
    algorithm: Algorithm | None = None,
) -> tuple[jax.Array, DilatedBlockParams]:
    """Apply a dilated block: ``act(norm(conv(x)))``, plus ``x`` if residual.

    Args:
        x: ``(batch..., *window, C)``.
        params: Kernel ``(*window, C // groups, O)`` and normalisation of ``O`` features.
        strides: As in ``conv``.
        padding: As in ``conv``.
        kernel_dilation: As in ``conv``.
        feature_group_count: As in ``conv``.
        activation: Applied last, before the residual is added.
        residual: Add ``x``; the shapes must agree.
        use_running_average: As in ``batch_norm``.
        momentum: As in ``batch_norm``.
        epsilon: As in ``batch_norm``.
        axis_name: As in ``batch_norm``.
        precision: As in ``conv``.
        algorithm: As in ``conv``.

    Returns:
        ``(batch..., *window_out, O)``, and the params with updated statistics.

    Raises:
        ValueError: Shapes do not fit.

    >>> import jax.numpy as jnp
    >>> norm = BatchNormParams(jnp.ones(24), jnp.zeros(24), jnp.zeros(24), jnp.ones(24))
    >>> params = DilatedBlockParams(jnp.ones((3, 3, 16, 24)), norm)
    >>> y, params = dilated_block(jnp.ones((8, 28, 28, 16)), params, kernel_dilation=2)
    >>> y.shape
    (8, 28, 28, 24)
    """
    check_instance(params, DilatedBlockParams, "params")
    check_callable(activation, "activation")
    filtered = conv(
        x,
        params.kernel,
        strides=strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
        precision=precision,
        algorithm=algorithm,
    )
    y, norm = batch_norm(
        filtered,
        params.norm,
        use_running_average=use_running_average,
        momentum=momentum,
        epsilon=epsilon,
        axis_name=axis_name,
    )
    return _activated(y, x if residual else None, activation), params._replace(norm=norm)


def separable_block(
    x: ArrayLike,
    params: SeparableBlockParams,
    *,
    strides: int | Sequence[int] = 1,
    padding: PaddingLike = "SAME",
    kernel_dilation: int | Sequence[int] = 1,
    activation: Activation = jax.nn.relu,
    residual: bool = False,
    use_running_average: bool = False,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    axis_name: str | None = None,
    precision: lax.PrecisionLike = None,
    algorithm: Algorithm | None = None,
) -> tuple[jax.Array, SeparableBlockParams]:
    """Apply a separable block: ``act(norm(pointwise(depthwise(x))))``, plus ``x`` if residual.

    Args:
        x: ``(batch..., *window, C)``.
        params: Kernels ``(*window, 1, C m)`` and ``(C m, O)``, and normalisation of ``O`` features.
        strides: As in ``separable_conv``.
        padding: As in ``separable_conv``.
        kernel_dilation: As in ``separable_conv``.
        activation: Applied last, before the residual is added.
        residual: Add ``x``; the shapes must agree.
        use_running_average: As in ``batch_norm``.
        momentum: As in ``batch_norm``.
        epsilon: As in ``batch_norm``.
        axis_name: As in ``batch_norm``.
        precision: As in ``separable_conv``.
        algorithm: As in ``separable_conv``.

    Returns:
        ``(batch..., *window_out, O)``, and the params with updated statistics.

    Raises:
        ValueError: Shapes do not fit.

    >>> import jax.numpy as jnp
    >>> norm = BatchNormParams(jnp.ones(24), jnp.zeros(24), jnp.zeros(24), jnp.ones(24))
    >>> params = SeparableBlockParams(jnp.ones((3, 3, 1, 16)), jnp.ones((16, 24)), norm)
    >>> y, params = separable_block(jnp.ones((8, 28, 28, 16)), params, kernel_dilation=2)
    >>> y.shape
    (8, 28, 28, 24)
    """
    check_instance(params, SeparableBlockParams, "params")
    check_callable(activation, "activation")
    filtered = separable_conv(
        x,
        params.depthwise_kernel,
        params.pointwise_kernel,
        strides=strides,
        padding=padding,
        kernel_dilation=kernel_dilation,
        precision=precision,
        algorithm=algorithm,
    )
    y, norm = batch_norm(
        filtered,
        params.norm,
        use_running_average=use_running_average,
        momentum=momentum,
        epsilon=epsilon,
        axis_name=axis_name,
    )
    return _activated(y, x if residual else None, activation), params._replace(norm=norm)


def _batch_statistics(
    x: jax.Array, axis_name: str | None, mask: ArrayLike | None
) -> tuple[jax.Array, jax.Array]:
    wide = x.astype(common_type(x.dtype, jnp.float32))
    others = tuple(range(x.ndim - 1))
    if mask is None:
        moments = wide.mean(axis=others), (wide * wide).mean(axis=others)
        mean, square = moments if axis_name is None else _over(lax.pmean, moments, axis_name)
    else:
        counted = _as_mask(mask, x)
        kept = jnp.where(counted, wide, 0)
        parts = counted.astype(wide.dtype), kept, kept * kept
        sums = tuple(part.sum(axis=others) for part in parts)
        count, *rest = sums if axis_name is None else _over(lax.psum, sums, axis_name)
        mean, square = (total / jnp.maximum(count, 1) for total in rest)
    return mean, jnp.maximum(square - mean * mean, 0)


def _as_mask(mask: ArrayLike, x: jax.Array) -> jax.Array:
    mask = as_array(mask, "mask")
    try:
        fits = jnp.broadcast_shapes(mask.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if mask.dtype != bool or not fits:
        raise ValueError(
            f"mask must be booleans that broadcast to the shape of x, {x.shape}, got {mask.dtype} "
            f"of shape {mask.shape}; mask[..., None] has one entry for all features."
        )
    return jnp.broadcast_to(mask, x.shape)


def _over(reduce: Callable, values: tuple[jax.Array, ...], axis_name: str) -> tuple:
    try:
        if isinstance(axis_name, int):  # an integer, which lax would take for an axis of the array
            raise NameError(axis_name)
        return reduce(values, axis_name)
    except (NameError, TypeError, ValueError) as error:
        raise ValueError(
            f"axis_name {shown(axis_name)} is not the name of a mapped axis here; leave it out, or "
            f"call inside jax.pmap, jax.shard_map or jax.vmap with that axis_name."
        ) from error


def _lerp(old: jax.Array, new: jax.Array, momentum: float) -> jax.Array:
    return momentum * old.astype(new.dtype) + (1 - momentum) * new


def _over_features(values: jax.Array, x: jax.Array) -> jax.Array:
    return lax.expand_dims(values, range(x.ndim - 1))


def _activated(y: jax.Array, residual: ArrayLike | None, activation: Activation) -> jax.Array:
    """Apply the activation to ``y``, and add the residual if there is one."""
    y = activation(y)
    if residual is None:
        return y
    residual = jnp.asarray(residual)
    if y.shape != residual.shape:
        raise ValueError(
            f"residual=True needs an output of the input's shape {residual.shape}, got {y.shape}; "
            f"use strides=1, padding='SAME' and equal numbers of in- and out-features."
        )
    return y + residual

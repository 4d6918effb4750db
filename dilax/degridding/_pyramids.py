"""Blocks with several dilations: ESPNetv2's unit and atrous spatial pyramid pooling."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dilax._arrays import as_array
from dilax._checks import check_instance, entries
from dilax._functions import (
    Activation,
    BatchNormParams,
    DilatedBlockParams,
    SeparableBlockParams,
    batch_norm,
    conv,
    depthwise_conv,
    dilated_block,
    separable_block,
)
from dilax.algorithms import Algorithm
from dilax.degridding._branches import Dilations, hierarchical_fusion


class EESPParams(NamedTuple):
    """Parameters of ESPNetv2's unit with ``C`` features and ``K`` branches."""

    reduce_kernel: jax.Array  # (1, ..., C // K, C // K), in K groups
    reduce_norm: BatchNormParams  # C // K features
    reduce_slope: jax.Array  # (C // K,)
    branch_kernels: Sequence[jax.Array]  # K of (*window, 1, C // K)
    fused_norm: BatchNormParams  # C features
    fused_slope: jax.Array  # (C,)
    expand_kernel: jax.Array  # (1, ..., C // K, C), in K groups
    expand_norm: BatchNormParams  # C features
    slope: jax.Array  # (C,)


class ASPPParams(NamedTuple):
    """Parameters of atrous spatial pyramid pooling from ``C`` features to ``F``."""

    pointwise: DilatedBlockParams  # kernel (1, ..., C, F)
    separable: Sequence[SeparableBlockParams]  # a branch for each dilation, to F features
    pooled: DilatedBlockParams  # kernel (1, ..., C, F)
    projection: DilatedBlockParams  # kernel (1, ..., F * branches, F)


def eesp(
    x: ArrayLike,
    params: EESPParams,
    *,
    kernel_dilation: Dilations,
    use_running_average: bool = False,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    axis_name: str | None = None,
    precision: jax.lax.PrecisionLike = None,
    algorithm: Algorithm | None = None,
) -> tuple[jax.Array, EESPParams]:
    """Apply ESPNetv2's unit: reduce, convolve at several dilations, fuse, expand, add ``x``.

    ``r = act(norm(reduce(x)))``, ``h = [b_1(r), b_1(r) + b_2(r), ...]``,
    ``y = act(norm(expand(act(norm(h)))) + x)``. ``act`` is a rectifier with learned slopes (PReLU).
    ``b_k`` is the depthwise convolution of branch ``k``. ``reduce`` and ``expand`` are convolutions
    of size one, with as many groups as there are branches.

    Args:
        x: ``(batch..., *window, C)``.
        params: Kernels, normalisations and slopes.
        kernel_dilation: Dilation of each branch, in rising order.
        use_running_average: As in ``dilax.batch_norm``.
        momentum: As in ``dilax.batch_norm``.
        epsilon: As in ``dilax.batch_norm``.
        axis_name: As in ``dilax.batch_norm``.
        precision: Of every convolution, as in ``dilax.conv``.
        algorithm: Of every convolution, as in ``dilax.conv``.

    Returns:
        An array of the shape of ``x``, and the params with their statistics moved.

    Raises:
        ValueError: Shapes do not fit.

    Source: Mehta et al., "ESPNetv2" (2018).

    >>> def norm(n):
    ...     return BatchNormParams(jnp.ones(n), jnp.zeros(n), jnp.zeros(n), jnp.ones(n))
    >>> params = EESPParams(
    ...     jnp.ones((1, 1, 4, 4)), norm(4), jnp.zeros(4), [jnp.ones((3, 3, 1, 4))] * 2,
    ...     norm(8), jnp.zeros(8), jnp.ones((1, 1, 4, 8)), norm(8), jnp.zeros(8))
    >>> y, params = eesp(jnp.ones((2, 9, 9, 8)), params, kernel_dilation=(1, 2))
    >>> y.shape
    (2, 9, 9, 8)
    """
    x = as_array(x, "x")
    check_instance(params, EESPParams, "params")
    dilations = entries(kernel_dilation, "kernel_dilation", "dilations")
    groups = len(entries(params.branch_kernels, "params.branch_kernels", "arrays"))
    if groups != len(dilations):
        raise ValueError(
            f"kernel_dilation must have an entry for each of the {groups} branch_kernels of "
            f"params, got {len(dilations)}."
        )
    convolve = functools.partial(
        conv, feature_group_count=groups, precision=precision, algorithm=algorithm
    )
    normalise = functools.partial(
        batch_norm,
        use_running_average=use_running_average,
        momentum=momentum,
        epsilon=epsilon,
        axis_name=axis_name,
    )
    reduced, reduce_norm = normalise(convolve(x, params.reduce_kernel), params.reduce_norm)
    reduced = _prelu(reduced, params.reduce_slope)
    branches = [
        depthwise_conv(
            reduced, kernel, kernel_dilation=dilation, precision=precision, algorithm=algorithm
        )
        for kernel, dilation in zip(params.branch_kernels, dilations, strict=True)
    ]
    fused, fused_norm = normalise(hierarchical_fusion(branches), params.fused_norm)
    fused = _prelu(fused, params.fused_slope)
    expanded, expand_norm = normalise(convolve(fused, params.expand_kernel), params.expand_norm)
    if expanded.shape != x.shape:
        raise ValueError(
            f"params must give a result of the shape of x, {x.shape}, to be added to it, got "
            f"{expanded.shape}."
        )
    moved = params._replace(reduce_norm=reduce_norm, fused_norm=fused_norm, expand_norm=expand_norm)
    return _prelu(expanded + x, params.slope), moved


def aspp(
    x: ArrayLike,
    params: ASPPParams,
    *,
    kernel_dilation: Dilations,
    activation: Activation = jax.nn.relu,
    use_running_average: bool = False,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    axis_name: str | None = None,
    precision: jax.lax.PrecisionLike = None,
    algorithm: Algorithm | None = None,
) -> tuple[jax.Array, ASPPParams]:
    """Apply atrous spatial pyramid pooling: concatenated blocks of several dilations and the mean.

    ``y = project([point(x), sep_1(x), sep_2(x), ..., pool(mean(x))])``. Each part is a block of
    convolution, normalisation and activation: ``point``, ``pool`` and ``project`` have size one,
    ``sep`` is dilated and separable. The mean over the window is repeated at each position.

    Args:
        x: ``(batch..., *window, C)``.
        params: Parameters of the branches and the projection.
        kernel_dilation: Dilation of each separable branch.
        activation: Applied after each normalisation.
        use_running_average: As in ``dilax.batch_norm``.
        momentum: As in ``dilax.batch_norm``.
        epsilon: As in ``dilax.batch_norm``.
        axis_name: As in ``dilax.batch_norm``.
        precision: Of every convolution, as in ``dilax.conv``.
        algorithm: Of every convolution, as in ``dilax.conv``.

    Returns:
        ``(batch..., *window, F)``, and the params with their statistics moved.

    Raises:
        ValueError: Shapes do not fit.

    Source: Chen et al., "Encoder-decoder with atrous separable convolution" (2018).

    >>> norm = BatchNormParams(jnp.ones(4), jnp.zeros(4), jnp.zeros(4), jnp.ones(4))
    >>> point = DilatedBlockParams(jnp.ones((1, 1, 6, 4)), norm)
    >>> branch = SeparableBlockParams(jnp.ones((3, 3, 1, 6)), jnp.ones((6, 4)), norm)
    >>> joined = DilatedBlockParams(jnp.ones((1, 1, 16, 4)), norm)
    >>> params = ASPPParams(point, [branch, branch], point, joined)
    >>> y, params = aspp(jnp.ones((2, 9, 9, 6)), params, kernel_dilation=(2, 4))
    >>> y.shape
    (2, 9, 9, 4)
    """
    x = as_array(x, "x")
    check_instance(params, ASPPParams, "params")
    check_instance(params.pointwise, DilatedBlockParams, "params.pointwise")
    separable = entries(params.separable, "params.separable", "SeparableBlockParams")
    dilations = entries(kernel_dilation, "kernel_dilation", "dilations")
    if len(separable) != len(dilations):
        raise ValueError(
            f"kernel_dilation must have an entry for each of the {len(separable)} separable "
            f"branches of params, got {len(dilations)}."
        )
    options: dict[str, Any] = {
        "activation": activation,
        "use_running_average": use_running_average,
        "momentum": momentum,
        "epsilon": epsilon,
        "axis_name": axis_name,
        "precision": precision,
        "algorithm": algorithm,
    }
    rank = jnp.ndim(as_array(params.pointwise.kernel, "params.pointwise.kernel")) - 2
    window = tuple(range(x.ndim - 1 - rank, x.ndim - 1))
    point, pointwise = dilated_block(x, params.pointwise, **options)
    branches = [
        separable_block(x, branch, kernel_dilation=dilation, **options)
        for branch, dilation in zip(separable, dilations, strict=True)
    ]
    mean, pooled = dilated_block(x.mean(axis=window, keepdims=True), params.pooled, **options)
    parts = [point, *(y for y, _ in branches)]
    if len({part.shape for part in parts}) > 1 or mean.shape[-1] != point.shape[-1]:
        raise ValueError(
            f"params must give branches of one shape, but for the window of the mean, got "
            f"{[part.shape for part in (*parts, mean)]}; give all the same out-features."
        )
    joined = jnp.concatenate([*parts, jnp.broadcast_to(mean, point.shape)], axis=-1)
    y, projection = dilated_block(joined, params.projection, **options)
    return y, ASPPParams(pointwise, [moved for _, moved in branches], pooled, projection)


def _prelu(x: jax.Array, slope: jax.Array) -> jax.Array:
    """``x`` where it is positive, ``slope x`` elsewhere."""
    slope = as_array(slope, "params' slope")
    if slope.shape != x.shape[-1:]:
        raise ValueError(
            f"params' slope must have shape {x.shape[-1:]}, with an entry for each feature, got "
            f"{slope.shape}."
        )
    return jnp.where(x > 0, x, jnp.expand_dims(slope, range(x.ndim - 1)) * x)

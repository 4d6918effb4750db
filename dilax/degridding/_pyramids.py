"""Blocks of several rates with all that stands around them: ESPNetv2's unit and ASPP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dilax._arrays import as_array
from dilax._checks import check_instance, entries
from dilax._functions import (
    BatchNormParams,
    DilatedBlockParams,
    SeparableBlockParams,
    batch_norm,
    conv,
    depthwise_conv,
    dilated_block,
    separable_block,
)
from dilax.degridding._branches import Rates, hierarchical_fusion


class EESPParams(NamedTuple):
    """ESPNetv2's unit of ``C`` features and ``K`` branches."""

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
    """Atrous spatial pyramid pooling from ``C`` features to ``F``."""

    pointwise: DilatedBlockParams  # kernel (1, ..., C, F)
    separable: Sequence[SeparableBlockParams]  # a branch for each rate, to F features
    pooled: DilatedBlockParams  # kernel (1, ..., C, F)
    projection: DilatedBlockParams  # kernel (1, ..., F * branches, F)


def eesp(
    x: ArrayLike, params: EESPParams, *, kernel_dilation: Rates, **norm_options: Any
) -> tuple[jax.Array, EESPParams]:
    """ESPNetv2's unit: reduce, depthwise at several rates, sum hierarchically, expand, add ``x``.

    ``r = act(norm(reduce(x)))``, ``h = [b_1(r), b_1(r) + b_2(r), ...]``,
    ``y = act(norm(expand(act(norm(h)))) + x)``, with ``act`` a rectifier of learned slopes (PReLU)
    and the two convolutions of size one in as many groups as there are branches.

    Args:
      x: ``(batch..., *window, C)``.
      params: kernels, normalisations and slopes.
      kernel_dilation: of each branch, in rising order.
      **norm_options: as in `dilax.batch_norm`: use_running_average and so on.

    Returns:
      As ``x``, and the params with their statistics moved.

    Raises:
      ValueError: if shapes do not fit.

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
    kernel_dilation = entries(kernel_dilation, "kernel_dilation", "rates")
    groups = len(entries(params.branch_kernels, "params.branch_kernels", "arrays"))
    if groups != len(kernel_dilation):
        raise ValueError(
            f"params have {groups} branch_kernels, kernel_dilation {len(kernel_dilation)} rates; "
            f"required: a rate for each."
        )
    reduced = conv(x, params.reduce_kernel, feature_group_count=groups)
    reduced, reduce_norm = batch_norm(reduced, params.reduce_norm, **norm_options)
    reduced = _prelu(reduced, params.reduce_slope)
    branches = [
        depthwise_conv(reduced, kernel, kernel_dilation=rate)
        for kernel, rate in zip(params.branch_kernels, kernel_dilation, strict=True)
    ]
    fused, fused_norm = batch_norm(hierarchical_fusion(branches), params.fused_norm, **norm_options)
    fused = _prelu(fused, params.fused_slope)
    expanded = conv(fused, params.expand_kernel, feature_group_count=groups)
    expanded, expand_norm = batch_norm(expanded, params.expand_norm, **norm_options)
    moved = params._replace(reduce_norm=reduce_norm, fused_norm=fused_norm, expand_norm=expand_norm)
    if expanded.shape != x.shape:
        raise ValueError(
            f"params give a result of shape {expanded.shape}, to which x of {x.shape} cannot be "
            f"added; required: one shape."
        )
    return _prelu(expanded + x, params.slope), moved


def aspp(
    x: ArrayLike, params: ASPPParams, *, kernel_dilation: Rates, **block_options: Any
) -> tuple[jax.Array, ASPPParams]:
    """Atrous spatial pyramid pooling: size one, several rates and the image's mean, side by side.

    ``y = project([point(x), sep_1(x), sep_2(x), ..., point(mean(x))])``, each part a block of
    convolution, normalisation and activation, the dilated ones separable.

    Args:
      x: ``(batch..., *window, C)``.
      params: of the branches and the projection.
      kernel_dilation: of each separable branch.
      **block_options: as in `dilax.separable_block`: activation, use_running_average and so on.

    Returns:
      ``(batch..., *window, F)``, and the params with their statistics moved.

    Raises:
      ValueError: if shapes do not fit.

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
    entries(params.separable, "params.separable", "SeparableBlockParams")
    kernel_dilation = entries(kernel_dilation, "kernel_dilation", "rates")
    if len(params.separable) != len(kernel_dilation):
        raise ValueError(
            f"params have {len(params.separable)} separable branches, kernel_dilation "
            f"{len(kernel_dilation)} rates; required: a rate for each."
        )
    rank = jnp.ndim(as_array(params.pointwise.kernel, "params.pointwise.kernel")) - 2
    window = tuple(range(x.ndim - 1 - rank, x.ndim - 1))
    point, pointwise = dilated_block(x, params.pointwise, **block_options)
    branches = [
        separable_block(x, branch, kernel_dilation=rate, **block_options)
        for branch, rate in zip(params.separable, kernel_dilation, strict=True)
    ]
    mean, pooled = dilated_block(x.mean(axis=window, keepdims=True), params.pooled, **block_options)
    parts = [point, *(y for y, _ in branches)]
    if len({part.shape for part in parts}) > 1 or mean.shape[-1] != point.shape[-1]:
        raise ValueError(
            f"params give branches of shapes {[part.shape for part in (*parts, mean)]}; required: "
            f"one shape, but for the mean's window. Have they equally many features?"
        )
    joined = jnp.concatenate([*parts, jnp.broadcast_to(mean, point.shape)], axis=-1)
    y, projection = dilated_block(joined, params.projection, **block_options)
    return y, ASPPParams(pointwise, [moved for _, moved in branches], pooled, projection)


def _prelu(x: jax.Array, slope: jax.Array) -> jax.Array:
    """``x`` where it is positive, ``slope x`` elsewhere."""
    slope = as_array(slope, "params' slope")
    if slope.shape != x.shape[-1:]:
        raise ValueError(
            f"params' slope has shape {slope.shape}; required: {x.shape[-1:]}, a feature's each."
        )
    return jnp.where(x > 0, x, jnp.expand_dims(slope, range(x.ndim - 1)) * x)

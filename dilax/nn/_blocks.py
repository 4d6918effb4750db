"""Modules with batch normalisation: a separable block, and branches that can be merged."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from dilax import degridding
from dilax._checks import entries
from dilax._functions import (
    Activation,
    BatchNormParams,
    SeparableBlockParams,
    batch_norm,
    separable_block,
)
from dilax.algorithms import Algorithm
from dilax.geometry import PaddingLike, canonical_tuple
from dilax.nn._conv import DepthwiseConv
from dilax.nn._flax import nnx
from dilax.nn._module import (
    KERNEL_INIT,
    Initializer,
    Norm,
    NormalisedModule,
    branch_dilations,
    check_sizes,
    new_norm,
    norm_variables,
    parameter,
    plain_padding,
    read_norm,
    window_size,
)


class SeparableBlock(NormalisedModule):
    """Separable dilated convolution, batch normalisation and activation.

    See ``dilax.separable_block`` for the equation.

    Parameters: ``depthwise_kernel`` ``(*kernel_size, 1, in_features * channel_multiplier)``,
    ``pointwise_kernel`` ``(in_features * channel_multiplier, out_features)``, ``scale`` and
    ``bias`` ``(out_features,)``. Running statistics: ``mean`` and ``var`` ``(out_features,)``,
    which move in training (``module.train()``) and are used in evaluation (``module.eval()``).

    Args:
        in_features: Features of the input.
        out_features: Features of the output.
        kernel_size: Entries of the kernel along each of one to three window axes.
        strides: Entries between neighbouring outputs.
        channel_multiplier: Number of kernels for each feature of the input.
        padding: As in ``dilax.conv``.
        kernel_dilation: Entries between neighbouring taps.
        activation: Applied after the normalisation.
        residual: Whether to add the input to the output; their shapes must agree.
        use_running_average: Normalise by the running statistics rather than the batch's.
        momentum: Share of the old running statistics that each update keeps.
        epsilon: Added to the variance.
        axis_name: Mapped axis to take the batch's statistics over.
        dtype: Type to compute in; the common type of input and parameters when left out.
        param_dtype: Type of the parameters.
        precision: As in ``jax.lax.conv_general_dilated``.
        kernel_init: Initialiser of the kernels.
        algorithm: How to compute convolutions and their derivatives; chosen by platform, pass and
            shape when left out.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> block = SeparableBlock(16, 24, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((8, 28, 28, 16))).shape
    (8, 28, 28, 24)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        strides: int | Sequence[int] = 1,
        *,
        channel_multiplier: int = 1,
        padding: PaddingLike = "SAME",
        kernel_dilation: int | Sequence[int] = 1,
        activation: Activation = jax.nn.relu,
        residual: bool = False,
        use_running_average: bool = False,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        axis_name: str | None = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: jax.lax.PrecisionLike = None,
        kernel_init: Initializer = KERNEL_INIT,
        algorithm: Algorithm | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            in_features,
            use_running_average=use_running_average,
            momentum=momentum,
            epsilon=epsilon,
            axis_name=axis_name,
            dtype=dtype,
            precision=precision,
            algorithm=algorithm,
        )
        check_sizes(out_features=out_features, channel_multiplier=channel_multiplier)
        window, middle = window_size(kernel_size), in_features * channel_multiplier
        draw = functools.partial(parameter, kernel_init, rngs, param_dtype=param_dtype)
        self.depthwise_kernel = draw((*window, 1, middle))
        self.pointwise_kernel = draw((middle, out_features))
        self.scale, self.bias, self.mean, self.var = new_norm(out_features, param_dtype)
        self.strides = canonical_tuple(strides, len(window), "strides")
        self.kernel_dilation = canonical_tuple(kernel_dilation, len(window), "kernel_dilation")
        self.padding = plain_padding(padding)
        self.activation, self.residual = activation, residual

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to ``(batch..., *window_out, out_features)``."""
        params = SeparableBlockParams(
            self.depthwise_kernel[...], self.pointwise_kernel[...], norm_variables(self)
        )
        return self._apply(
            separable_block,
            x,
            params,
            strides=self.strides,
            padding=self.padding,
            kernel_dilation=self.kernel_dilation,
            activation=self.activation,
            residual=self.residual,
        )


class ParallelDepthwiseConv(NormalisedModule):
    """Sum of depthwise branches of several sizes and dilations, each with batch normalisation.

    ``y = sum_b norm_b(depthwise_b(x))``, of the input's shape. In evaluation this equals one
    depthwise convolution with a bias, whose kernel is as large as the largest effective kernel;
    ``merged`` returns it. See ``dilax.degridding.merge_kernels``.

    Parameters: for each branch, an entry of ``kernels``, ``(*kernel_size, 1, in_features)``, and an
    entry of ``norms`` with ``scale``, ``bias`` and the running statistics ``mean`` and ``var``,
    each ``(in_features,)``.

    Args:
        in_features: Features of the input.
        kernel_sizes: Entries of each branch's kernel along each of one to three window axes.
        kernel_dilation: Entries between neighbouring taps, for each branch.
        use_running_average: Normalise by the running statistics rather than the batch's.
        momentum: Share of the old running statistics that each update keeps.
        epsilon: Added to the variance.
        axis_name: Mapped axis to take the batch's statistics over.
        dtype: Type to compute in; the common type of input and parameters when left out.
        param_dtype: Type of the parameters.
        precision: As in ``jax.lax.conv_general_dilated``.
        kernel_init: Initialiser of the kernels.
        algorithm: How to compute convolutions and their derivatives; chosen by platform, pass and
            shape when left out.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: Ding et al., "UniRepLKNet" (2023), the dilated re-parameterised block.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = ParallelDepthwiseConv(16, [(5, 5), (3, 3)], kernel_dilation=(1, 3),
    ...                               rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape
    (8, 28, 28, 16)
    >>> layer.merged().kernel[...].shape
    (7, 7, 1, 16)
    """

    def __init__(
        self,
        in_features: int,
        kernel_sizes: Sequence[Sequence[int]],
        *,
        kernel_dilation: Sequence[int | Sequence[int]],
        use_running_average: bool = False,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        axis_name: str | None = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: jax.lax.PrecisionLike = None,
        kernel_init: Initializer = KERNEL_INIT,
        algorithm: Algorithm | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            in_features,
            use_running_average=use_running_average,
            momentum=momentum,
            epsilon=epsilon,
            axis_name=axis_name,
            dtype=dtype,
            precision=precision,
            algorithm=algorithm,
        )
        windows = [
            window_size(size, "each of kernel_sizes")
            for size in entries(kernel_sizes, "kernel_sizes", "sizes")
        ]
        self.kernel_dilation = branch_dilations(kernel_dilation, len(windows[0]) if windows else 1)
        if not windows or len(windows) != len(self.kernel_dilation):
            raise ValueError(
                f"kernel_sizes and kernel_dilation must have equally many entries, at least one, "
                f"got {len(windows)} and {len(self.kernel_dilation)}."
            )
        draw = functools.partial(parameter, kernel_init, rngs, param_dtype=param_dtype)
        self.kernels = nnx.data([draw((*window, 1, in_features)) for window in windows])
        self.norms = nnx.data([Norm(in_features, param_dtype) for _ in windows])

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to the same shape."""
        params = [
            (kernel[...], norm_variables(norm))
            for kernel, norm in zip(self.kernels, self.norms, strict=True)
        ]
        return self._apply(_normalised_sum, x, params, kernel_dilation=self.kernel_dilation)

    def merged(self) -> DepthwiseConv:
        """Return one depthwise convolution with the same result in evaluation, up to rounding."""
        folded = [
            degridding.fold_batch_norm(
                kernel[...], read_norm(norm_variables(norm)), epsilon=self.epsilon
            )
            for kernel, norm in zip(self.kernels, self.norms, strict=True)
        ]
        kernel = degridding.merge_kernels(
            [kernel for kernel, _ in folded], kernel_dilation=self.kernel_dilation
        )
        *window, _, features = kernel.shape
        layer = DepthwiseConv(
            features,
            window,
            dtype=self.dtype,
            precision=self.precision,
            algorithm=self.algorithm,
            rngs=nnx.Rngs(0),
        )
        bias = jnp.stack([bias for _, bias in folded]).sum(axis=0)
        layer.kernel, layer.bias = nnx.Param(kernel), nnx.Param(bias)
        return layer


def _normalised_sum(
    x: jax.Array,
    params: Sequence[tuple[jax.Array, BatchNormParams]],
    *,
    kernel_dilation: Sequence[int | Sequence[int]],
    precision: jax.lax.PrecisionLike,
    algorithm: Algorithm | None,
    **norm_options: Any,
) -> tuple[jax.Array, list[tuple[jax.Array, BatchNormParams]]]:
    """``sum_b norm_b(depthwise_b(x))``, and the params with their statistics moved."""
    total, moved = jnp.zeros((), x.dtype), []
    for (kernel, norm), dilation in zip(params, kernel_dilation, strict=True):
        branch = degridding.parallel_depthwise_conv(
            x, [kernel], kernel_dilation=[dilation], precision=precision, algorithm=algorithm
        )
        normalised, norm = batch_norm(branch, norm, **norm_options)
        total = total + normalised
        moved.append((kernel, norm))
    return total, moved

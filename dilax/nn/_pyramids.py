"""Modules with several dilations at once; the functions are in ``dilax.degridding``."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from dilax import degridding
from dilax._functions import Activation, DilatedBlockParams, SeparableBlockParams
from dilax.algorithms import Algorithm
from dilax.nn._flax import nnx
from dilax.nn._module import (
    KERNEL_INIT,
    Initializer,
    Norm,
    NormalisedModule,
    branch_dilations,
    check_sizes,
    norm_variables,
    parameter,
    window_size,
)


class EESP(NormalisedModule):
    """ESPNetv2's unit: reduce, convolve at several dilations, fuse, expand, add the input.

    See ``dilax.degridding.eesp`` for the equation.

    Parameters have the names of the fields of ``dilax.degridding.EESPParams``.

    Args:
        in_features: Features of the input.
        kernel_size: Entries of the kernel along each of one to three window axes.
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

    Raises:
        ValueError: The square of the number of branches does not divide the features.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> unit = EESP(32, (3, 3), kernel_dilation=(1, 2, 3, 4), rngs=nnx.Rngs(0))
    >>> unit(jnp.ones((8, 28, 28, 32))).shape
    (8, 28, 28, 32)
    """

    def __init__(
        self,
        in_features: int,
        kernel_size: Sequence[int],
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
        window = window_size(kernel_size)
        self.kernel_dilation = branch_dilations(kernel_dilation, len(window))
        branches = len(self.kernel_dilation)
        if not branches:
            raise ValueError("kernel_dilation must have an entry for at least one branch, got ().")
        if in_features % branches**2:
            raise ValueError(
                f"in_features must be a multiple of the square of the number of branches (entries "
                f"of kernel_dilation), {branches}^2 = {branches**2}, got {in_features}; the first "
                f"convolution gives each branch in_features // {branches} features, in {branches} "
                f"groups."
            )
        share, ones = in_features // branches, (1,) * len(window)
        draw = functools.partial(parameter, kernel_init, rngs, param_dtype=param_dtype)
        self.reduce_kernel = draw((*ones, share, share))
        self.branch_kernels = nnx.data([draw((*window, 1, share)) for _ in range(branches)])
        self.expand_kernel = draw((*ones, share, in_features))
        self.reduce_norm = Norm(share, param_dtype)
        self.fused_norm = Norm(in_features, param_dtype)
        self.expand_norm = Norm(in_features, param_dtype)
        self.reduce_slope = nnx.Param(jnp.full(share, 0.25, param_dtype))
        self.fused_slope = nnx.Param(jnp.full(in_features, 0.25, param_dtype))
        self.slope = nnx.Param(jnp.full(in_features, 0.25, param_dtype))

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to the same shape."""
        params = degridding.EESPParams(
            reduce_kernel=self.reduce_kernel[...],
            reduce_norm=norm_variables(self.reduce_norm),
            reduce_slope=self.reduce_slope[...],
            branch_kernels=[kernel[...] for kernel in self.branch_kernels],
            fused_norm=norm_variables(self.fused_norm),
            fused_slope=self.fused_slope[...],
            expand_kernel=self.expand_kernel[...],
            expand_norm=norm_variables(self.expand_norm),
            slope=self.slope[...],
        )
        return self._apply(degridding.eesp, x, params, kernel_dilation=self.kernel_dilation)


class ASPP(NormalisedModule):
    """Atrous spatial pyramid pooling with separable branches.

    See ``dilax.degridding.aspp`` for the equation.

    Parameters correspond to ``dilax.degridding.ASPPParams``: ``pointwise_kernel`` and
    ``pointwise_norm`` for its block ``pointwise``, and so on for ``pooled`` and ``projection``;
    ``depthwise_kernels``, ``branch_kernels`` and ``branch_norms`` for its separable branches.

    Args:
        in_features: Features of the input.
        out_features: Features of the output.
        kernel_size: Entries of the kernel along each of one to three window axes.
        kernel_dilation: Entries between neighbouring taps, for each branch.
        activation: Applied after the normalisation.
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
    >>> module = ASPP(32, 16, (3, 3), kernel_dilation=(6, 12, 18), rngs=nnx.Rngs(0))
    >>> module(jnp.ones((8, 33, 33, 32))).shape
    (8, 33, 33, 16)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        *,
        kernel_dilation: Sequence[int | Sequence[int]],
        activation: Activation = jax.nn.relu,
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
        check_sizes(out_features=out_features)
        window = window_size(kernel_size)
        self.kernel_dilation = branch_dilations(kernel_dilation, len(window))
        self.activation = activation
        branches, ones = range(len(self.kernel_dilation)), (1,) * len(window)
        draw = functools.partial(parameter, kernel_init, rngs, param_dtype=param_dtype)
        self.pointwise_kernel = draw((*ones, in_features, out_features))
        self.depthwise_kernels = nnx.data([draw((*window, 1, in_features)) for _ in branches])
        self.branch_kernels = nnx.data([draw((in_features, out_features)) for _ in branches])
        self.pooled_kernel = draw((*ones, in_features, out_features))
        joined = out_features * (len(branches) + 2)
        self.projection_kernel = draw((*ones, joined, out_features))
        self.pointwise_norm = Norm(out_features, param_dtype)
        self.pooled_norm = Norm(out_features, param_dtype)
        self.branch_norms = nnx.data([Norm(out_features, param_dtype) for _ in branches])
        self.projection_norm = Norm(out_features, param_dtype)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to ``(batch..., *window, out_features)``."""
        branches = zip(self.depthwise_kernels, self.branch_kernels, self.branch_norms, strict=True)
        params = degridding.ASPPParams(
            pointwise=_block(self.pointwise_kernel, self.pointwise_norm),
            separable=[
                SeparableBlockParams(depthwise[...], pointwise[...], norm_variables(norm))
                for depthwise, pointwise, norm in branches
            ],
            pooled=_block(self.pooled_kernel, self.pooled_norm),
            projection=_block(self.projection_kernel, self.projection_norm),
        )
        return self._apply(
            degridding.aspp,
            x,
            params,
            kernel_dilation=self.kernel_dilation,
            activation=self.activation,
        )


def _block(kernel: nnx.Param, norm: Norm) -> DilatedBlockParams:
    return DilatedBlockParams(kernel[...], norm_variables(norm))

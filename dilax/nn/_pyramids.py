"""Modules of several rates with their normalisations; the mathematics is in `dilax.degridding`."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dilax import degridding
from dilax._checks import entries
from dilax._functions import DilatedBlockParams, SeparableBlockParams
from dilax.nn._arguments import KERNEL_INIT, Initializer, check_sizes, parameter, window_size
from dilax.nn._flax import nnx
from dilax.nn._norm import Norm


class EESP(nnx.Module):
    """ESPNetv2's unit, with a residual; see `dilax.degridding.eesp`.

    Args:
      features: of input and output; as many branches must divide them, twice.
      kernel_size: of every branch.
      kernel_dilation: of each branch, in rising order.
      use_running_average: normalise by the running statistics rather than the batch's.
      momentum: share of the running statistics that a batch leaves.
      axis_name: mapped axis to take batch statistics over.
      kernel_init: initialiser of the kernels.
      rngs: source of keys; ``params`` is used.

    Raises:
      ValueError: if the features cannot be shared out.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> EESP(32, (3, 3), kernel_dilation=(1, 2, 3, 4), rngs=nnx.Rngs(0))(
    ...     jnp.ones((8, 28, 28, 32))).shape
    (8, 28, 28, 32)
    """

    def __init__(
        self,
        features: int,
        kernel_size: Sequence[int],
        *,
        kernel_dilation: Sequence[int | Sequence[int]],
        use_running_average: bool = False,
        momentum: float = 0.99,
        axis_name: str | None = None,
        kernel_init: Initializer = KERNEL_INIT,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(features=features)
        kernel_size = window_size(kernel_size)
        kernel_dilation = entries(kernel_dilation, "kernel_dilation", "rates")
        branches = len(kernel_dilation)
        if not branches:
            raise ValueError("kernel_dilation must name at least one rate, got none.")
        if features % branches**2:
            raise ValueError(
                f"features must be a multiple of the square of the number of branches "
                f"(rates of kernel_dilation), {branches}^2 = {branches**2}, got {features}: the "
                f"first convolution gives each branch features // {branches} features, in "
                f"{branches} groups."
            )
        share, ones = features // branches, (1,) * len(kernel_size)

        def kernel(*shape: int) -> nnx.Param:
            return parameter(kernel_init, rngs, shape)

        self.reduce_kernel = kernel(*ones, share, share)
        self.branch_kernels = nnx.data([kernel(*kernel_size, 1, share) for _ in range(branches)])
        self.expand_kernel = kernel(*ones, share, features)
        self.reduce_norm, self.fused_norm = Norm(share), Norm(features)
        self.expand_norm = Norm(features)
        self.reduce_slope = nnx.Param(jnp.full(share, 0.25))
        self.fused_slope = nnx.Param(jnp.full(features, 0.25))
        self.slope = nnx.Param(jnp.full(features, 0.25))
        self.kernel_dilation = tuple(kernel_dilation)
        self.use_running_average, self.momentum = use_running_average, momentum
        self.axis_name = axis_name

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, features)`` to the same shape."""
        params = degridding.EESPParams(
            reduce_kernel=self.reduce_kernel[...],
            reduce_norm=self.reduce_norm.read(),
            reduce_slope=self.reduce_slope[...],
            branch_kernels=[kernel[...] for kernel in self.branch_kernels],
            fused_norm=self.fused_norm.read(),
            fused_slope=self.fused_slope[...],
            expand_kernel=self.expand_kernel[...],
            expand_norm=self.expand_norm.read(),
            slope=self.slope[...],
        )
        y, moved = degridding.eesp(
            x,
            params,
            kernel_dilation=self.kernel_dilation,
            use_running_average=self.use_running_average,
            momentum=self.momentum,
            axis_name=self.axis_name,
        )
        if not self.use_running_average:
            self.reduce_norm.write(moved.reduce_norm)
            self.fused_norm.write(moved.fused_norm)
            self.expand_norm.write(moved.expand_norm)
        return y


class ASPP(nnx.Module):
    """Atrous spatial pyramid pooling with separable branches; see `dilax.degridding.aspp`.

    Args:
      in_features: features of the input.
      out_features: features of each branch and of the output.
      kernel_size: of the dilated branches.
      kernel_dilation: of each dilated branch.
      use_running_average: normalise by the running statistics rather than the batch's.
      momentum: share of the running statistics that a batch leaves.
      axis_name: mapped axis to take batch statistics over.
      kernel_init: initialiser of the kernels.
      rngs: source of keys; ``params`` is used.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> ASPP(32, 16, (3, 3), kernel_dilation=(6, 12, 18), rngs=nnx.Rngs(0))(
    ...     jnp.ones((8, 33, 33, 32))).shape
    (8, 33, 33, 16)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        *,
        kernel_dilation: Sequence[int | Sequence[int]],
        use_running_average: bool = False,
        momentum: float = 0.99,
        axis_name: str | None = None,
        kernel_init: Initializer = KERNEL_INIT,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(in_features=in_features, out_features=out_features)
        kernel_size = window_size(kernel_size)
        rates, ones = entries(kernel_dilation, "kernel_dilation", "rates"), (1,) * len(kernel_size)

        def kernel(*shape: int) -> nnx.Param:
            return parameter(kernel_init, rngs, shape)

        self.pointwise_kernel = kernel(*ones, in_features, out_features)
        self.depthwise_kernels = nnx.data([kernel(*kernel_size, 1, in_features) for _ in rates])
        self.branch_kernels = nnx.data([kernel(in_features, out_features) for _ in rates])
        self.pooled_kernel = kernel(*ones, in_features, out_features)
        joined = out_features * (len(rates) + 2)
        self.projection_kernel = kernel(*ones, joined, out_features)
        self.pointwise_norm, self.pooled_norm = Norm(out_features), Norm(out_features)
        self.branch_norms = nnx.data([Norm(out_features) for _ in rates])
        self.projection_norm = Norm(out_features)
        self.kernel_dilation = rates
        self.use_running_average, self.momentum = use_running_average, momentum
        self.axis_name = axis_name

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to ``(batch..., *window, out_features)``."""
        branches = zip(self.depthwise_kernels, self.branch_kernels, self.branch_norms, strict=True)
        params = degridding.ASPPParams(
            pointwise=_block(self.pointwise_kernel, self.pointwise_norm),
            separable=[
                SeparableBlockParams(depthwise[...], pointwise[...], norm.read())
                for depthwise, pointwise, norm in branches
            ],
            pooled=_block(self.pooled_kernel, self.pooled_norm),
            projection=_block(self.projection_kernel, self.projection_norm),
        )
        y, moved = degridding.aspp(
            x,
            params,
            kernel_dilation=self.kernel_dilation,
            use_running_average=self.use_running_average,
            momentum=self.momentum,
            axis_name=self.axis_name,
        )
        if not self.use_running_average:
            self.pointwise_norm.write(moved.pointwise.norm)
            self.pooled_norm.write(moved.pooled.norm)
            self.projection_norm.write(moved.projection.norm)
            for norm, branch in zip(self.branch_norms, moved.separable, strict=True):
                norm.write(branch.norm)
        return y


def _block(kernel: nnx.Param, norm: Norm) -> DilatedBlockParams:
    return DilatedBlockParams(kernel[...], norm.read())

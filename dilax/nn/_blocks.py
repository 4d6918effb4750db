"""Block modules: parameters and running statistics, and a call of `dilax.ops`."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from dilax._functions import Activation, BatchNormParams, SeparableBlockParams, separable_block
from dilax.algorithms import Algorithm
from dilax.geometry import PaddingLike
from dilax.nn._arguments import (
    KERNEL_INIT,
    Initializer,
    check_dtype,
    check_sizes,
    parameter,
    window_size,
)
from dilax.nn._conv import cast
from dilax.nn._flax import nnx


class SeparableBlock(nnx.Module):
    """Separable dilated convolution, batch normalisation, activation; see `dilax.separable_block`.

    Parameters: ``depthwise_kernel`` ``(*kernel_size, 1, in_features)``, ``pointwise_kernel``
    ``(in_features, out_features)``, ``scale`` and ``bias`` ``(out_features,)``; running statistics
    ``mean`` and ``var`` ``(out_features,)``, which move in training (``module.train()``) and are
    used in evaluation (``module.eval()``).

    Args:
      in_features: features of the input.
      out_features: features of the output.
      kernel_size: entries of the depthwise kernel along each window axis.
      strides: entries between neighbouring outputs.
      padding: as in `dilax.conv`.
      kernel_dilation: entries between neighbouring taps.
      activation: applied after the normalisation.
      residual: add the input to the output; their shapes must agree.
      use_running_average: normalise by the running statistics rather than the batch's.
      momentum: share of the running statistics that a batch leaves.
      epsilon: added to the variance.
      axis_name: mapped axis to take batch statistics over.
      dtype: type to compute in; the common type of input and parameters if left out.
      param_dtype: type of the parameters.
      precision: as in ``jax.lax.conv_general_dilated``.
      kernel_init: initialiser of both kernels.
      algorithm: how to compute the depthwise part and its derivatives.
      rngs: source of keys; ``params`` is used.

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
        check_sizes(in_features=in_features, out_features=out_features)
        check_dtype(dtype)
        window, pointwise = window_size(kernel_size), (in_features, out_features)
        self.depthwise_kernel = parameter(kernel_init, rngs, (*window, 1, in_features), param_dtype)
        self.pointwise_kernel = parameter(kernel_init, rngs, pointwise, param_dtype)
        self.scale = nnx.Param(jnp.ones(out_features, param_dtype))
        self.bias = nnx.Param(jnp.zeros(out_features, param_dtype))
        self.mean = nnx.BatchStat(jnp.zeros(out_features, jnp.float32))
        self.var = nnx.BatchStat(jnp.ones(out_features, jnp.float32))
        self.in_features = in_features
        self.strides, self.padding, self.kernel_dilation = strides, padding, kernel_dilation
        self.activation, self.residual = activation, residual
        self.use_running_average, self.axis_name = use_running_average, axis_name
        self.momentum, self.epsilon, self.dtype = momentum, epsilon, dtype
        self.precision, self.algorithm = precision, algorithm

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to ``(batch..., *window_out, out_features)``."""
        kernels = self.depthwise_kernel, self.pointwise_kernel
        x, depthwise, pointwise = cast(self.dtype, self.in_features, x, *kernels)
        norm = BatchNormParams(*(v[...] for v in (self.scale, self.bias, self.mean, self.var)))
        y, params = separable_block(
            x,
            SeparableBlockParams(depthwise, pointwise, norm),
            strides=self.strides,
            padding=self.padding,
            kernel_dilation=self.kernel_dilation,
            activation=self.activation,
            residual=self.residual,
            use_running_average=self.use_running_average,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
            precision=self.precision,
            algorithm=self.algorithm,
        )
        if not self.use_running_average:
            self.mean[...], self.var[...] = params.norm.mean, params.norm.var
        return y

"""Convolution modules: they hold parameters, and call `dilax.ops`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from dilax._arrays import as_array
from dilax._functions import conv_general_dilated, depthwise_conv, separable_conv
from dilax.algorithms import Algorithm
from dilax.geometry import PaddingLike
from dilax.nn._arguments import (
    KERNEL_INIT,
    Initializer,
    check_dtype,
    check_input,
    check_sizes,
    parameter,
    window_size,
)
from dilax.nn._flax import nnx

ZEROS = jax.nn.initializers.zeros


class Conv(nnx.Conv):
    """``flax.nnx.Conv``, its arguments, parameters and behaviour, computed by dilax.

    Args:
      *args: as ``flax.nnx.Conv`` takes them: in_features, out_features, kernel_size, strides.
      algorithm: how to compute it and its derivatives; chosen by platform and shape if left out.
      **kwargs: as ``flax.nnx.Conv`` takes them: padding, kernel_dilation, rngs and so on.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = Conv(3, 8, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((4, 32, 32, 3))).shape
    (4, 32, 32, 8)
    """

    def __init__(self, *args: Any, algorithm: Algorithm | None = None, **kwargs: Any) -> None:
        convolution = functools.partial(conv_general_dilated, algorithm=algorithm)
        super().__init__(*args, conv_general_dilated=convolution, **kwargs)

    def __call__(self, inputs: ArrayLike, *args: Any, **kwargs: Any) -> jax.Array:
        """As ``flax.nnx.Conv``."""
        inputs = as_array(inputs, "inputs")
        check_input(inputs, self.in_features)
        return super().__call__(inputs, *args, **kwargs)


class DepthwiseConv(nnx.Module):
    """Depthwise convolution; see `dilax.depthwise_conv` for the equation.

    Parameters: ``kernel`` ``(*kernel_size, 1, in_features * channel_multiplier)``, and ``bias`` of
    its last axis if ``use_bias``.

    Args:
      in_features: features of the input, ``C``.
      kernel_size: entries of the kernel along each window axis.
      strides: entries between neighbouring outputs.
      channel_multiplier: out-features of each in-feature.
      padding: as in `dilax.conv`.
      kernel_dilation: entries between neighbouring taps.
      use_bias: whether to add a bias.
      dtype: type to compute in; the common type of input and parameters if left out.
      param_dtype: type of the parameters.
      precision: as in ``jax.lax.conv_general_dilated``.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.
      algorithm: how to compute it and its derivatives.
      rngs: source of keys; ``params`` is used.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = DepthwiseConv(16, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape
    (8, 28, 28, 16)
    """

    def __init__(
        self,
        in_features: int,
        kernel_size: Sequence[int],
        strides: int | Sequence[int] = 1,
        *,
        channel_multiplier: int = 1,
        padding: PaddingLike = "SAME",
        kernel_dilation: int | Sequence[int] = 1,
        use_bias: bool = True,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: jax.lax.PrecisionLike = None,
        kernel_init: Initializer = KERNEL_INIT,
        bias_init: Initializer = ZEROS,
        algorithm: Algorithm | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(in_features=in_features, channel_multiplier=channel_multiplier)
        check_dtype(dtype)
        features = in_features * channel_multiplier
        shape = (*window_size(kernel_size), 1, features)
        self.kernel = parameter(kernel_init, rngs, shape, param_dtype)
        self.bias = _bias(bias_init, rngs, features, param_dtype) if use_bias else None
        self.in_features = in_features
        self.strides, self.padding, self.kernel_dilation = strides, padding, kernel_dilation
        self.dtype, self.precision, self.algorithm = dtype, precision, algorithm

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to ``(batch..., *window_out, out_features)``."""
        return depthwise_conv(
            *cast(self.dtype, self.in_features, x, self.kernel),
            strides=self.strides,
            padding=self.padding,
            kernel_dilation=self.kernel_dilation,
            bias=None if self.bias is None else self.bias[...],
            precision=self.precision,
            algorithm=self.algorithm,
        )


class SeparableConv(nnx.Module):
    """Depthwise separable convolution; see `dilax.separable_conv`.

    Parameters: ``depthwise_kernel`` ``(*kernel_size, 1, in_features * channel_multiplier)``,
    ``pointwise_kernel`` ``(in_features * channel_multiplier, out_features)``, and ``bias``
    ``(out_features,)`` if ``use_bias``.

    Args:
      in_features: features of the input.
      out_features: features of the output.
      kernel_size: entries of the depthwise kernel along each window axis.
      strides: entries between neighbouring outputs.
      channel_multiplier: features between the two parts, for each in-feature.
      padding: as in `dilax.conv`.
      kernel_dilation: entries between neighbouring taps.
      use_bias: whether to add a bias.
      dtype: type to compute in; the common type of input and parameters if left out.
      param_dtype: type of the parameters.
      precision: as in ``jax.lax.conv_general_dilated``.
      kernel_init: initialiser of both kernels.
      bias_init: initialiser of the bias.
      algorithm: how to compute the depthwise part and its derivatives.
      rngs: source of keys; ``params`` is used.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = SeparableConv(16, 24, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape
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
        use_bias: bool = True,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: jax.lax.PrecisionLike = None,
        kernel_init: Initializer = KERNEL_INIT,
        bias_init: Initializer = ZEROS,
        algorithm: Algorithm | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(in_features=in_features, out_features=out_features)
        check_sizes(channel_multiplier=channel_multiplier)
        check_dtype(dtype)
        middle = in_features * channel_multiplier
        depthwise, pointwise = (*window_size(kernel_size), 1, middle), (middle, out_features)
        self.depthwise_kernel = parameter(kernel_init, rngs, depthwise, param_dtype)
        self.pointwise_kernel = parameter(kernel_init, rngs, pointwise, param_dtype)
        self.bias = _bias(bias_init, rngs, out_features, param_dtype) if use_bias else None
        self.in_features = in_features
        self.strides, self.padding, self.kernel_dilation = strides, padding, kernel_dilation
        self.dtype, self.precision, self.algorithm = dtype, precision, algorithm

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to ``(batch..., *window_out, out_features)``."""
        return separable_conv(
            *cast(self.dtype, self.in_features, x, self.depthwise_kernel, self.pointwise_kernel),
            strides=self.strides,
            padding=self.padding,
            kernel_dilation=self.kernel_dilation,
            bias=None if self.bias is None else self.bias[...],
            precision=self.precision,
            algorithm=self.algorithm,
        )


def _bias(
    bias_init: Initializer, rngs: nnx.Rngs, features: int, param_dtype: DTypeLike
) -> nnx.Param:
    return parameter(bias_init, rngs, (features,), param_dtype, name="bias_init")


def cast(
    dtype: DTypeLike | None, features: int, x: ArrayLike, *params: nnx.Param
) -> list[jax.Array]:
    """Input of so many features and parameters, in the type to compute in."""
    arrays = [as_array(x, "x"), *(param[...] for param in params)]
    check_input(arrays[0], features)
    chosen = jnp.result_type(*arrays) if dtype is None else dtype
    return [array.astype(chosen) for array in arrays]

"""Modules of convolutions without normalisation."""

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
from dilax.algorithms._algorithm import check_algorithm
from dilax.geometry import PaddingLike, canonical_tuple
from dilax.nn._flax import nnx
from dilax.nn._module import (
    KERNEL_INIT,
    ZEROS,
    Initializer,
    Module,
    check_input,
    check_sizes,
    parameter,
    plain_padding,
    window_size,
)
from dilax.nn._pickling import Picklable


class Conv(Picklable, nnx.Conv):
    """``flax.nnx.Conv`` computed by dilax, with the same arguments, parameters and results.

    Args:
        *args: As in ``flax.nnx.Conv``: in_features, out_features, kernel_size, strides.
        algorithm: How to compute convolutions and their derivatives; chosen by platform, pass and
            shape when left out.
        **kwargs: As in ``flax.nnx.Conv``: padding, kernel_dilation, rngs and so on.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = Conv(3, 8, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((4, 32, 32, 3))).shape
    (4, 32, 32, 8)
    """

    def __init__(self, *args: Any, algorithm: Algorithm | None = None, **kwargs: Any) -> None:
        check_algorithm(algorithm)
        convolution = functools.partial(conv_general_dilated, algorithm=algorithm)
        super().__init__(*args, conv_general_dilated=convolution, **kwargs)

    def __call__(self, inputs: ArrayLike, *args: Any, **kwargs: Any) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to ``(batch..., *window_out, out_features)``."""
        inputs = as_array(inputs, "inputs")
        check_input(inputs, self.in_features)
        return super().__call__(inputs, *args, **kwargs)


class DepthwiseConv(Module):
    """Depthwise convolution; see ``dilax.depthwise_conv`` for the equation.

    Parameters: ``kernel`` ``(*kernel_size, 1, in_features * channel_multiplier)``, and if
    ``use_bias``, ``bias`` ``(in_features * channel_multiplier,)``.

    Args:
        in_features: Features of the input.
        kernel_size: Entries of the kernel along each of one to three window axes.
        strides: Entries between neighbouring outputs.
        channel_multiplier: Number of kernels for each feature of the input.
        padding: As in ``dilax.conv``.
        kernel_dilation: Entries between neighbouring taps.
        use_bias: Whether to add a bias.
        dtype: Type to compute in; the common type of input and parameters when left out.
        param_dtype: Type of the parameters.
        precision: As in ``jax.lax.conv_general_dilated``.
        kernel_init: Initialiser of the kernels.
        bias_init: Initialiser of the bias.
        algorithm: How to compute convolutions and their derivatives; chosen by platform, pass and
            shape when left out.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

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
        super().__init__(in_features, dtype=dtype, precision=precision, algorithm=algorithm)
        check_sizes(channel_multiplier=channel_multiplier)
        outputs = in_features * channel_multiplier
        window = window_size(kernel_size)
        self.kernel = parameter(kernel_init, rngs, (*window, 1, outputs), param_dtype)
        self.bias = _bias(bias_init, rngs, outputs, param_dtype) if use_bias else None
        self.strides = canonical_tuple(strides, len(window), "strides")
        self.kernel_dilation = canonical_tuple(kernel_dilation, len(window), "kernel_dilation")
        self.padding = plain_padding(padding)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to ``(batch..., *window_out, out_features)``."""
        return depthwise_conv(
            *self._cast(x, self.kernel[...]),
            bias=None if self.bias is None else self.bias[...],
            **self._options("strides", "padding", "kernel_dilation"),
        )


class SeparableConv(Module):
    """Depthwise separable convolution; see ``dilax.separable_conv`` for the equation.

    Parameters: ``depthwise_kernel`` ``(*kernel_size, 1, in_features * channel_multiplier)``,
    ``pointwise_kernel`` ``(in_features * channel_multiplier, out_features)``, and if ``use_bias``,
    ``bias`` ``(out_features,)``.

    Args:
        in_features: Features of the input.
        out_features: Features of the output.
        kernel_size: Entries of the kernel along each of one to three window axes.
        strides: Entries between neighbouring outputs.
        channel_multiplier: Number of kernels for each feature of the input.
        padding: As in ``dilax.conv``.
        kernel_dilation: Entries between neighbouring taps.
        use_bias: Whether to add a bias.
        dtype: Type to compute in; the common type of input and parameters when left out.
        param_dtype: Type of the parameters.
        precision: As in ``jax.lax.conv_general_dilated``.
        kernel_init: Initialiser of the kernels.
        bias_init: Initialiser of the bias.
        algorithm: How to compute convolutions and their derivatives; chosen by platform, pass and
            shape when left out.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

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
        super().__init__(in_features, dtype=dtype, precision=precision, algorithm=algorithm)
        check_sizes(out_features=out_features, channel_multiplier=channel_multiplier)
        window, middle = window_size(kernel_size), in_features * channel_multiplier
        draw = functools.partial(parameter, kernel_init, rngs, param_dtype=param_dtype)
        self.depthwise_kernel = draw((*window, 1, middle))
        self.pointwise_kernel = draw((middle, out_features))
        self.bias = _bias(bias_init, rngs, out_features, param_dtype) if use_bias else None
        self.strides = canonical_tuple(strides, len(window), "strides")
        self.kernel_dilation = canonical_tuple(kernel_dilation, len(window), "kernel_dilation")
        self.padding = plain_padding(padding)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to ``(batch..., *window_out, out_features)``."""
        return separable_conv(
            *self._cast(x, self.depthwise_kernel[...], self.pointwise_kernel[...]),
            bias=None if self.bias is None else self.bias[...],
            **self._options("strides", "padding", "kernel_dilation"),
        )


def _bias(
    bias_init: Initializer, rngs: nnx.Rngs, features: int, param_dtype: DTypeLike
) -> nnx.Param:
    """Draw a bias of so many features."""
    return parameter(bias_init, rngs, (features,), param_dtype, name="bias_init")

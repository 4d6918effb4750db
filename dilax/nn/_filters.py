"""Modules that replace a dilated depthwise convolution, each with a remedy for gridding.

They keep the input's shape and have no bias; the functions are in ``dilax.degridding``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from dilax import degridding
from dilax._functions import depthwise_conv
from dilax.algorithms import Algorithm
from dilax.geometry import canonical_tuple
from dilax.nn._flax import nnx
from dilax.nn._module import (
    KERNEL_INIT,
    Initializer,
    Module,
    branch_dilations,
    check_sizes,
    parameter,
    window_size,
)


class SmoothedDepthwiseConv(Module):
    """Dilated depthwise convolution of a smoothed input.

    See ``dilax.degridding.smoothed_depthwise_conv`` for the equation.

    Parameters: ``kernel`` ``(*kernel_size, 1, in_features)``, and if ``learned``, ``smoothing``
    ``(2 d - 1, ...)`` for a dilation ``d`` of each axis, initially the identity. Otherwise the
    smoothing is an average.

    Args:
        in_features: Features of the input.
        kernel_size: Entries of the kernel along each of one to three window axes.
        kernel_dilation: Entries between neighbouring taps.
        learned: Whether the smoothing kernel is a parameter.
        dtype: Type to compute in; the common type of input and parameters when left out.
        param_dtype: Type of the parameters.
        precision: As in ``jax.lax.conv_general_dilated``.
        kernel_init: Initialiser of the kernels.
        algorithm: How to compute convolutions and their derivatives; chosen by platform, pass and
            shape when left out.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = SmoothedDepthwiseConv(16, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape, layer.smoothing[...].shape
    ((8, 28, 28, 16), (3, 3))
    """

    def __init__(
        self,
        in_features: int,
        kernel_size: Sequence[int],
        *,
        kernel_dilation: int | Sequence[int],
        learned: bool = True,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: jax.lax.PrecisionLike = None,
        kernel_init: Initializer = KERNEL_INIT,
        algorithm: Algorithm | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(in_features, dtype=dtype, precision=precision, algorithm=algorithm)
        window = window_size(kernel_size)
        self.kernel_dilation = canonical_tuple(kernel_dilation, len(window), "kernel_dilation")
        self.kernel = parameter(kernel_init, rngs, (*window, 1, in_features), param_dtype)
        middle = tuple(dilation - 1 for dilation in self.kernel_dilation)
        zeros = jnp.zeros([2 * dilation - 1 for dilation in self.kernel_dilation], param_dtype)
        self.smoothing = nnx.Param(zeros.at[middle].set(1)) if learned else None

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to the same shape."""
        x, kernel = self._cast(x, self.kernel[...])
        return degridding.smoothed_depthwise_conv(
            x,
            kernel,
            smoothing=None if self.smoothing is None else self.smoothing[...].astype(x.dtype),
            **self._options("kernel_dilation"),
        )


class InteractingDepthwiseConv(Module):
    """Dilated depthwise convolution, and mixing of the phases that it keeps apart.

    See ``dilax.degridding.group_interaction`` for the equation.

    Parameters: ``kernel`` ``(*kernel_size, 1, in_features)``, and ``mixing`` ``(P, P)`` for the
    ``P = prod(kernel_dilation)`` phases, initially the identity.

    Args:
        in_features: Features of the input.
        kernel_size: Entries of the kernel along each of one to three window axes.
        kernel_dilation: Entries between neighbouring taps.
        dtype: Type to compute in; the common type of input and parameters when left out.
        param_dtype: Type of the parameters.
        precision: As in ``jax.lax.conv_general_dilated``.
        kernel_init: Initialiser of the kernels.
        algorithm: How to compute convolutions and their derivatives; chosen by platform, pass and
            shape when left out.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = InteractingDepthwiseConv(16, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape, layer.mixing[...].shape
    ((8, 28, 28, 16), (4, 4))
    """

    def __init__(
        self,
        in_features: int,
        kernel_size: Sequence[int],
        *,
        kernel_dilation: int | Sequence[int],
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: jax.lax.PrecisionLike = None,
        kernel_init: Initializer = KERNEL_INIT,
        algorithm: Algorithm | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(in_features, dtype=dtype, precision=precision, algorithm=algorithm)
        window = window_size(kernel_size)
        self.kernel_dilation = canonical_tuple(kernel_dilation, len(window), "kernel_dilation")
        self.kernel = parameter(kernel_init, rngs, (*window, 1, in_features), param_dtype)
        self.mixing = nnx.Param(jnp.eye(math.prod(self.kernel_dilation), dtype=param_dtype))

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to the same shape."""
        x, kernel, mixing = self._cast(x, self.kernel[...], self.mixing[...])
        return degridding.group_interaction(
            depthwise_conv(x, kernel, **self._options("kernel_dilation")),
            mixing,
            kernel_dilation=self.kernel_dilation,
            precision=self.precision,
        )


class RandomDepthwiseConv(Module):
    """Depthwise convolution with a random dilation at each call in training.

    In evaluation (``module.eval()``) the dilation is ``kernel_dilation``. See
    ``dilax.degridding.random_depthwise_conv``.

    Parameters: ``kernel`` ``(*kernel_size, 1, in_features)``.

    Args:
        in_features: Features of the input.
        kernel_size: Entries of the kernel along each of one to three window axes.
        kernel_dilation: Entries between neighbouring taps, in evaluation.
        kernel_dilation_choices: Values of ``kernel_dilation`` to draw from in training.
        deterministic: Use ``kernel_dilation`` rather than a random choice.
        dtype: Type to compute in; the common type of input and parameters when left out.
        param_dtype: Type of the parameters.
        precision: As in ``jax.lax.conv_general_dilated``.
        kernel_init: Initialiser of the kernels.
        algorithm: How to compute convolutions and their derivatives; chosen by platform, pass and
            shape when left out.
        rngs: Source of keys; parameters are drawn from the stream ``params``, dilations from the
            stream ``dilation``.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = RandomDepthwiseConv(16, (3, 3), kernel_dilation=2,
    ...                             kernel_dilation_choices=(1, 2, 3), rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape
    (8, 28, 28, 16)
    """

    def __init__(
        self,
        in_features: int,
        kernel_size: Sequence[int],
        *,
        kernel_dilation: int | Sequence[int],
        kernel_dilation_choices: Sequence[int | Sequence[int]],
        deterministic: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: jax.lax.PrecisionLike = None,
        kernel_init: Initializer = KERNEL_INIT,
        algorithm: Algorithm | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(in_features, dtype=dtype, precision=precision, algorithm=algorithm)
        window = window_size(kernel_size)
        self.kernel_dilation = canonical_tuple(kernel_dilation, len(window), "kernel_dilation")
        self.kernel_dilation_choices = branch_dilations(
            kernel_dilation_choices, len(window), "kernel_dilation_choices"
        )
        self.kernel = parameter(kernel_init, rngs, (*window, 1, in_features), param_dtype)
        self.deterministic = deterministic
        self.rngs = rngs.fork()

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to the same shape."""
        x, kernel = self._cast(x, self.kernel[...])
        if self.deterministic:
            return depthwise_conv(x, kernel, **self._options("kernel_dilation"))
        return degridding.random_depthwise_conv(
            self.rngs.dilation(), x, kernel, **self._options("kernel_dilation_choices")
        )


class LearnedDepthwiseConv(Module):
    """Depthwise convolution whose taps have learned positions.

    See ``dilax.degridding.learned_kernel`` for the equation.

    Parameters: ``weights`` ``(taps, 1, in_features)``; ``positions`` ``(taps, rank, in_features)``,
    initially normal with a standard deviation of a quarter of the kernel's size; and if
    ``gaussian``, ``sigma`` ``(taps, rank, in_features)``, initially 0.23.

    Args:
        in_features: Features of the input.
        kernel_size: Entries of the kernel along each of one to three window axes.
        taps: Number of taps in the kernel.
        gaussian: Whether taps are Gaussian, with learned widths, rather than linear.
        dtype: Type to compute in; the common type of input and parameters when left out.
        param_dtype: Type of the parameters.
        precision: As in ``jax.lax.conv_general_dilated``.
        kernel_init: Initialiser of the kernels.
        algorithm: How to compute convolutions and their derivatives; chosen by platform, pass and
            shape when left out.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = LearnedDepthwiseConv(16, (7, 7), taps=9, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape
    (8, 28, 28, 16)
    """

    def __init__(
        self,
        in_features: int,
        kernel_size: Sequence[int],
        *,
        taps: int,
        gaussian: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        precision: jax.lax.PrecisionLike = None,
        kernel_init: Initializer = KERNEL_INIT,
        algorithm: Algorithm | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(in_features, dtype=dtype, precision=precision, algorithm=algorithm)
        check_sizes(taps=taps)
        self.kernel_size = window_size(kernel_size)
        self.weights = parameter(kernel_init, rngs, (taps, 1, in_features), param_dtype)
        shape = (taps, len(self.kernel_size), in_features)
        quarter = jnp.asarray(self.kernel_size, param_dtype)[None, :, None] / 4
        drawn = jax.random.normal(rngs.params(), shape, param_dtype)
        self.positions = nnx.Param(quarter * drawn)
        self.sigma = nnx.Param(jnp.full(shape, 0.23, param_dtype)) if gaussian else None

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, in_features)`` to the same shape."""
        kernel = degridding.learned_kernel(
            self.weights[...],
            self.positions[...],
            self.kernel_size,
            sigma=None if self.sigma is None else self.sigma[...],
            precision=self.precision,
        )
        return depthwise_conv(*self._cast(x, kernel), **self._options())

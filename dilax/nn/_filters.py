"""Modules to put where a dilated `DepthwiseConv` stands, each with a remedy for gridding.

They keep the window's size and the number of features, have no bias, and call `dilax.degridding`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from dilax import degridding
from dilax._arrays import as_array
from dilax._checks import entries
from dilax._functions import batch_norm, depthwise_conv
from dilax.geometry import canonical_tuple
from dilax.nn._arguments import (
    KERNEL_INIT,
    Initializer,
    check_dtype,
    check_input,
    check_sizes,
    parameter,
    window_size,
)
from dilax.nn._conv import DepthwiseConv, cast
from dilax.nn._flax import nnx
from dilax.nn._norm import Norm


class SmoothedDepthwiseConv(nnx.Module):
    """Depthwise convolution after smoothing; see `dilax.degridding.smoothed_depthwise_conv`.

    Parameters: ``kernel`` ``(*kernel_size, 1, features)``, and if ``learned``, ``smoothing``
    ``(2 d - 1, ...)``, at first the identity; otherwise the smoothing is an average.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = SmoothedDepthwiseConv(16, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape, layer.smoothing[...].shape
    ((8, 28, 28, 16), (3, 3))
    """

    def __init__(
        self,
        features: int,
        kernel_size: Sequence[int],
        *,
        kernel_dilation: int | Sequence[int],
        learned: bool = True,
        dtype: DTypeLike | None = None,
        kernel_init: Initializer = KERNEL_INIT,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(features=features)
        self.features = features
        check_dtype(dtype)
        kernel_size = window_size(kernel_size)
        rates = canonical_tuple(kernel_dilation, len(kernel_size), "kernel_dilation")
        self.kernel = parameter(kernel_init, rngs, (*kernel_size, 1, features))
        middle = tuple(rate - 1 for rate in rates)
        identity = jnp.zeros([2 * rate - 1 for rate in rates]).at[middle].set(1.0)
        self.smoothing = nnx.Param(identity) if learned else None
        self.kernel_dilation, self.dtype = rates, dtype

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, features)`` to the same shape."""
        x, kernel = cast(self.dtype, self.features, x, self.kernel)
        smoothing = None if self.smoothing is None else self.smoothing[...].astype(x.dtype)
        return degridding.smoothed_depthwise_conv(
            x, kernel, kernel_dilation=self.kernel_dilation, smoothing=smoothing
        )


class InteractingDepthwiseConv(nnx.Module):
    """Dilated depthwise convolution, then mixing of its phases.

    See `dilax.degridding.group_interaction`.

    Parameters: ``kernel`` ``(*kernel_size, 1, features)`` and ``mixing`` ``(P, P)`` for the ``P =
    prod(kernel_dilation)`` phases, at first the identity.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = InteractingDepthwiseConv(16, (3, 3), kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape, layer.mixing[...].shape
    ((8, 28, 28, 16), (4, 4))
    """

    def __init__(
        self,
        features: int,
        kernel_size: Sequence[int],
        *,
        kernel_dilation: int | Sequence[int],
        dtype: DTypeLike | None = None,
        kernel_init: Initializer = KERNEL_INIT,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(features=features)
        self.features = features
        check_dtype(dtype)
        kernel_size = window_size(kernel_size)
        rates = canonical_tuple(kernel_dilation, len(kernel_size), "kernel_dilation")
        self.kernel = parameter(kernel_init, rngs, (*kernel_size, 1, features))
        self.mixing = nnx.Param(jnp.eye(math.prod(rates)))
        self.kernel_dilation, self.dtype = rates, dtype

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, features)`` to the same shape."""
        x, kernel, mixing = cast(self.dtype, self.features, x, self.kernel, self.mixing)
        filtered = depthwise_conv(x, kernel, kernel_dilation=self.kernel_dilation)
        return degridding.group_interaction(filtered, mixing, kernel_dilation=self.kernel_dilation)


class RandomDepthwiseConv(nnx.Module):
    """Depthwise convolution at a rate drawn anew at each call in training.

    In evaluation the rate is ``kernel_dilation``. See `dilax.degridding.random_depthwise_conv`.

    Parameters: ``kernel`` ``(*kernel_size, 1, features)``. Keys come from the stream ``dilation``.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = RandomDepthwiseConv(16, (3, 3), kernel_dilation=2, rates=(1, 2, 3),
    ...                             rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape
    (8, 28, 28, 16)
    """

    def __init__(
        self,
        features: int,
        kernel_size: Sequence[int],
        *,
        kernel_dilation: int | Sequence[int],
        rates: Sequence[int | Sequence[int]],
        deterministic: bool = False,
        dtype: DTypeLike | None = None,
        kernel_init: Initializer = KERNEL_INIT,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(features=features)
        self.features = features
        check_dtype(dtype)
        kernel_size = window_size(kernel_size)
        self.kernel = parameter(kernel_init, rngs, (*kernel_size, 1, features))
        self.kernel_dilation = canonical_tuple(kernel_dilation, len(kernel_size), "kernel_dilation")
        self.rates = entries(rates, "rates", "values of kernel_dilation")
        self.deterministic, self.dtype = deterministic, dtype
        self.rngs = rngs.fork()

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, features)`` to the same shape."""
        x, kernel = cast(self.dtype, self.features, x, self.kernel)
        if self.deterministic:
            return depthwise_conv(x, kernel, kernel_dilation=self.kernel_dilation)
        return degridding.random_depthwise_conv(self.rngs.dilation(), x, kernel, rates=self.rates)


class LearnedDepthwiseConv(nnx.Module):
    """Depthwise convolution whose taps learn where they stand.

    See `dilax.degridding.learned_kernel`.

    Parameters: ``weights`` ``(taps, 1, features)``, ``positions`` ``(taps, rank, features)``, at
    first normal with a quarter of the kernel's size for deviation, and if ``gaussian``, ``sigma``
    of the same shape, at first 0.23.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = LearnedDepthwiseConv(16, (7, 7), taps=9, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((8, 28, 28, 16))).shape
    (8, 28, 28, 16)
    """

    def __init__(
        self,
        features: int,
        kernel_size: Sequence[int],
        *,
        taps: int,
        gaussian: bool = False,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(features=features, taps=taps)
        self.features = features
        check_dtype(dtype)
        kernel_size = window_size(kernel_size)
        shape = (taps, len(kernel_size), features)
        quarter = jnp.asarray(kernel_size, jnp.float32)[None, :, None] / 4
        self.weights = parameter(KERNEL_INIT, rngs, (taps, 1, features))
        self.positions = nnx.Param(quarter * jax.random.normal(rngs.params(), shape))
        self.sigma = nnx.Param(jnp.full(shape, 0.23)) if gaussian else None
        self.kernel_size, self.dtype = kernel_size, dtype

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, features)`` to the same shape."""
        sigma = None if self.sigma is None else self.sigma[...]
        kernel = degridding.learned_kernel(
            self.weights[...], self.positions[...], self.kernel_size, sigma=sigma
        )
        x = as_array(x, "x")
        check_input(x, self.features)
        dtype = self.dtype or jnp.result_type(x, kernel)
        return depthwise_conv(x.astype(dtype), kernel.astype(dtype))


class ParallelDepthwiseConv(nnx.Module):
    """Depthwise branches of several sizes and rates, each normalised, that merge into one kernel.

    ``y = sum_b norm_b(depthwise_b(x))``. With running statistics that is one depthwise convolution
    of the largest effective kernel with a bias: `merged` gives it.
    See `dilax.degridding.merge_kernels`.

    Parameters: ``kernels`` and ``norms``, one for each branch.

    Args:
      features: of input and output.
      kernel_sizes: of each branch.
      kernel_dilation: of each branch.
      use_running_average: normalise by the running statistics rather than the batch's.
      momentum: share of the running statistics that a batch leaves.
      axis_name: mapped axis to take batch statistics over.
      epsilon: added to the variance.
      dtype: type to compute in; the common type of input and parameters if left out.
      kernel_init: initialiser of the kernels.
      rngs: source of keys; ``params`` is used.

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
        features: int,
        kernel_sizes: Sequence[Sequence[int]],
        *,
        kernel_dilation: Sequence[int | Sequence[int]],
        use_running_average: bool = False,
        momentum: float = 0.99,
        axis_name: str | None = None,
        epsilon: float = 1e-5,
        dtype: DTypeLike | None = None,
        kernel_init: Initializer = KERNEL_INIT,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(features=features)
        self.features = features
        check_dtype(dtype)
        windows = [
            window_size(size, "each of kernel_sizes")
            for size in entries(kernel_sizes, "kernel_sizes", "sizes")
        ]
        rates = entries(kernel_dilation, "kernel_dilation", "rates")
        if not windows or len(windows) != len(rates):
            raise ValueError(
                f"kernel_sizes has {len(windows)} entries, kernel_dilation {len(rates)}; required: "
                f"one size at least, and a rate for each."
            )
        shapes = [(*window, 1, features) for window in windows]
        self.kernels = nnx.data([parameter(kernel_init, rngs, shape) for shape in shapes])
        self.norms = nnx.data([Norm(features) for _ in shapes])
        self.kernel_dilation = rates
        self.use_running_average, self.momentum = use_running_average, momentum
        self.axis_name = axis_name
        self.epsilon, self.dtype = epsilon, dtype

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Map ``(batch..., *window, features)`` to the same shape."""
        x, *kernels = cast(self.dtype, self.features, x, *self.kernels)
        total = jnp.zeros((), x.dtype)
        for kernel, norm, rate in zip(kernels, self.norms, self.kernel_dilation, strict=True):
            branch = degridding.parallel_depthwise_conv(x, [kernel], kernel_dilation=[rate])
            normalised, params = batch_norm(
                branch,
                norm.read(),
                use_running_average=self.use_running_average,
                momentum=self.momentum,
                axis_name=self.axis_name,
                epsilon=self.epsilon,
            )
            total = total + normalised
            if not self.use_running_average:
                norm.write(params)
        return total

    def merged(self) -> DepthwiseConv:
        """One depthwise convolution that does the same in evaluation, to rounding."""
        folded = [
            degridding.fold_batch_norm(kernel[...], norm.read(), epsilon=self.epsilon)
            for kernel, norm in zip(self.kernels, self.norms, strict=True)
        ]
        kernel = degridding.merge_kernels(
            [kernel for kernel, _ in folded], kernel_dilation=self.kernel_dilation
        )
        *window, _, features = kernel.shape
        layer = DepthwiseConv(features, window, dtype=self.dtype, rngs=nnx.Rngs(0))
        bias = jnp.stack([bias for _, bias in folded]).sum(axis=0)
        layer.kernel, layer.bias = nnx.Param(kernel), nnx.Param(bias)
        return layer

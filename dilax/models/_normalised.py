"""Dense convolution with batch normalisation, which several networks are made of."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from dilax.nn import Conv
from dilax.nn._flax import nnx

MOMENTUM = 0.9
"""Share of the running statistics that a batch leaves."""
KERNEL_INIT = jax.nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


class NormalisedConv(nnx.Module):
    """``norm(conv(x))``: a convolution without bias, padded SAME, and batch normalisation.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> layer = NormalisedConv(3, 8, (3, 3), strides=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((4, 32, 32, 3))).shape
    (4, 16, 16, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        *,
        strides: int = 1,
        kernel_dilation: int = 1,
        kernel_init: jax.nn.initializers.Initializer = KERNEL_INIT,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = Conv(
            in_features,
            out_features,
            kernel_size,
            strides,
            kernel_dilation=kernel_dilation,
            use_bias=False,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(out_features, momentum=MOMENTUM, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H / strides, W / strides, out_features)``."""
        return self.norm(self.conv(x))

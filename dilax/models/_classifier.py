"""The base class of the networks, and helpers that they share."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

import dilax
from dilax._checks import LONGEST, entries, integer, shown
from dilax.geometry import PaddingLike
from dilax.nn._pickling import Picklable

MOMENTUM = 0.9
"""Share of the old running statistics that each update keeps."""
KERNEL_INIT = jax.nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


class Classifier(nnx.Module):
    """Maps normalised images ``(N, H, W, C)`` to logits ``(N, classes)``."""

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        raise NotImplementedError

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images ``(N, H, W, C)`` to logits ``(N, classes)``.

        Raises:
            ValueError: Images have other axes, such as one image without a batch axis.
        """
        if images.ndim != 4:
            fix = "; one image is a batch of one: images[None]" if images.ndim == 3 else ""
            raise ValueError(f"images must have shape (N, H, W, C), got {images.shape}{fix}.")
        return self.activations(images)["logits"]


class Linear(Picklable, nnx.Linear):
    """``flax.nnx.Linear``, which some versions of Flax cannot pickle for its initialisers."""


class NormalisedConv(nnx.Module):
    """``norm(conv(x))``: a convolution without bias, and batch normalisation.

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
        strides: int | Sequence[int] = 1,
        kernel_dilation: int = 1,
        padding: PaddingLike = "SAME",
        feature_group_count: int = 1,
        kernel_init: jax.nn.initializers.Initializer = KERNEL_INIT,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = dilax.nn.Conv(
            in_features,
            out_features,
            kernel_size,
            strides,
            kernel_dilation=kernel_dilation,
            padding=padding,
            feature_group_count=feature_group_count,
            use_bias=False,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        self.norm = dilax.nn.BatchNorm(out_features, momentum=MOMENTUM, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H_out, W_out, out_features)``."""
        return self.norm(self.conv(x))


def schedule(values: Sequence[int], layers: int, name: str = "kernel_dilation") -> tuple[int, ...]:
    """Return ``values`` as a tuple of ``layers`` positive integers.

    Raises:
        ValueError: There are not ``layers`` entries, or one is not positive.
        TypeError: ``values`` is no sequence of integers.

    >>> schedule([1, 2], layers=2)
    (1, 2)
    """
    given = entries(values, name, "integers")
    if len(given) != layers:
        raise ValueError(
            f"{name} must have one entry for each of the network's {layers} layers, "
            f"got {shown(values)}."
        )
    return tuple(integer(value, f"each of {name}", minimum=1, maximum=LONGEST) for value in given)


def check_size(images: jax.Array, smallest: int, largest: int) -> None:
    """Refuse images whose size a network that flattens its last layer cannot take.

    Raises:
        ValueError: A side is shorter than ``smallest`` or longer than ``largest`` pixels.

    >>> import jax.numpy as jnp
    >>> check_size(jnp.ones((1, 32, 32, 3)), 30, 33)
    """
    if images.ndim != 4 or not all(smallest <= side <= largest for side in images.shape[1:3]):
        sides = f"{smallest} pixels" if smallest == largest else f"{smallest} to {largest} pixels"
        raise ValueError(
            f"images must have shape (N, H, W, C) with H and W of {sides}, for this network "
            f"flattens its last layer, got {images.shape}."
        )

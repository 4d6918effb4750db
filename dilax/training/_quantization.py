"""Quantisation-aware training: kernels are rounded to integers in each forward pass."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dilax._checks import check_callable, integer
from dilax.training._network import Apply, Pytree
from dilax.training._optimizers import Mask, is_kernel

MOST_BITS = 16
"""Float32 has room for such integers, and for the bits of a scale."""


def round_kernels(params: Pytree, *, bits: int = 8, mask: Mask = is_kernel) -> Pytree:
    r"""Round kernels to integers of a few bits, with a scale for each out-feature.

    With :math:`m = 2^{bits - 1} - 1`, which is 127 for 8 bits, out-feature :math:`o` of a kernel
    becomes

    .. math:: \hat w_o = s_o \, \mathrm{round}(w_o / s_o), \qquad s_o = \max |w_o| / m

    The result has the type of the kernel. It keeps its largest entry, so a quantiser that chooses
    its scales in the same way finds the same integers in it. Batch normalisation may be folded into
    it afterwards, because this multiplies each out-feature by a number. The derivative is that of
    the identity.

    Args:
        params: Nested dictionaries of arrays; the last axis of a kernel has the out-features.
        bits: Bits of an integer, from 2 to 16.
        mask: Selects the arrays that are rounded; by default all kernels.

    Raises:
        ValueError: ``bits`` is out of range.
        TypeError: ``bits`` is not an integer, or ``mask`` not a function.

    Source: B. Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference", 2018; the derivative is the straight-through estimator of
    Y. Bengio et al., "Estimating or propagating gradients through stochastic neurons", 2013.

    >>> kernel = jnp.array([[3.0, 0.3], [-1.4, 0.75]])
    >>> round_kernels({"kernel": kernel}, bits=3)["kernel"].tolist()
    [[3.0, 0.25], [-1.0, 0.75]]
    """
    bits = integer(bits, "bits", minimum=2, maximum=MOST_BITS)
    check_callable(mask, "mask")
    return jax.tree.map(
        lambda rounds, array: _rounded(array, bits) if rounds else array, mask(params), params
    )


def quantize_aware(apply: Apply, *, bits: int = 8, mask: Mask = is_kernel) -> Apply:
    """Round the kernels of a network in each forward pass, so that it learns to work with integers.

    The optimiser keeps the parameters as floats, and moves them along the gradient that the rounded
    kernels have. Activations stay floats; a quantiser chooses their scales after the training, on
    some images.

    Args:
        apply: The network.
        bits: As in ``round_kernels``.
        mask: As in ``round_kernels``.

    Raises:
        ValueError: ``bits`` is out of range.
        TypeError: ``apply`` or ``mask`` is not a function, or ``bits`` not an integer.

    Source: as in ``round_kernels``.

    >>> def linear(params, batch_stats, images, *, train, key=None):
    ...     return images @ params["kernel"], batch_stats
    >>> apply = quantize_aware(linear, bits=2)
    >>> kernel = jnp.array([[1.0, 0.2], [0.7, 0.5]])
    >>> apply({"kernel": kernel}, {}, jnp.ones((1, 2)), train=False)[0].tolist()
    [[2.0, 0.5]]
    """
    check_callable(apply, "apply")
    check_callable(mask, "mask")
    bits = integer(bits, "bits", minimum=2, maximum=MOST_BITS)

    def applied(params: Pytree, /, *others: Any, **options: Any) -> tuple[Array, Pytree]:
        return apply(round_kernels(params, bits=bits, mask=mask), *others, **options)

    return applied


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _rounded(kernel: Array, bits: int) -> Array:
    largest = jnp.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)), keepdims=True)
    scale = jnp.where(largest > 0, largest, 1) / (2 ** (bits - 1) - 1)
    return jnp.round(kernel / scale) * scale


@_rounded.defjvp
def _straight_through(bits: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return _rounded(*primals, bits), *tangents

"""Other rates: falling ones after the largest, and rates drawn anew at each call."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.typing import ArrayLike

from dilax._arrays import as_array
from dilax._checks import LONGEST, entries, integer, shown
from dilax._functions import depthwise_conv


def degridding_dilation(kernel_dilation: int) -> tuple[int, ...]:
    """Rates of the layers to put after one of a large rate: halved, and halved again, to one.

    The layers have no residual connection, which would carry the grid past them.

    Args:
      kernel_dilation: the rate to come down from.

    Returns:
      A rate for each layer; none after a rate of one.

    Raises:
      ValueError: if the rate is not positive, or too large for 32 bits.
      TypeError: if it is no integer.

    Source: Yu, Koltun and Funkhouser, "Dilated residual networks" (2017).

    >>> degridding_dilation(4), degridding_dilation(6)
    ((2, 1), (3, 1))
    """
    kernel_dilation = integer(kernel_dilation, "kernel_dilation", minimum=1, maximum=LONGEST)
    if kernel_dilation == 1:
        return ()
    half = kernel_dilation // 2
    return (half, *degridding_dilation(half))


def random_depthwise_conv(
    key: jax.Array,
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    rates: Sequence[int | Sequence[int]],
    **options: Any,
) -> jax.Array:
    """Depthwise convolution at a rate drawn from the key, each of ``rates`` equally likely.

    All rates are compiled, and one is run. The result must not depend on the rate in its shape:
    padding is SAME unless said otherwise.

    Args:
      key: random key; split it for a rate of their own in each layer.
      x: ``(batch..., *window, C)``.
      kernel: ``(*window, 1, C m)``.
      rates: values of kernel_dilation to draw from.
      **options: as in `dilax.depthwise_conv`.

    Returns:
      ``(batch..., *window_out, C m)``.

    Raises:
      ValueError: if there are no rates, or shapes do not fit.

    >>> import jax, jax.numpy as jnp
    >>> x, kernel = jnp.ones((2, 9, 9, 4)), jnp.ones((3, 3, 1, 4))
    >>> random_depthwise_conv(jax.random.key(0), x, kernel, rates=(1, 2, 3)).shape
    (2, 9, 9, 4)
    """
    rates = entries(rates, "rates", "values of kernel_dilation")
    if not rates:
        raise ValueError(f"rates must name at least one kernel_dilation, got {rates!r}.")
    x, kernel = as_array(x, "x"), as_array(kernel, "kernel")
    branches = [
        functools.partial(depthwise_conv, kernel_dilation=rate, **options) for rate in rates
    ]
    shapes = {jax.eval_shape(branch, x, kernel).shape for branch in branches}
    if len(shapes) > 1:
        raise ValueError(
            f"rates {shown(rates)} give results of shapes {shapes} under padding "
            f"{shown(options.get('padding'))}; required: one shape. Use padding='SAME'."
        )
    return lax.switch(jax.random.randint(key, (), 0, len(rates)), branches, x, kernel)

"""The effective receptive field: how much each input weighs, by the gradient."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dilax._arrays import as_array
from dilax._checks import check_callable, entries, integer

__all__ = ["EffectiveField", "effective_receptive_field"]


@dataclasses.dataclass(frozen=True)
class EffectiveField:
    """How much an output at ``position`` depends on each input."""

    weights: np.ndarray
    """Weight of each input, of the shape of the input's window; their sum is 1."""
    position: tuple[int, ...]
    """The output, an index for each window axis."""

    @property
    def center(self) -> tuple[float, ...]:
        """Mean place of the weight along each axis, ``sum_p weights[p] p``."""
        places = np.indices(self.weights.shape)
        return tuple(float((self.weights * place).sum()) for place in places)

    @property
    def radius(self) -> float:
        """Root mean square distance from the center, ``sqrt(sum_p weights[p] |p - center|^2)``.

        Along one axis that is the standard deviation.
        """
        return math.sqrt(float((self.weights * self._squared_distances()).sum()))

    def radius_of_share(self, share: float) -> float:
        """Give the least distance from the center within which ``share`` of the weight lies.

        Raises:
            ValueError: ``share`` is not between 0 and 1.
        """
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}.")
        distances = np.sqrt(self._squared_distances()).ravel()
        order = np.argsort(distances, kind="stable")
        inside = np.cumsum(self.weights.ravel()[order])
        place = int(np.searchsorted(inside, share - 1e-9))  # The sum of all is 1 up to rounding.
        return float(distances[order[min(place, len(order) - 1)]])

    def _squared_distances(self) -> np.ndarray:
        places = zip(np.indices(self.weights.shape), self.center, strict=True)
        return np.sum([(place - middle) ** 2 for place, middle in places], axis=0)


def effective_receptive_field(
    function: Callable[[jax.Array], jax.Array],
    x: Any,
    *,
    position: Sequence[int] | None = None,
) -> EffectiveField:
    """Measure how much each input weighs in the output at one position, over the images ``x``.

    With ``y = function(x)``, the weight of input ``p`` is::

        mean over images n and features c of |d sum_f y[n, position, f] / d x[n, p, c]|

    divided by the sum of all weights. In a network of many layers the weights are a Gaussian that
    fills a small part of the receptive field.

    Args:
        function: A network, ``(N, *window, C)`` to ``(N, *window_out, F)``; or to ``(N, F)``, whose
            outputs have no position.
        x: Typical images, ``(N, *window, C)`` of floating point.
        position: The output, an index for each window axis of the result; the central one when left
            out.

    Returns:
        The weights, with their center and radius.

    Raises:
        TypeError: ``x`` is not of floating point.
        ValueError: ``position`` does not fit the output, or no input has a gradient.

    Source: Luo et al., "Understanding the effective receptive field in deep convolutional neural
    networks" (arXiv:1701.04128).

    >>> import dilax
    >>> kernel = jnp.ones((3, 3, 1, 1))
    >>> network = lambda x: dilax.conv(dilax.conv(x, kernel), kernel)
    >>> found = effective_receptive_field(network, jnp.ones((1, 15, 15, 1)))
    >>> found.position, round(found.radius**2, 3)  # each kernel adds 2/3 along each axis
    ((7, 7), 2.667)
    """
    check_callable(function, "function")
    x = as_array(x, "x")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x must be of floating point, got {x.dtype}; integers have no gradient.")
    if not x.size:
        raise ValueError(f"x must have at least one entry, got shape {x.shape}.")
    window = jax.eval_shape(function, x).shape[1:-1]
    place = _checked_position(position, window)

    def central(x: jax.Array) -> jax.Array:
        return function(x)[(slice(None), *place)].sum()

    gradient = np.abs(np.asarray(jax.jit(jax.grad(central))(x), np.float64))
    weights = gradient.mean(axis=(0, -1))
    if not weights.sum() > 0:
        raise ValueError(
            f"function must depend on x at position {place}, got a gradient of zero everywhere; "
            f"on other images, or elsewhere, the network may not be flat."
        )
    return EffectiveField(weights / weights.sum(), place)


def _checked_position(position: Sequence[int] | None, window: tuple[int, ...]) -> tuple[int, ...]:
    if position is None:
        return tuple(n // 2 for n in window)
    given = entries(position, "position", "integers")
    place = tuple(integer(index, "position") for index in given)
    fits = len(place) == len(window) and all(
        0 <= at < n for at, n in zip(place, window, strict=True)
    )
    if not fits:
        raise ValueError(
            f"position must have one index for each window axis of the outputs {window}, each at "
            f"least 0 and less than the axis is long, got {place}."
        )
    return place

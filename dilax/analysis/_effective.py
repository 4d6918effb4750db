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
    """How much an output at ``position`` depends on each input.

    ``weights`` has the shape of the input's window, sums to one, and is the mean over images and
    features of the gradient's absolute value.
    """

    weights: np.ndarray
    position: tuple[int, ...]

    @property
    def center(self) -> tuple[float, ...]:
        """Mean place of the weight, ``sum_p weights[p] p``, for each axis."""
        return tuple(float((self._line(a) * np.arange(n)).sum()) for a, n in self._axes())

    @property
    def radius(self) -> float:
        """Root mean square distance from the center, ``sqrt(sum_p weights[p] |p - center|^2)``.

        The standard deviation, for one axis.
        """
        return math.sqrt(float((self.weights * self._squared_distances()).sum()))

    def radius_of_share(self, share: float) -> float:
        """The least distance from the center within which ``share`` of the weight lies.

        Raises:
            ValueError: if ``share`` is not between 0 and 1.
        """
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share}.")
        distances = np.sqrt(self._squared_distances()).ravel()
        order = np.argsort(distances, kind="stable")
        inside = np.cumsum(self.weights.ravel()[order])
        # The sum of all is one but for rounding.
        place = np.searchsorted(inside, share - 1e-9)
        return float(distances[order[min(int(place), len(order) - 1)]])

    def _axes(self) -> list[tuple[int, int]]:
        return list(enumerate(self.weights.shape))

    def _line(self, axis: int) -> np.ndarray:
        others = tuple(a for a in range(self.weights.ndim) if a != axis)
        return self.weights.sum(axis=others)

    def _squared_distances(self) -> np.ndarray:
        lines = [
            (np.arange(n) - middle) ** 2
            for (_, n), middle in zip(self._axes(), self.center, strict=True)
        ]
        return np.sum(np.meshgrid(*lines, indexing="ij"), axis=0)


def effective_receptive_field(
    function: Callable[[jax.Array], jax.Array],
    x: Any,
    *,
    position: Sequence[int] | None = None,
) -> EffectiveField:
    """How much each input weighs in the output at one position, averaged over the images ``x``.

    With ``y = function(x)``, the weight of input ``p`` is::

        mean over images n and features c of |d sum_f y[n, position, f] / d x[n, p, c]|

    divided by the sum of all weights. In a network of many layers it is a Gaussian that fills a
    small part of the receptive field.

    Args:
        function: a network, ``(N, *window, C)`` to ``(N, *window_out, F)``; or to ``(N, F)``, whose
            outputs are then taken as they are.
        x: ``(N, *window, C)`` of floating point: typical images.
        position: the output, an index for each window axis of the result; the central one when left
            out.

    Raises:
        TypeError: if ``x`` is not of floating point.
        ValueError: if ``position`` does not fit the output, or no input has a gradient.

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
        raise TypeError(f"x must be of floating point, to have a gradient; got {x.dtype}.")
    if not x.size:
        raise ValueError(f"x has shape {x.shape}, and no entry; required: one image at least.")
    window = jax.eval_shape(function, x).shape[1:-1]
    place = _checked_position(position, window)

    def central(x: jax.Array) -> jax.Array:
        return function(x)[(slice(None), *place)].sum()

    gradient = np.abs(np.asarray(jax.jit(jax.grad(central))(x), np.float64))
    weights = gradient.mean(axis=(0, -1))
    if not weights.sum() > 0:
        raise ValueError(
            f"no input has a gradient at position {place}; required: an output that depends on x, "
            f"and images on which the network is not flat."
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
            f"position {place} does not fit outputs of window {window}; required: an index from 0 "
            f"on for each window axis."
        )
    return place

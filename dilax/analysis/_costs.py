"""What a function costs before it runs, layer by layer, read off its jaxpr."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax

from dilax._arrays import as_array
from dilax._checks import check_callable
from dilax.analysis._cost_rows import LayerCost, rows
from dilax.analysis._table import aligned

__all__ = ["Cost", "cost", "multiply_adds", "parameter_count"]

_HEAD = (
    "layer", "shape", "runs", "kernel", "multiply-adds", "without padding", "bytes", "per byte"
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cost:
    """What each convolution and matrix product of a function costs, and all of them."""

    layers: tuple[LayerCost, ...]

    @property
    def kernel_entries(self) -> int:
        """Entries of all kernels; one that is used twice counts twice."""
        return sum(layer.kernel_entries for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds by the usual formula, those on padding counted."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def multiply_adds_without_padding(self) -> int:
        """Multiply-adds with entries that are there."""
        return sum(layer.multiply_adds_without_padding for layer in self.layers)

    @property
    def bytes_moved(self) -> int:
        """Bytes of all operands and results, if each is read or written once."""
        return sum(layer.bytes_moved for layer in self.layers)

    @property
    def intensity(self) -> float:
        """Multiply-adds a byte moved."""
        return self.multiply_adds / max(self.bytes_moved, 1)

    def __str__(self) -> str:
        """Give a table, a line for each layer and one for their sum."""
        lines = [
            (layer.title, str(layer.shape), f"{layer.runs:,}", *_numbers(layer))
            for layer in self.layers
        ]
        return aligned(_HEAD, [*lines, ("total", "", "", *_numbers(self))])


def _numbers(row: Cost | LayerCost) -> tuple[str, ...]:
    counts = (
        row.kernel_entries,
        row.multiply_adds,
        row.multiply_adds_without_padding,
        row.bytes_moved,
    )
    return (*(f"{count:,}" for count in counts), f"{row.intensity:.2f}")


def cost(function: Callable[..., Any], *args: Any) -> Cost:
    """What every convolution and matrix product in ``function(*args)`` costs.

    By the usual formula a convolution costs its output's entries times the kernel's entries that
    each of them sees, ``k C / groups``; a matrix product its output's entries times the length of
    the sums. Beside it stands the count without the taps that fall on padding, or into the holes of
    a dilated input. Loops count as often as they run; of branches, the dearest counts. Nothing is
    computed: ``args`` may be ``jax.ShapeDtypeStruct``.

    Raises:
        ValueError: if a ``while_loop``, which runs nobody knows how often, holds one of them.

    >>> import dilax, jax.numpy as jnp
    >>> found = cost(lambda x, w: dilax.depthwise_conv(x, w), jnp.ones((1, 8, 8, 4)),
    ...              jnp.ones((3, 3, 1, 4)))
    >>> found.multiply_adds, found.multiply_adds_without_padding, found.bytes_moved
    (2304, 1936, 2192)
    """
    check_callable(function, "function")
    for leaf in jax.tree.leaves(args):
        if not hasattr(leaf, "dtype"):
            as_array(leaf, "each of args")
    return Cost(tuple(rows(jax.make_jaxpr(function)(*args).jaxpr)))


def multiply_adds(function: Callable[..., Any], *args: Any) -> int:
    """Multiply-adds of all convolutions and matrix products in ``function(*args)``.

    The total of `cost` by the usual formula, those that fall on padding too.

    Raises:
        ValueError: if a ``while_loop``, which runs nobody knows how often, holds one of them.

    >>> import dilax, jax.numpy as jnp
    >>> multiply_adds(lambda x, w: dilax.depthwise_conv(x, w), jnp.ones((1, 8, 8, 4)),
    ...               jnp.ones((3, 3, 1, 4)))
    2304
    """
    return cost(function, *args).multiply_adds


def parameter_count(tree: Any) -> int:
    """Entries in all arrays of a pytree.

    >>> import jax.numpy as jnp
    >>> parameter_count({"kernel": jnp.ones((3, 3, 1, 16)), "bias": jnp.ones(16)})
    160
    """
    leaves = [
        leaf if hasattr(leaf, "shape") else as_array(leaf, "each leaf of tree")
        for leaf in jax.tree.leaves(tree)
    ]
    return sum(math.prod(leaf.shape) for leaf in leaves)

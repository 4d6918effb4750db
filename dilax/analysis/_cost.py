"""What a function costs before it runs, layer by layer, read off its jaxpr."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import Jaxpr, JaxprEqn

from dilax import _primitives
from dilax._arrays import as_array
from dilax._checks import check_callable
from dilax._jaxprs import inner_programs, label, opened, source_line
from dilax.algorithms._shift_and_add import window_sums
from dilax.analysis._table import aligned
from dilax.analysis._windows import Window, conv_windows

__all__ = ["Cost", "LayerCost", "cost", "multiply_adds", "parameter_count"]

_HEAD = (
    "layer", "output shape", "runs", "kernel entries", "multiply-adds", "without padding",
    "bytes moved", "multiply-adds / byte",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What one convolution or matrix product costs, all its runs together."""

    name: str
    """Its named scopes."""
    primitive: str
    """The JAX primitive that computes it."""
    source: str
    """The line of code that made it."""
    shape: tuple[int, ...]
    """Shape of its output."""
    runs: int
    """How often it runs, in loops around it."""
    kernel_entries: int
    """Entries of the kernel; of a product without batch axes, those of its second operand."""
    multiply_adds: int
    """Multiply-adds by the usual formula, those on padding counted."""
    multiply_adds_without_padding: int
    """Multiply-adds without those on padding or in the holes of a dilated input."""
    bytes_moved: int
    """Bytes of both operands and the output, if each is read or written once."""

    @property
    def intensity(self) -> float:
        """Multiply-adds for each byte moved."""
        return self.multiply_adds / max(self.bytes_moved, 1)

    @property
    def title(self) -> str:
        """The name; of a layer without one, the primitive and the line."""
        return self.name or f"{self.primitive} at {self.source}"


@dataclasses.dataclass(frozen=True)
class Cost:
    """What each convolution and matrix product of a function costs, and all of them together."""

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
        """Multiply-adds without those on padding or in the holes of a dilated input."""
        return sum(layer.multiply_adds_without_padding for layer in self.layers)

    @property
    def bytes_moved(self) -> int:
        """Bytes of all operands and outputs, if each is read or written once."""
        return sum(layer.bytes_moved for layer in self.layers)

    @property
    def intensity(self) -> float:
        """Multiply-adds for each byte moved."""
        return self.multiply_adds / max(self.bytes_moved, 1)

    def __str__(self) -> str:
        """Give a table with a line for each layer, and one for their sum."""
        lines = [
            (layer.title, str(layer.shape), f"{layer.runs:,}", *_numbers(layer))
            for layer in self.layers
        ]
        return aligned(_HEAD, [*lines, ("total", "", "", *_numbers(self))])


def _numbers(row: Cost | LayerCost) -> tuple[str, ...]:
    usual, without_padding = row.multiply_adds, row.multiply_adds_without_padding
    counts = (row.kernel_entries, usual, without_padding, row.bytes_moved)
    return (*(f"{count:,}" for count in counts), f"{row.intensity:.2f}")


def cost(function: Callable[..., Any], *args: Any) -> Cost:
    """Count what every convolution and matrix product in ``function(*args)`` costs.

    By the usual formula a convolution costs its output's entries times the kernel's entries that
    each of them meets, ``k C / groups``, and a matrix product its output's entries times the length
    of the contraction. Beside it stands the count without the taps that fall on padding.

    - Both gradients of a convolution of dilax count what the convolution counts: each multiplies
      the same triples of an input, a tap and an output.
    - A transposed convolution counts its input's entries times the kernel's, as the convolution
      counts of which it is the transpose: the holes that its strides leave are no work. So does the
      input gradient of a convolution of lax with strides.
    - The input gradient of a convolution of lax without strides is a convolution like any other:
      where no padding was, the formula counts taps on padding. The count without padding is the
      same for all passes, of dilax and of lax.

    A loop's body counts as often as it runs; of several branches, the most expensive counts.
    Nothing is computed: ``args`` may be ``jax.ShapeDtypeStruct``.

    Args:
        function: Any JAX function.
        args: Its arguments, any pytrees of arrays.

    Returns:
        The cost of each layer, and their sums; printed, a table.

    Raises:
        ValueError: There is a convolution or product in a ``while_loop``, of which it is unknown
            how often it runs.

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
    return Cost(tuple(_rows(jax.make_jaxpr(function)(*args).jaxpr, runs=1, prefix="")))


def multiply_adds(function: Callable[..., Any], *args: Any) -> int:
    """Count the multiply-adds of all convolutions and matrix products in ``function(*args)``.

    That is the total of ``cost`` by the usual formula, multiply-adds on padding included.

    Args:
        function: Any JAX function.
        args: Its arguments, any pytrees of arrays.

    Raises:
        ValueError: There is a convolution or product in a ``while_loop``, of which it is unknown
            how often it runs.

    >>> import dilax, jax.numpy as jnp
    >>> multiply_adds(lambda x, w: dilax.depthwise_conv(x, w), jnp.ones((1, 8, 8, 4)),
    ...               jnp.ones((3, 3, 1, 4)))
    2304
    """
    return cost(function, *args).multiply_adds


def parameter_count(tree: Any) -> int:
    """Count the entries of all arrays in a pytree.

    Args:
        tree: A pytree of arrays, such as the parameters of a network.

    >>> import jax.numpy as jnp
    >>> parameter_count({"kernel": jnp.ones((3, 3, 1, 16)), "bias": jnp.ones(16)})
    160
    """
    leaves = [
        leaf if hasattr(leaf, "shape") else as_array(leaf, "each leaf of tree")
        for leaf in jax.tree.leaves(tree)
    ]
    return sum(math.prod(leaf.shape) for leaf in leaves)


def _rows(jaxpr: Jaxpr, *, runs: int, prefix: str) -> list[LayerCost]:
    """A row for each convolution and product, in order."""
    return [row for equation in jaxpr.eqns for row in _rows_of(equation, runs, prefix)]


def _rows_of(equation: JaxprEqn, runs: int, prefix: str) -> Iterator[LayerCost]:
    name, inside = equation.primitive.name, label(prefix, equation)
    if (counts := _counts(equation)) is not None:
        kernel_entries, usual, without_padding = counts
        arrays: list[Any] = [v.aval for v in (*equation.invars[:2], equation.outvars[0])]
        yield LayerCost(
            inside,
            name,
            source_line(equation),
            tuple(arrays[2].shape),
            runs,
            kernel_entries,
            runs * usual,
            runs * without_padding,
            runs * sum(math.prod(one.shape) * one.dtype.itemsize for one in arrays),
        )
        return
    runs = runs * equation.params["length"] if name == "scan" else runs
    parts = [
        _rows(opened(program), runs=runs, prefix=inside) for program in inner_programs(equation)
    ]
    if name == "while" and any(parts):
        raise ValueError(
            "function must not hold convolutions or products in a while_loop, whose number of "
            f"rounds is unknown before it runs, got one at {source_line(equation)}. Use lax.scan "
            "or a fori_loop of fixed length, or count its body by itself."
        )
    if name == "cond":
        parts = [max(parts, key=lambda part: sum(row.multiply_adds for row in part))]
    for part in parts:
        yield from part


def _counts(equation: JaxprEqn) -> tuple[int, int, int] | None:
    """Kernel entries, multiply-adds, and those without padding; None for all but these layers.

    A pool is no layer, though it may be computed as a convolution by ones.
    """
    params = equation.params
    if equation.primitive in _primitives.PRIMITIVES:
        return None if params["algorithm"] is window_sums else _of_dilax(equation)
    variables: list[Any] = [*equation.invars, *equation.outvars]
    shapes = [variable.aval.shape for variable in variables]
    if equation.primitive.name == "conv_general_dilated":
        x, kernel, out = (
            [shape[axis] for axis in axes]
            for shape, axes in zip(shapes, params["dimension_numbers"], strict=True)
        )  # batch or out features, features, *window
        pairs = _pairs(conv_windows(params, shapes[1]), x[2:], out[2:])
        others = math.prod(out[:2]) * kernel[1]
        sizes = [math.prod(kernel[2:]), math.prod(out[2:])]
        if max(params["lhs_dilation"], default=1) > 1:
            _, *sizes = sorted([*sizes, math.prod(x[2:])], reverse=True)  # Holes are no work.
        return math.prod(kernel), others * math.prod(sizes), others * pairs
    if equation.primitive.name == "dot_general":
        (contracted, _), (batch, _) = params["dimension_numbers"]
        count = math.prod(shapes[2]) * math.prod(shapes[0][axis] for axis in contracted)
        return (0 if batch else math.prod(shapes[1])), count, count
    return None


def _of_dilax(equation: JaxprEqn) -> tuple[int, int, int]:
    """Each of the three passes multiplies the same pairs of an output, an input and a tap."""
    roles = _primitives.roles(equation.primitive)
    variables: list[Any] = [*equation.invars, equation.outvars[0]]
    shapes = {role: array.aval.shape for role, array in zip(roles, variables, strict=True)}
    geometry = equation.params["geometry"]
    windows = conv_windows(equation.params, geometry.kernel_size)
    pairs = _pairs(windows, geometry.input_size, geometry.output_size)
    kernel_entries = math.prod(shapes["w"]) if roles[2] != "w" else 0
    in_channels_per_group, (batch, *_, features) = shapes["w"][-2], shapes["g"]
    usual = math.prod(shapes["g"]) * geometry.taps * in_channels_per_group
    return kernel_entries, usual, batch * features * in_channels_per_group * pairs


def _pairs(windows: Sequence[Window], inputs: Sequence[int], outputs: Sequence[int]) -> int:
    """How many pairs of an output and a tap meet an input, over all axes together."""
    sizes = zip(windows, inputs, outputs, strict=True)
    return math.prod(window.pairs(n, m) for window, n, m in sizes)

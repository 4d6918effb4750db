"""The receptive field of any JAX function, read off its jaxpr."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from dilax._arrays import as_array
from dilax._checks import check_callable, entries, integer
from dilax._jaxprs import failing_line
from dilax.analysis import _rules, _rules_constants, _rules_indices, _rules_loops
from dilax.analysis._field import Field, source
from dilax.analysis._summary import AxisField, box_of, summarised
from dilax.analysis._table import aligned
from dilax.analysis._tables import table, tables
from dilax.analysis._trace import Layer, Rules, Shape, Trace, seen_of

__all__ = ["ArrayField", "ReceptiveField", "receptive_field"]

_RULES = Rules(
    reads={**_rules.READS, **_rules_constants.READS, **_rules_indices.READS},
    others={**_rules.OTHERS, **_rules_constants.OTHERS, **_rules_loops.OTHERS},
    layers=frozenset(_rules.LAYERS),
    sums=frozenset(_rules.SUMS),
)


@dataclasses.dataclass(frozen=True)
class ArrayField:
    """What an array inside a function, or an output of it, sees of the input."""

    name: str
    """Named scopes of a layer, or the place of an output in the result."""
    primitive: str
    """The JAX primitive of a layer; empty for an output."""
    source: str
    """The line of code that made a layer; empty for an output."""
    shape: Shape
    axes: tuple[AxisField, ...]
    """An entry for each axis of the input that was followed."""
    seen: tuple[Field, ...] = dataclasses.field(repr=False, compare=False)

    @property
    def title(self) -> str:
        """The name; of a layer without one, the primitive and the line."""
        return self.name or f"{self.primitive} at {self.source}"

    def interval(self, *position: int) -> tuple[tuple[int, int], ...]:
        """First and last input that the entry at ``position`` sees, for each axis of the input.

        Padding counts as input: the first may be negative, and the last beyond the input's end.
        ``(0, -1)`` if the entry sees none.

        Raises:
            ValueError: ``position`` has not one index for each axis of the array.
        """
        if len(position) != len(self.shape):
            raise ValueError(
                f"position must have one index for each axis of an array of shape {self.shape}, "
                f"got {len(position)} indices."
            )
        found = []
        for field in self.seen:
            at = {axis: int(position[axis]) for axis in field.axes}
            first, last = table(field, {axis: (index, index + 1) for axis, index in at.items()})
            found.append((int(first.item()), int(last.item())))
        return tuple((first, last) if first <= last else (0, -1) for first, last in found)


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of every output of a function, and of each layer on the way to it."""

    outputs: tuple[ArrayField, ...]
    layers: tuple[ArrayField, ...]
    """Convolutions, pools, and sums along an axis that is followed, in order."""
    assumptions: tuple[str, ...]
    """Where a field given is larger than that of some entries, or may be, and why."""

    def __str__(self) -> str:
        """Give a table with a line for each layer, each output, and each axis of the input."""
        head = ("array", "shape", "input axis", "size", "stride", "start", "padding")
        rows = [
            (array.title, str(array.shape), *map(str, dataclasses.astuple(axis)[:-1]))
            for array in (*self.layers, *self.outputs)
            for axis in array.axes
        ]
        return "\n".join([aligned(head, rows), *(f"assumed: {one}" for one in self.assumptions)])


def receptive_field(
    function: Callable[[Any], Any], x: Any, *, axes: Sequence[int] | None = None
) -> ReceptiveField:
    """Find which entries of ``x`` the outputs of ``function(x)`` see, along each of ``axes``.

    The function is traced, not run, and may come from any library. The field reaches from the first
    input seen to the last (``coverage`` tells what lies between). It is that of an output entry
    with all its features, far from the border: padding counts as input. What several branches see
    is joined. Each axis is followed by itself: that a branch sees nothing where it meets a hole of
    a dilated input along one axis does not make its field along another smaller.

    Where entries move unevenly, as after a resize between sizes that share no factor, the size is
    the largest of any entry and the stride the mean, which ``assumptions`` says;
    ``ArrayField.interval`` is exact for each entry. What a constant matrix or mask multiplies by
    zero is not seen, unless all of the constant is zero.

    Args:
        function: Takes one array; its outputs may be any pytree of arrays.
        x: An array ``(batch, *window, features)``, or a ``jax.ShapeDtypeStruct``.
        axes: Axes of ``x`` to follow; all but the first and the last when left out.

    Returns:
        The field of every output and of every layer; printed, a table.

    Raises:
        ValueError: An output does not depend on ``x``, an axis does not exist, or the function
            applies an operation through which the field cannot be followed, or has shapes that
            depend on values.

    Source: Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks"
    (Distill, 2019).

    >>> import dilax, jax, jax.numpy as jnp
    >>> def network(x):
    ...     x = dilax.depthwise_conv(x, jnp.ones((3, 3, 1, 4)), kernel_dilation=2)
    ...     return dilax.max_pool(x, (2, 2), strides=2)
    >>> found = receptive_field(network, jax.ShapeDtypeStruct((1, 28, 28, 4), jnp.float32))
    >>> [(axis.size, axis.stride, axis.start) for axis in found.outputs[0].axes]
    [(6, Fraction(2, 1), -2), (6, Fraction(2, 1), -2)]
    """
    check_callable(function, "function")
    x = x if hasattr(x, "shape") else as_array(x, "x")
    shape = tuple(x.shape)
    followed = _checked_axes(axes, len(shape))
    closed, result = _traced(function, x)
    trace = Trace(_RULES)
    found = trace.run(closed, [tuple(source(shape[axis], axis) for axis in followed)])
    leaves = jax.tree_util.tree_flatten_with_path(result)[0]
    outputs = [
        Layer("output" + jax.tree_util.keystr(path), "", "", leaf.shape, seen_of(value))
        for (path, leaf), value in zip(leaves, found, strict=True)
    ]
    arrays = [*trace.layers, *outputs]
    measured = _measured(arrays, followed)
    for output, numbers in zip(outputs, measured[len(trace.layers) :], strict=True):
        if numbers is None:
            raise ValueError(
                f"function gives an {output.name} that does not depend on x; every output must. "
                f"Leave it out of the result."
            )
        for axis, remarks in numbers:
            for what in remarks:
                place = f"{output.name}: along input axis {axis.axis}"
                trace.assumptions.setdefault(f"{place}, {what}")
    fields = [
        ArrayField(**array._asdict(), axes=tuple(axis for axis, _ in numbers))
        for array, numbers in zip(arrays, measured, strict=True)
        if numbers
    ]
    count = len(fields) - len(outputs)
    return ReceptiveField(tuple(fields[count:]), tuple(fields[:count]), tuple(trace.assumptions))


def _measured(
    layers: Sequence[Layer], followed: Sequence[int]
) -> list[list[tuple[AxisField, tuple[str, ...]]] | None]:
    """The fields of every layer in numbers; None where nothing is seen."""
    asked = [(field, box_of(field, layer.shape)) for layer in layers for field in layer.seen or ()]
    ends = iter(tables(asked))
    found = []
    for layer in layers:
        own = [
            summarised(field, axis, layer.shape, next(ends))
            for axis, field in zip(followed, layer.seen or (), strict=False)
        ]
        seen = [summary for summary in own if summary is not None]
        found.append(seen if seen and len(seen) == len(own) else None)
    return found


def _traced(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    try:
        return jax.make_jaxpr(function, return_shape=True)(x)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
        raise ValueError(
            f"function cannot be traced: at {failing_line(error)} a shape or a Python branch "
            f"depends on the values of x; it must depend on shapes alone, with lax.cond or "
            f"jnp.where for branches."
        ) from error


def _checked_axes(axes: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    given = range(1, rank - 1) if axes is None else entries(axes, "axes", "integers")
    chosen = tuple(integer(axis, "each of axes") for axis in given)
    if not chosen or not all(-rank <= axis < rank for axis in chosen):
        raise ValueError(
            f"axes must be at least one of the {rank} axes of x, got {chosen}; left out, they are "
            f"all but the first and the last."
        )
    return tuple(axis % rank for axis in chosen)

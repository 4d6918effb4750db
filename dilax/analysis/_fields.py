"""The receptive field of any JAX function, read off its jaxpr."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax

from dilax._arrays import as_array
from dilax._checks import check_callable, entries, integer
from dilax._jaxprs import failing_line
from dilax.analysis import (
    _rules_control,
    _rules_indices,
    _rules_shapes,
    _rules_sums,
    _rules_windows,
)
from dilax.analysis._field import Field, Shape, follow
from dilax.analysis._summary import Summary, summarised
from dilax.analysis._table import aligned
from dilax.analysis._trace import Seen, Trace, given

__all__ = ["ArrayField", "AxisField", "ReceptiveField", "receptive_field"]

_RULES = {
    **_rules_shapes.RULES,
    **_rules_windows.RULES,
    **_rules_sums.RULES,
    **_rules_indices.RULES,
    **_rules_control.RULES,
}


@dataclasses.dataclass(frozen=True)
class AxisField:
    """What an array sees along one axis of the input.

    Its entry ``i`` along ``follows`` sees the inputs from ``start + stride i`` on, ``size`` of them
    from first to last. Where the entries differ in size, as after a transposed convolution,
    ``size`` is the largest; `ArrayField.interval` is exact for each.
    """

    axis: int
    """The axis of the input."""
    size: int
    """Inputs from the first to the last that is seen."""
    stride: Fraction
    """Inputs from one entry to the next (the *jump*); 0 if all see the same."""
    start: int
    """The first input that entry 0 sees; negative in the padding."""
    padding: tuple[int, int]
    """Inputs before the first and beyond the last that the field of some entry reaches."""
    follows: tuple[int, ...]
    """Axes of the array along which the field moves, the fastest first."""


@dataclasses.dataclass(frozen=True)
class ArrayField:
    """What an array inside or at the end of a function sees of the input."""

    name: str
    """Named scopes of a layer, or the place of an output in the result."""
    primitive: str
    source: str
    """The line that made a layer."""
    shape: Shape
    axes: tuple[AxisField, ...]
    fields: tuple[Field, ...] = dataclasses.field(repr=False, compare=False)

    @property
    def title(self) -> str:
        """The name, or where a layer without a name comes from."""
        return self.name or f"{self.primitive} at {self.source}"

    def interval(self, *position: int) -> tuple[tuple[int, int], ...]:
        """First and last input that one entry sees, for each axis, padding counted.

        ``(0, -1)`` if it sees none.

        Raises:
            ValueError: if ``position`` has not an index for each axis of the array.
        """
        if len(position) != len(self.shape):
            raise ValueError(
                f"position has {len(position)} indices; required: one for each axis of an array "
                f"of shape {self.shape}."
            )
        return tuple(field.at(position) for field in self.fields)


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of every output of a function and of each layer on the way to it."""

    outputs: tuple[ArrayField, ...]
    layers: tuple[ArrayField, ...]
    """Convolutions, pools, and sums along an axis that is followed, in order."""
    assumptions: tuple[str, ...]
    """Where the field given may be larger than the true one, and why."""

    def __str__(self) -> str:
        """Give a table, a line for each layer and each axis of the input."""
        head = ("array", "shape", "axis", "size", "stride", "start", "padding")
        rows = [
            (array.title, str(array.shape), *map(str, dataclasses.astuple(axis)[:-1]))
            for array in (*self.layers, *self.outputs)
            for axis in array.axes
        ]
        return "\n".join([aligned(head, rows), *(f"assumed: {one}" for one in self.assumptions)])


def receptive_field(
    function: Callable[[Any], Any], x: Any, *, axes: Sequence[int] | None = None
) -> ReceptiveField:
    """Which entries of ``x`` the outputs of ``function(x)`` see, along each of ``axes``.

    The function is traced, not run, and may come from any library. The field is a hull, first to
    last input seen (`coverage` tells what lies between), of an entry with all its features, far
    from the border: padding counts as input. Branches are joined.

    Args:
        function: takes one array; its outputs may be any pytree of arrays.
        x: an array ``(batch, *window, features)``, or a ``jax.ShapeDtypeStruct``.
        axes: axes of ``x`` to follow; all but the first and the last when left out.

    Raises:
        ValueError: if an output does not depend on ``x``, an axis does not exist, or the function
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
    seen: Seen = tuple(follow(shape[axis], axis) for axis in followed)
    found = trace.run(closed.jaxpr, list(map(given, closed.consts)), [seen], [None])
    paths = [
        "output" + jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_flatten_with_path(result)[0]
    ]
    shapes = [leaf.shape for leaf in jax.tree.leaves(result)]
    outputs = [
        _array(trace, path, "", "", shape, _must_see(path, one), followed)
        for path, shape, one in zip(paths, shapes, found, strict=True)
    ]
    layers = [_array(None, *row, followed) for row in trace.layers]
    return ReceptiveField(tuple(outputs), tuple(layers), tuple(trace.assumptions))


def _traced(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    try:
        return jax.make_jaxpr(function, return_shape=True)(x)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
        raise ValueError(
            f"function cannot be traced, for at {failing_line(error)} a shape or a branch of "
            f"Python depends on the values of x; required: shapes that depend on shapes alone, and "
            f"lax.cond or jnp.where for branches."
        ) from error


def _checked_axes(axes: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    given = range(1, rank - 1) if axes is None else entries(axes, "axes", "integers")
    chosen = tuple(integer(axis, "each of axes") for axis in given)
    if not chosen or not all(-rank <= axis < rank for axis in chosen):
        raise ValueError(
            f"axes {chosen} do not fit x of {rank} axes; required: at least one, of those that x "
            f"has. Left out, they are all but the first and the last."
        )
    return tuple(axis % rank for axis in chosen)


def _must_see(path: str, seen: Seen) -> Seen:
    if seen is None:
        raise ValueError(
            f"function gives an {path} that does not depend on x; required: outputs that do. "
            f"Leave it out of the result."
        )
    return seen


def _array(
    trace: Trace | None,
    name: str,
    primitive: str,
    source: str,
    shape: Shape,
    seen: Seen,
    followed: Sequence[int],
) -> ArrayField:
    summaries = [summarised(field, shape) for field in seen or ()]
    axes = tuple(map(_axis, followed, summaries))
    if trace is not None:
        for axis, summary in zip(followed, summaries, strict=True):
            if summary.border:
                said = f"{name}: along axis {axis}, entries near the border see otherwise"
                trace.assumptions.setdefault(said)
    return ArrayField(name, primitive, source, shape, axes, seen or ())


def _axis(axis: int, summary: Summary) -> AxisField:
    fields = dataclasses.asdict(summary)
    del fields["border"]
    return AxisField(axis=axis, **fields)

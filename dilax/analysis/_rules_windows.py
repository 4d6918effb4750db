"""What an array sees after a computation over many entries: windows, sums, products, transforms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dilax.analysis._field import Field, Shape
from dilax.analysis._rules_shapes import along, without
from dilax.analysis._trace import Equation, Rule, Seen, collapsed, each
from dilax.analysis._walk import NOTHING


def conv_general_dilated(step: Equation) -> list[Seen]:
    """Windows along the spatial axes; of the features, those of the group."""
    params, (shape, kernel), (out,) = step.params, step.shapes, step.out_shapes
    numbers = params["dimension_numbers"]
    batches, groups = params["batch_group_count"], params["feature_group_count"]
    (batch, feature, *spatial), taps = numbers.lhs_spec, numbers.rhs_spec[2:]
    axes = dict(zip(numbers.lhs_spec, numbers.out_spec, strict=True))

    def change(field: Field) -> Field:
        if batches > 1:
            field = field.collapsed([batch, feature], shape)
        field = _grouped(field, feature, shape[feature], groups, out[axes[feature]])
        for place, axis in enumerate(spatial):
            field = along(
                field,
                axis,
                out[axes[axis]],
                step=params["window_strides"][place],
                first=-params["padding"][place][0],
                taps=kernel[taps[place]],
                spacing=params["rhs_dilation"][place],
                base=params["lhs_dilation"][place],
            )
        return field.renumbered(axes)

    seen = step.joined(each(step.seen[0], change), step.everywhere(1), out)
    step.record(seen)
    return [seen]


def _grouped(field: Field, axis: int, features: int, groups: int, outputs: int) -> Field:
    """Each output feature sees the input features of its group."""
    if groups == 1 or axis not in field.walks:
        return field.collapsed([axis], (features,) * (axis + 1))
    low, high = field.walks[axis].at(np.arange(features))
    low, high = low.reshape(groups, -1).min(axis=1), high.reshape(groups, -1).max(axis=1)
    repeats = outputs // groups
    return field.table(axis, low.repeat(repeats), high.repeat(repeats))


def dilax_conv(step: Equation) -> list[Seen]:
    """As lax's, with channels last."""
    geometry = step.params["geometry"]
    out = step.out_shapes[0]

    def change(field: Field) -> Field:
        last, groups = len(out) - 1, geometry.feature_group_count
        field = _grouped(field, last, step.shapes[0][last], groups, out[last])
        for place in range(geometry.rank):
            field = along(
                field,
                1 + place,
                out[1 + place],
                step=geometry.strides[place],
                first=-geometry.padding[place][0],
                taps=geometry.kernel_size[place],
                spacing=geometry.kernel_dilation[place],
            )
        return field

    seen = step.joined(each(step.seen[0], change), step.everywhere(1), out)
    step.record(seen)
    return [seen]


def dilax_input_gradient(step: Equation) -> list[Seen]:
    """Input ``p`` sees the outputs ``i`` with ``stride i + dilation t - low = p``."""
    geometry = step.params["geometry"]
    out = step.out_shapes[0]

    def change(field: Field) -> Field:
        last, groups = len(out) - 1, geometry.feature_group_count
        field = _grouped(field, last, step.shapes[0][last], groups, out[last])
        for place in range(geometry.rank):
            low, dilation = geometry.padding[place][0], geometry.kernel_dilation[place]
            field = along(
                field,
                1 + place,
                out[1 + place],
                first=low - (geometry.kernel_size[place] - 1) * dilation,
                taps=geometry.kernel_size[place],
                spacing=dilation,
                base=geometry.strides[place],
            )
        return field

    seen = step.joined(each(step.seen[0], change), step.everywhere(1), out)
    step.record(seen)
    return [seen]


def everything(step: Equation) -> list[Seen]:
    """Each entry is taken to see all that the operands see."""
    seen: Seen = None
    for number in range(len(step.seen)):
        seen = step.joined(seen, step.everywhere(number), ())
    return [seen] * len(step.out_shapes)


def kernel_gradient(step: Equation) -> list[Seen]:
    """A sum over all positions: the whole of both arrays."""
    step.assume("whole axis assumed")
    return everything(step)


def reduce_window(step: Equation) -> list[Seen]:
    """Windows along every axis."""
    arrays = len(step.out_shapes)
    seen: Seen = None
    for number in range(len(step.seen)):
        pooled = _pooled(step, number) if number < arrays else step.everywhere(number)
        seen = step.joined(seen, pooled, step.out_shapes[0])
    step.record(seen)
    return [seen] * arrays


def _pooled(step: Equation, number: int) -> Seen:
    params, shape = step.params, step.out_shapes[0]
    ones = (1,) * len(shape)

    def change(field: Field) -> Field:
        for axis in range(len(shape)):
            field = along(
                field,
                axis,
                shape[axis],
                step=params["window_strides"][axis],
                first=-params["padding"][axis][0],
                taps=params["window_dimensions"][axis],
                spacing=params.get("window_dilation", ones)[axis],
                base=params.get("base_dilation", ones)[axis],
            )
        return field

    return each(step.seen[number], change)


def select_and_scatter_add(step: Equation) -> list[Seen]:
    """The gradient of a maximum pool: a source goes to one entry of its window."""
    params, (source, operand), (out,) = step.params, step.shapes[:2], step.out_shapes
    columns = list(zip(*(params[k] for k in ("window_dimensions", "window_strides", "padding")),
                       strict=True))  # fmt: skip

    def back(field: Field) -> Field:
        for axis, (size, stride, (low, _)) in enumerate(columns):
            field = along(field, axis, out[axis], first=low - size + 1, taps=size, base=stride)
        return field

    def there(field: Field) -> Field:
        for axis, (size, stride, (low, _)) in enumerate(columns):
            field = along(field, axis, source[axis], step=stride, first=-low, taps=size)
        return back(field)

    del operand
    return [step.joined(each(step.seen[0], back), each(step.seen[1], there), out)]


def reduction(step: Equation) -> list[Seen]:
    """Axes summed out: the whole of them."""
    axes = step.params["axes"] if "axes" in step.params else step.params["dimensions"]
    arrays = len(step.out_shapes)
    seen: Seen = None
    for number, one in enumerate(step.seen):
        part = without(one, axes, step.shapes[number]) if number < arrays else one
        seen = step.joined(seen, part, step.out_shapes[0])
    if _followed(step.seen[0], axes):
        step.record(seen)
    return [seen] * arrays


def _followed(seen: Seen, axes: Sequence[int]) -> bool:
    """Whether the field moves along an axis at a steady rate."""
    return any(not w.bounded for field in seen or () for a, w in field.walks.items() if a in axes)


def dot_general(step: Equation) -> list[Seen]:
    """Contracted axes whole, or a band where the other operand is a table of constants."""
    contracted, batch = step.params["dimension_numbers"]
    out = step.out_shapes[0]
    seen: Seen = None
    for side in (0, 1):
        rank, others = len(step.shapes[side]), len(step.shapes[1 - side])
        gone, shared = contracted[side], batch[side]
        free = [a for a in range(rank) if a not in (*gone, *shared)]
        first = len(shared) + (side and others - len(gone) - len(shared))
        axes = {axis: place for place, axis in enumerate(shared)}
        axes |= {axis: first + place for place, axis in enumerate(free)}
        part = _banded(step, side, axes) if len(gone) == 1 and not shared else None
        if part is None:
            part = collapsed(step.seen[side], gone, step.shapes[side])
            part = each(part, lambda field, axes=axes: field.renumbered(axes))  # type: ignore[misc]
        seen = step.joined(seen, part, out)
    return [seen]


def _banded(step: Equation, side: int, axes: dict[int, int]) -> Seen:
    """What is seen through weights that no argument and no parameter has a part in."""
    (axis,) = step.params["dimension_numbers"][0][side]
    (other,) = step.params["dimension_numbers"][0][1 - side]
    weights, shape = step.constants[1 - side], step.shapes[1 - side]
    seen = step.seen[side]
    followed = any(axis in field.walks for field in seen or ())
    if not followed or weights is None or not weights.of_literals or len(shape) != 2:
        return None
    table = np.moveaxis(np.asarray(weights.compute()), other, 0) != 0
    target = 0 if side else len(step.out_shapes[0]) - 1
    return each(seen, lambda field: _through(field, axis, table, axes, target))


def _through(
    field: Field, axis: int, table: np.ndarray, axes: dict[int, int], target: int
) -> Field:
    rest = {a: walk for a, walk in field.walks.items() if a != axis}
    if axis not in field.walks:
        return field.renumbered(axes)
    low, high = (end[:, None] for end in field.walks[axis].at(np.arange(len(table))))
    low = np.where(table, low, NOTHING).min(axis=0)
    high = np.where(table, high, -NOTHING).max(axis=0)
    kept = Field(field.length, field.interval, rest).renumbered(axes)
    return kept.table(target, low, high)


def cumulative(step: Equation) -> list[Seen]:
    """All up to here, or from here on."""
    axis, backward = step.params["axis"], step.params["reverse"]
    size = step.out_shapes[0][axis]

    def change(field: Field) -> Field:
        if axis not in field.walks:
            return field
        low, high = field.walks[axis].at(np.arange(size)[:: -1 if backward else 1])
        low, high = np.minimum.accumulate(low), np.maximum.accumulate(high)
        turned = slice(None, None, -1 if backward else 1)
        return field.table(axis, low[turned], high[turned])

    return [each(step.seen[0], change)]


def whole_axes(step: Equation, axes: Sequence[int]) -> list[Seen]:
    """Every result sees the whole of some axes of all operands."""
    seen: Seen = None
    for one, shape in zip(step.seen, step.shapes, strict=True):
        seen = step.joined(seen, collapsed(one, axes, shape), step.out_shapes[0])
    return [seen] * len(step.out_shapes)


def sort(step: Equation) -> list[Seen]:
    """Anywhere along the axis it may come from."""
    return whole_axes(step, [step.params["dimension"]])


def top_k(step: Equation) -> list[Seen]:
    """Anywhere along the axis it may come from."""
    return whole_axes(step, [_last(step.shapes[0])])


def fft(step: Equation) -> list[Seen]:
    """The last axes whole."""
    rank = len(step.shapes[0])
    return whole_axes(step, range(rank - len(step.params["fft_lengths"]), rank))


def _last(shape: Shape) -> int:
    return len(shape) - 1


_REDUCTIONS = ["sum", "max", "min", "prod", "and", "or", "xor"]

RULES: dict[str, Rule] = {
    "conv_general_dilated": conv_general_dilated,
    "dilax_conv": dilax_conv,
    "dilax_input_gradient": dilax_input_gradient,
    "dilax_kernel_gradient": kernel_gradient,
    **dict.fromkeys(
        ("reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min"),
        reduce_window,
    ),
    "select_and_scatter_add": select_and_scatter_add,
    **{f"reduce_{name}": reduction for name in _REDUCTIONS},
    **dict.fromkeys(("reduce", "argmax", "argmin"), reduction),
    "dot_general": dot_general,
    **{f"cum{name}": cumulative for name in ("sum", "prod", "max", "min", "logsumexp")},
    "sort": sort,
    "top_k": top_k,
    "fft": fft,
}

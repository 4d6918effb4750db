"""What an array sees after windows: convolutions, pools, and their gradients."""

from __future__ import annotations

import numpy as np

from dilax.analysis._field import Field
from dilax.analysis._rules_shapes import along
from dilax.analysis._trace import Equation, Rule, Seen, each


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
}

"""What operations must give, by loops and NumPy: independent of dilax, and of XLA."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from tests import cases, reference


def floats(*shape: int) -> np.ndarray:
    return np.asarray(cases.draw(shape)[0], np.float32)


def convolve(
    x: Any,
    kernel: Any,
    *,
    strides: Any = 1,
    padding: Any = "SAME",
    kernel_dilation: Any = 1,
    feature_group_count: int = 1,
    bias: Any = None,
    precision: Any = None,
    preferred_element_type: Any = None,
    algorithm: Any = None,
) -> np.ndarray:
    """`dilax.conv` by the loops of the reference."""
    x, kernel = np.asarray(x), np.asarray(kernel)
    common = jnp.promote_types(jnp.asarray(x).dtype, jnp.asarray(kernel).dtype)
    rank = kernel.ndim - 2
    per_axis = functools.partial(each_axis, rank=rank)
    strides, dilation = per_axis(strides), per_axis(kernel_dilation)
    batch, window = x.shape[: -rank - 1], x.shape[-rank - 1 : -1]
    spans = [d * (k - 1) + 1 for k, d in zip(kernel.shape, dilation, strict=False)]
    pads = [explicit(*axis) for axis in zip(per_axis(padding), window, spans, strides, strict=True)]
    if padding in ("CIRCULAR", "REFLECT"):
        edges = [(0, 0)] * len(batch) + [((s - 1) // 2, s // 2) for s in spans] + [(0, 0)]
        x = np.pad(x, edges, mode={"CIRCULAR": "wrap", "REFLECT": "reflect"}[padding])
    flat = x.reshape(np.prod(batch, dtype=int), *x.shape[len(batch) :])
    y = by_parts(
        functools.partial(
            reference.conv,
            strides=[min(stride, 10**6) for stride in strides],
            padding=pads,
            kernel_dilation=dilation,
            feature_group_count=int(feature_group_count),
        ),
        flat,
        kernel,
    )
    y = y.reshape(*batch, *y.shape[1:])
    y = y if bias is None else y + np.asarray(bias)
    return y.astype(preferred_element_type or common)


def by_parts(bilinear: Any, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A real bilinear function of arrays that may be complex."""
    if not (np.iscomplexobj(x) or np.iscomplexobj(kernel)):
        return bilinear(x, kernel)
    real = bilinear(x.real, kernel.real) - bilinear(x.imag, kernel.imag)
    return real + 1j * (bilinear(x.real, kernel.imag) + bilinear(x.imag, kernel.real))


def each_axis(value: Any, rank: int) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value] * rank


def explicit(padding: Any, size: int, span: int, stride: int) -> tuple[int, int]:
    """The zeros before and after an axis."""
    if isinstance(padding, str):
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        return {
            "SAME": (total // 2, total - total // 2),
            "SAME_LOWER": (total - total // 2, total // 2),
            "CAUSAL": (span - 1, 0),
        }.get(padding.upper(), (0, 0))
    low, high = padding if isinstance(padding, tuple | list) else (padding, padding)
    return int(low), int(high)


def convolve_depthwise(x: Any, kernel: Any, **options: Any) -> np.ndarray:
    return convolve(x, kernel, feature_group_count=np.shape(x)[-1], **options)


def multiply(x: Any, kernel: Any, *, bias: Any = None, **options: Any) -> np.ndarray:
    x, kernel = np.asarray(x), np.asarray(kernel)
    common = jnp.promote_types(jnp.asarray(x).dtype, jnp.asarray(kernel).dtype)
    y = np.einsum("...c,co->...o", x, kernel.reshape(kernel.shape[-2:]))
    y = y if bias is None else y + np.asarray(bias)
    return y.astype(options["preferred_element_type"] or common)


def convolve_separably(
    x: Any, depthwise_kernel: Any, pointwise_kernel: Any, *, bias: Any, **options: Any
) -> np.ndarray:
    dtype = options.pop("preferred_element_type")
    filtered = convolve_depthwise(x, depthwise_kernel, **options)
    return multiply(filtered, pointwise_kernel, bias=bias, preferred_element_type=dtype)


def pool(
    reduce: Any,
    x: Any,
    window_shape: Any,
    *,
    strides: Any,
    padding: Any,
    kernel_dilation: Any,
    count_include_pad: bool = False,
) -> np.ndarray:
    """A pool by a loop over windows, of the entries that are there."""
    x = np.asarray(x)
    x = x.astype(jnp.asarray(x).dtype)
    rank = len(window_shape)
    per_axis = functools.partial(each_axis, rank=rank)
    strides = [min(stride, 10**6) for stride in per_axis(strides)]
    dilation, window = per_axis(kernel_dilation), x.shape[-rank - 1 : -1]
    spans = [d * (k - 1) + 1 for k, d in zip(window_shape, dilation, strict=True)]
    pads = [explicit(*axis) for axis in zip(per_axis(padding), window, spans, strides, strict=True)]
    sizes = [
        max((n + sum(pad) - span) // step + 1, 0)
        for n, pad, span, step in zip(window, pads, spans, strides, strict=True)
    ]
    wide = np.complex128 if np.iscomplexobj(x) else np.float64
    y = np.empty((*x.shape[: -rank - 1], *sizes, x.shape[-1]), wide)
    for position in np.ndindex(*sizes):
        places = [
            [entry for entry in range(at * s - low, at * s - low + d * k, d) if 0 <= entry < n]
            for at, s, (low, _), k, d, n in zip(
                position, strides, pads, window_shape, dilation, window, strict=True
            )
        ]
        seen = x[(..., *np.ix_(*places), slice(None))].astype(wide)
        y[(..., *position, slice(None))] = reduce(seen, tuple(range(-rank - 1, -1)))
    return y.astype(x.dtype)


def largest(entries: np.ndarray, axes: Any) -> np.ndarray:
    return entries.max(axis=axes, initial=-np.inf)


def mean(entries: np.ndarray, axes: Any) -> np.ndarray:
    count = np.prod([entries.shape[axis] for axis in axes])
    return entries.sum(axis=axes) / count


def normalise(
    x: Any, params: Any, *, momentum: Any, epsilon: Any, mask: Any = None, **options: Any
) -> Any:
    """Batch normalisation by the batch's statistics."""
    x = np.asarray(jnp.asarray(x))
    wide, axes = x.astype(np.float64), tuple(range(x.ndim - 1))
    counted = np.broadcast_to(True if mask is None else np.asarray(mask), x.shape)
    count, kept = np.maximum(counted.sum(axis=axes), 1), np.where(counted, wide, 0)
    mean, square = kept.sum(axis=axes) / count, (kept * kept).sum(axis=axes) / count
    var = np.maximum(square - mean * mean, 0)
    y = (wide - mean) / np.sqrt(var + epsilon) * params.scale + params.bias
    old = [jnp.asarray(field) for field in params]
    moved = [
        np.asarray(momentum * np.float64(a) + (1 - momentum) * b, jnp.result_type(a, jnp.float32))
        for a, b in zip(old[2:], (mean, var), strict=True)
    ]
    return y.astype(x.dtype), type(params)(*old[:2], *moved)

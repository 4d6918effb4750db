"""The rule for ``conv_general_dilated``, which recognises the three passes of a convolution.

JAX has one primitive for all three passes. A gradient that JAX derived is recognised by its form:

    forward          nothing spread, one batch group
    input gradient   the cotangent spread by the forward strides (``lhs_dilation``)
    kernel gradient  batch and features exchanged, groups of the batch where there were of features;
                     of a transposed convolution, with the input spread, too

All three forms are one trilinear sum over the same integers, so the integers of the forward
convolution follow from those of its gradients. Each form can be computed as any of the passes with
the same result, whether JAX derived it or a user wrote it. The form only tells which is fast.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax import algorithms
from dilax._accelerate.rule import Equation, Left, Replacement, any_above_one
from dilax._choice import PLATFORMS, PassName, Problem, choose
from dilax._functions import conv_general_dilated
from dilax._functions.drop_in import channels_last, inverse, kernel_last
from dilax._functions.symbolic import has_known_size
from dilax._primitives import input_gradient_p, kernel_gradient_p
from dilax.algorithms import Algorithm
from dilax.algorithms._live_part import LivePart
from dilax.geometry import ConvGeometry, _exact_padding

FLOATS = ("float32", "bfloat16", "float16", "float64")
ALL_PASSES: tuple[PassName, ...] = ("conv", "input_gradient", "kernel_gradient")


def convolution(equation: Equation) -> Replacement | Left:
    """Replace a convolution of floats with one to three window axes, in any order of dimensions."""
    lhs, rhs = equation.operands
    params = equation.params
    if {str(array.dtype) for array in (*equation.operands, *equation.results)} - set(FLOATS):
        return Left(f"dilax computes floats, these are {lhs.dtype} and {rhs.dtype}")
    if not 1 <= lhs.ndim - 2 <= 3:
        return Left(f"dilax computes one to three window axes, here are {lhs.ndim - 2}")
    if not all(math.prod(array.shape) for array in (lhs, rhs, *equation.results)):
        return Left("an array without entries")
    if not has_known_size(_window_sizes(equation)):
        return Left("a window whose size is a symbol")
    if params.get("out_sharding") is not None:
        return Left("its result's sharding is prescribed")
    if params["batch_group_count"] > 1 or _exchanged(params["dimension_numbers"]):
        return _kernel_gradient(equation)
    if any_above_one(params["lhs_dilation"]):
        return _input_gradient(equation)
    return _forward(equation)


def _exchanged(numbers: lax.ConvDimensionNumbers) -> bool:
    """Whether features come before the batch, as in the kernel gradients that JAX derives."""
    batch, features, *_ = numbers.lhs_spec
    return features < batch


# --- the three readings ---------------------------------------------------------------------------


def _forward(equation: Equation) -> Replacement | Left:
    params = dict(equation.params)
    if any_above_one(params["lhs_dilation"]):
        return Left("its input is spread, and it has strides or groups that no gradient has")
    lhs, rhs = equation.operands
    numbers = params["dimension_numbers"]
    geometry = ConvGeometry(
        input_size=_sizes(lhs, numbers.lhs_spec),
        kernel_size=_sizes(rhs, numbers.rhs_spec),
        strides=params["window_strides"],
        padding=params["padding"],
        kernel_dilation=params["rhs_dilation"],
        feature_group_count=params["feature_group_count"],
    )
    batch, features = (lhs.shape[axis] for axis in numbers.lhs_spec[:2])
    compute = functools.partial(conv_general_dilated, **params)
    sizes = batch, features, rhs.shape[numbers.rhs_spec[0]]
    return _if_faster(compute, equation, geometry, sizes, ALL_PASSES)


def _input_gradient(equation: Equation) -> Replacement | Left:
    """``y[i] = sum_k g'[i + d k - low] w'[k]`` with ``g'`` spread by ``s``: taps reversed again."""
    params = equation.params
    if any_above_one(params["window_strides"]):
        return _forward(equation)
    g, kernel = equation.operands
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    (y,) = equation.results
    window = _sizes(kernel, numbers.rhs_spec)
    spans = [d * (k - 1) for d, k in zip(params["rhs_dilation"], window, strict=True)]
    geometry = _solved(
        input_size=_sizes(y, numbers.out_spec),
        kernel_size=window,
        strides=params["lhs_dilation"],
        low=[far - low for far, (low, _) in zip(spans, params["padding"], strict=True)],
        kernel_dilation=params["rhs_dilation"],
        output_size=_sizes(g, numbers.lhs_spec),
        groups=groups,
    )

    def compute(g: jax.Array, kernel: jax.Array) -> jax.Array:
        kernel = lax.rev(jnp.transpose(kernel, kernel_last(numbers.rhs_spec)), range(len(window)))
        x = input_gradient_p.bind(
            jnp.transpose(g, channels_last(numbers.lhs_spec)),
            _exchange_features(kernel, groups),
            geometry=geometry,
            precision=params["precision"],
            dtype=y.dtype,
            algorithm=None,
        )
        return jnp.transpose(x, inverse(channels_last(numbers.out_spec)))

    batch, features = (g.shape[axis] for axis in numbers.lhs_spec[:2])
    sizes = batch, y.shape[numbers.out_spec[1]], features
    return _if_faster(compute, equation, geometry, sizes, ("input_gradient",))


def _kernel_gradient(equation: Equation) -> Replacement | Left:
    """``y[k] = sum_i x[d k + s i - low] g[i]``: the cotangent in the kernel's place."""
    params = equation.params
    if params["feature_group_count"] > 1:
        spread = any_above_one(params["lhs_dilation"])
        return _input_gradient(equation) if spread else _forward(equation)
    if any_above_one(params["lhs_dilation"]):
        return _kernel_gradient_of_transposed(equation)
    numbers = params["dimension_numbers"]
    x, g = equation.operands
    geometry = _solved(
        input_size=_sizes(x, numbers.lhs_spec),
        kernel_size=_sizes(equation.results[0], numbers.out_spec),
        strides=params["rhs_dilation"],
        low=[low for low, _ in params["padding"]],
        kernel_dilation=params["window_strides"],
        output_size=_sizes(g, numbers.rhs_spec),
        groups=params["batch_group_count"],
    )
    return _as_kernel_gradient(equation, geometry)


def _kernel_gradient_of_transposed(equation: Equation) -> Replacement | Left:
    """``y[k] = sum_i x'[d k + i - low] g[i]`` with ``x'`` spread by ``s``.

    Only ``i = s j + low - d k`` reads an entry of ``x``, so with ``K`` taps,
    ``y[K - 1 - k] = sum_j g[s j + d k - (d (K - 1) - low)] x[j]``: the cotangent in the input's
    place, and the input in the cotangent's.
    """
    params = equation.params
    numbers, groups = params["dimension_numbers"], params["batch_group_count"]
    if any_above_one(params["rhs_dilation"]):
        return _forward(equation) if groups == 1 else Left("groups of the batch, and two strides")
    x, g = equation.operands
    taps = _sizes(equation.results[0], numbers.out_spec)
    ends = [d * (k - 1) for d, k in zip(params["window_strides"], taps, strict=True)]
    geometry = _solved(
        input_size=_sizes(g, numbers.rhs_spec),
        kernel_size=taps,
        strides=params["lhs_dilation"],
        low=[end - low for end, (low, _) in zip(ends, params["padding"], strict=True)],
        kernel_dilation=params["window_strides"],
        output_size=_sizes(x, numbers.lhs_spec),
        groups=groups,
    )
    return _as_kernel_gradient(equation, geometry, exchanged=True)


def _as_kernel_gradient(
    equation: Equation, geometry: ConvGeometry, *, exchanged: bool = False
) -> Replacement | Left:
    """Bind the kernel gradient; if ``exchanged``, of exchanged operands, with taps reversed."""
    params = equation.params
    (y,) = equation.results
    lhs_spec, rhs_spec, (in_channels, outputs, *taps) = params["dimension_numbers"]
    order = slice(None, None, -1) if exchanged else slice(None)

    def compute(x: jax.Array, g: jax.Array) -> jax.Array:
        operands = (
            jnp.transpose(x, _batch_first(lhs_spec)),
            jnp.transpose(g, _batch_first(rhs_spec)),
        )
        kernel = kernel_gradient_p.bind(
            *operands[order],
            geometry=geometry,
            precision=params["precision"],
            dtype=y.dtype,
            algorithm=None,
        )
        if exchanged:
            reversed_taps = lax.rev(kernel, range(len(taps)))
            kernel = _exchange_features(reversed_taps, geometry.feature_group_count)
        return jnp.transpose(kernel, inverse((*taps, in_channels, outputs)))

    x, g = equation.operands
    sizes = x.shape[lhs_spec[1]], *(x.shape[lhs_spec[0]], g.shape[rhs_spec[0]])[order]
    return _if_faster(compute, equation, geometry, sizes, ("kernel_gradient",))


def _batch_first(spec: Sequence[int]) -> tuple[int, ...]:
    """Reorder axes from features, batch, window to batch, window, features."""
    features, batch, *window = spec
    return (batch, *window, features)


# --- the choice -----------------------------------------------------------------------------------


def _if_faster(
    compute: Any,
    equation: Equation,
    geometry: ConvGeometry,
    sizes: tuple[int, ...],
    passes: Sequence[PassName],
) -> Replacement | Left:
    """The replacement, if anything but lax is chosen for it on any platform.

    ``sizes`` are the batch, the in-features and the out-features.
    """
    live = LivePart.of(geometry)
    if live is None:
        return Left("all that it reads is padding")
    batch, in_features, out_features = sizes
    itemsize = equation.operands[0].dtype.itemsize
    problem = Problem(live.geometry, in_features, out_features, batch, itemsize)

    def chosen(platform: str) -> list[Algorithm]:
        return [choose(platform, name, problem).algorithm for name in passes]

    if all(algorithm is algorithms.lax for p in PLATFORMS for algorithm in chosen(p)):
        return Left("nothing faster than lax is known for its shapes")
    names = (algorithm.name for algorithm in chosen(jax.default_backend()))
    return Replacement(compute, tuple(zip(passes, names, strict=True)))


# --- integers -------------------------------------------------------------------------------------


def _solved(
    *,
    input_size: tuple[int, ...],
    kernel_size: tuple[int, ...],
    strides: tuple[int, ...],
    low: Sequence[int],
    kernel_dilation: tuple[int, ...],
    output_size: tuple[int, ...],
    groups: int,
) -> ConvGeometry:
    """The forward convolution of known sizes: its padding at the high end is what is missing."""
    axes = zip(input_size, output_size, kernel_size, strides, kernel_dilation, low, strict=True)
    padding = tuple(_exact_padding(*axis) for axis in axes)
    return ConvGeometry(input_size, kernel_size, strides, padding, kernel_dilation, groups)


def _exchange_features(kernel: jax.Array, groups: int) -> jax.Array:
    """``(*K, O, (G, I))`` as ``(*K, I, (G, O))``."""
    *window, outputs, features = kernel.shape
    split = kernel.reshape(*window, outputs, groups, features // groups)
    return jnp.swapaxes(split, -1, -3).reshape(*window, features // groups, groups * outputs)


def _window_sizes(equation: Equation) -> tuple[int, ...]:
    """Return the sizes of the window axes of both operands and of the result."""
    arrays = (*equation.operands, *equation.results)
    pairs = zip(arrays, equation.params["dimension_numbers"], strict=True)
    return tuple(size for array, spec in pairs for size in _sizes(array, spec))


def _sizes(array: Any, spec: Sequence[int]) -> tuple[int, ...]:
    return tuple(array.shape[axis] for axis in spec[2:])

"""Convolution and its two gradients as three JAX primitives, closed under differentiation.

A convolution is one trilinear form, ``T(x, w, g) = <conv(x, w), g>``. Leaving out one argument
gives a bilinear map to that argument's space:

    conv(x, w)            = T(x, w, .)
    input_gradient(g, w)  = T(., w, g)
    kernel_gradient(x, g) = T(x, ., g)

Each map is linear in each of its arguments, and its transpose in an argument is one of the other
two maps. So three rules are enough for forward and reverse differentiation of any order.

For batching, write the arrays with their indices as ``x[N, S, G, I]``, ``w[K, I, G, O]`` and
``g[N, S', G, O]``, with G groups, and I and O features in each. Two of the three arrays have the
mapped axis, or all of them. The axis becomes part of the index that exactly these arrays share: N
for x and g, O for w and g, I for x and w, G for all three. The result is a larger convolution.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from dilax._choice import PassName, Problem, choose
from dilax.algorithms import Algorithm, lax
from dilax.algorithms._live_part import LivePart
from dilax.algorithms._vma import match_vma, vary, varying_axes
from dilax.geometry import ConvGeometry

Role = Literal["x", "w", "g"]
Index = Literal["N", "I", "O", "G"]

conv_p = Primitive("dilax_conv")
input_gradient_p = Primitive("dilax_input_gradient")
kernel_gradient_p = Primitive("dilax_kernel_gradient")

_ROLES: dict[Primitive, tuple[Role, Role, Role]] = {
    conv_p: ("x", "w", "g"),
    input_gradient_p: ("g", "w", "x"),
    kernel_gradient_p: ("x", "g", "w"),
}
PRIMITIVES = frozenset(_ROLES)
_PASS_NAMES: dict[Primitive, PassName] = {
    conv_p: "conv",
    input_gradient_p: "input_gradient",
    kernel_gradient_p: "kernel_gradient",
}


def conv(
    x: jax.Array,
    kernel: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any,
    dtype: Any,
    algorithm: Algorithm | None,
) -> jax.Array:
    """Convolve canonical arrays; every derivative uses ``algorithm`` too."""
    params = {"geometry": geometry, "precision": precision, "algorithm": algorithm}
    return _bind(conv_p, x, kernel, dtype=jnp.dtype(dtype), **params)


def conv_by_lax(
    x: jax.Array, kernel: jax.Array, geometry: ConvGeometry, precision: Any, dtype: Any
) -> jax.Array:
    """Convolve by lax's own primitive in place of dilax's, with the derivatives that JAX knows.

    The kernel may be what a quantiser has put in the place of one, for lax's function alone.
    """
    options = {"precision": precision, "dtype": dtype, "algorithm": lax}
    return _compute(conv_p, "elsewhere", x, kernel, geometry=geometry, **options)


def _bind(primitive: Primitive, lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    return primitive.bind(*match_vma(lhs, rhs), **params)


def problem(lhs: Any, rhs: Any, roles: tuple[Role, Role, Role], geometry: ConvGeometry) -> Problem:
    """Return the problem for the choice, from two of the three arrays or their types."""
    arrays = dict(zip(roles, (lhs, rhs), strict=False))
    groups = geometry.feature_group_count
    in_features = arrays["x"].shape[-1] if "x" in arrays else arrays["w"].shape[-2] * groups
    out_features = (arrays["w"] if "w" in arrays else arrays["g"]).shape[-1]
    return Problem(geometry, in_features, out_features, lhs.shape[0], lhs.dtype.itemsize)


def roles(primitive: Primitive) -> tuple[Role, Role, Role]:
    """Return which of ``x``, ``w`` and ``g`` the operands and the result of a primitive are."""
    return _ROLES[primitive]


# --- the type of the result -----------------------------------------------------------------------


def _abstract_eval(primitive: Primitive, lhs: Any, rhs: Any, **params: Any) -> Any:
    shape = _result_shape(lhs, rhs, _ROLES[primitive], params["geometry"])
    return lhs.update(shape=shape, dtype=params["dtype"], weak_type=False)


def _result_shape(
    lhs: Any, rhs: Any, roles: tuple[Role, Role, Role], geometry: ConvGeometry
) -> tuple[int, ...]:
    case = problem(lhs, rhs, roles, geometry)
    shapes: dict[Role, tuple[int, ...]] = {
        "x": (lhs.shape[0], *geometry.input_size, case.in_features),
        "g": (lhs.shape[0], *geometry.output_size, case.out_features),
        "w": (*geometry.kernel_size, case.in_channels_per_group, case.out_features),
    }
    return shapes[roles[2]]


# --- computing it ---------------------------------------------------------------------------------


def _compute(
    primitive: Primitive,
    platform: str,
    lhs: jax.Array,
    rhs: jax.Array,
    *,
    geometry: ConvGeometry,
    precision: Any,
    dtype: Any,
    algorithm: Algorithm | None,
) -> jax.Array:
    """Compute the live part of a pass by the chosen algorithm, and pad its result with zeros."""
    name, roles = _PASS_NAMES[primitive], _ROLES[primitive]
    live = LivePart.of(geometry)
    if live is None:
        shape = _result_shape(lhs, rhs, roles, geometry)
        return vary(jnp.zeros(shape, dtype), varying_axes(lhs))
    lhs, rhs = live.crop(lhs, roles[0]), live.crop(rhs, roles[1])
    case = problem(lhs, rhs, roles, live.geometry)
    chosen, settings = choose(platform, name, case, algorithm)
    options = {"precision": precision, "preferred_element_type": dtype, **settings}
    result = getattr(chosen, name)(lhs, rhs, live.geometry, **options)
    return live.fill(result, roles[2], geometry)


def _run_eagerly(primitive: Primitive, lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        return _compute(primitive, jax.default_backend(), lhs, rhs, **params)
    return _compiled(primitive, lhs, rhs, **params)


def _bound(primitive: Primitive, lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
    return primitive.bind(lhs, rhs, **params)


# While NaNs are looked for, JAX runs a jitted function again without jit, to find the operation
# that makes one. This mark says that here it is found.
_bound._apply_primitive = True  # type: ignore[attr-defined]
_compiled = jax.jit(
    _bound, static_argnums=0, static_argnames=("geometry", "precision", "algorithm", "dtype")
)


# --- differentiation ------------------------------------------------------------------------------


def _transpose(
    primitive: Primitive, known: int, cotangent: Any, lhs: Any, rhs: Any, **params: Any
) -> jax.Array:
    """Compute the cotangent of the operand that is not ``known``."""
    roles = _ROLES[primitive]
    wanted = 1 - known
    arrays = {roles[known]: (lhs, rhs)[known], roles[2]: cotangent}
    target = next(p for p, role in _ROLES.items() if role[2] == roles[wanted])
    params["dtype"] = (lhs, rhs)[wanted].aval.dtype
    first, second, _ = _ROLES[target]
    return _bind(target, arrays[first], arrays[second], **params)


# --- batching -------------------------------------------------------------------------------------

_SHARED_INDEX: dict[frozenset[Role], Index] = {
    frozenset[Role](("x", "g")): "N",
    frozenset[Role](("w", "g")): "O",
    frozenset[Role](("x", "w")): "I",
    frozenset[Role](("x", "w", "g")): "G",
}

_AXIS_OF_INDEX: dict[tuple[Role, Index], tuple[int, bool]] = {
    # The axis that contains the index, and whether the group index comes before it on that axis.
    ("x", "N"): (0, False),
    ("g", "N"): (0, False),
    ("w", "I"): (-2, False),
    ("x", "I"): (-1, True),
    ("w", "O"): (-1, True),
    ("g", "O"): (-1, True),
    ("x", "G"): (-1, False),
    ("w", "G"): (-1, False),
    ("g", "G"): (-1, False),
}


def _batch(
    primitive: Primitive, operands: Any, mapped_axes: Any, **params: Any
) -> tuple[jax.Array, int]:
    roles = _ROLES[primitive]
    carriers = [role for role, axis in zip(roles, mapped_axes, strict=False) if axis is not None]
    index = _SHARED_INDEX[frozenset((*carriers, roles[2]))]
    geometry: ConvGeometry = params["geometry"]
    groups = geometry.feature_group_count
    size = next(
        array.shape[axis]
        for array, axis in zip(operands, mapped_axes, strict=True)
        if axis is not None
    )
    if size == 0:
        return _batch_of_none(primitive, operands, mapped_axes, params), 0
    folded = [
        array if axis is None else _fold(array, axis, _AXIS_OF_INDEX[role, index], groups)
        for array, axis, role in zip(operands, mapped_axes, roles, strict=False)
    ]
    if index == "G":
        params["geometry"] = _with_groups(geometry, groups * size)
    result = _bind(primitive, folded[0], folded[1], **params)
    return _unfold(result, size, _AXIS_OF_INDEX[roles[2], index], groups), 0


def _batch_of_none(
    primitive: Primitive, operands: Any, mapped_axes: Any, params: dict[str, Any]
) -> jax.Array:
    """Return an empty batch of results, which cannot be folded into groups."""
    one = [
        jax.ShapeDtypeStruct(
            array.shape if axis is None else (*array.shape[:axis], *array.shape[axis + 1 :]),
            array.dtype,
        )
        for array, axis in zip(operands, mapped_axes, strict=True)
    ]
    result = jax.eval_shape(functools.partial(primitive.bind, **params), *one)
    return jnp.zeros((0, *result.shape), result.dtype)


def _with_groups(geometry: ConvGeometry, groups: int) -> ConvGeometry:
    return dataclasses.replace(geometry, feature_group_count=groups)


def _fold(array: jax.Array, mapped: int, place: tuple[int, bool], groups: int) -> jax.Array:
    """Fold the mapped axis into the axis at ``place``, after its group index or before it."""
    array = jnp.moveaxis(array, mapped, 0)
    axis, inside_groups = place
    axis = axis % (array.ndim - 1)
    shape = array.shape[1:]
    outer = groups if inside_groups else 1
    split = (*shape[:axis], outer, shape[axis] // outer, *shape[axis + 1 :])
    array = jnp.moveaxis(array.reshape(array.shape[0], *split), 0, axis + 1)
    return array.reshape(*shape[:axis], -1, *shape[axis + 1 :])


def _unfold(array: jax.Array, size: int, place: tuple[int, bool], groups: int) -> jax.Array:
    """Undo ``_fold``: make the mapped axis of ``size`` the first axis."""
    axis, inside_groups = place
    axis = axis % array.ndim
    shape = array.shape
    outer = groups if inside_groups else 1
    inner = shape[axis] // (outer * size)
    split = (*shape[:axis], outer, size, inner, *shape[axis + 1 :])
    array = jnp.moveaxis(array.reshape(split), axis + 1, 0)
    return array.reshape(size, *shape[:axis], outer * inner, *shape[axis + 1 :])


def _register(primitive: Primitive) -> None:
    primitive.def_abstract_eval(functools.partial(_abstract_eval, primitive))
    primitive.def_impl(functools.partial(_run_eagerly, primitive))
    lhs_rule = functools.partial(_transpose, primitive, 1)
    rhs_rule = functools.partial(_transpose, primitive, 0)
    ad.defbilinear(primitive, lhs_rule, rhs_rule)
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive)
    for platform in (None, "cpu", "cuda"):
        compute = functools.partial(_compute, primitive, platform or "elsewhere")
        rule = mlir.lower_fun(compute, multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)


for _primitive in _ROLES:
    _register(_primitive)

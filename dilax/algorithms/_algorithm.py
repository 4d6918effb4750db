"""An algorithm: one way to compute the three passes of a convolution."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from dilax._arrays import common_type
from dilax._checks import shown
from dilax.geometry import ConvGeometry


class Pass(Protocol):
    """One of the three passes, a function from two arrays and a geometry to one array.

    The result has the type ``preferred_element_type``, or the type of the first array if this is
    left out. Half-precision products are summed in float32 and rounded once. A pass may have
    further arguments, its settings, each with a default. They change the speed of the pass, but not
    its result, except by rounding.
    """

    def __call__(
        self,
        lhs: jax.Array,
        rhs: jax.Array,
        geometry: ConvGeometry,
        *,
        precision: Any = None,
        preferred_element_type: Any = None,
    ) -> jax.Array: ...


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A way to compute a convolution and both of its gradients.

    With ``x`` of shape ``(N, *S, C)``, ``kernel`` of shape ``(*K, C // groups, O)`` and ``g`` of
    the output's shape ``(N, *S_out, O)``:

    - ``conv(x, kernel, geometry)`` computes the output,
    - ``input_gradient(g, kernel, geometry)`` computes the cotangent of ``x``,
    - ``kernel_gradient(x, g, geometry)`` computes the cotangent of ``kernel``.
    """

    name: str
    conv: Pass
    input_gradient: Pass
    kernel_gradient: Pass

    def __repr__(self) -> str:
        return f"dilax.algorithms.{self.name}"


def check_algorithm(algorithm: object) -> None:
    """Refuse what is neither an algorithm nor ``None``.

    Raises:
        TypeError: ``algorithm`` is neither.
    """
    if not (algorithm is None or isinstance(algorithm, Algorithm)):
        raise TypeError(
            f"algorithm must be one of dilax.algorithms, such as dilax.algorithms.lax, or None, "
            f"got {shown(algorithm)}."
        )


def result_type(lhs: jax.Array, preferred_element_type: Any) -> jnp.dtype:
    """Return the type of a pass's result: the preferred type, or the first array's type."""
    return jnp.dtype(lhs.dtype if preferred_element_type is None else preferred_element_type)


def accumulation_type(*types: Any) -> jnp.dtype:
    """Return the type to sum in: the common type, but at least float32 for floating point."""
    common = common_type(*types)
    half = jnp.issubdtype(common, jnp.floating) and jnp.finfo(common).bits < 32
    return jnp.dtype(jnp.float32) if half else common

"""Calls of functions as pytrees of arrays; other values become part of the structure.

So a call can be traced whatever its arguments and results are, such as ``train=True`` or a string.
Two calls can share a traced program if their structures are equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr


class UntraceableError(Exception):
    """A call cannot be traced, or tracing would change its meaning."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static:
    """A leaf that is not an array; equal only if type and value agree, and -0.0 is not 0.0."""

    kind: type
    value: Any
    text: str

    @classmethod
    def of(cls, value: Any) -> Static:
        """Hold a value that can be compared."""
        try:
            hash(value)
        except TypeError as error:
            raise UntraceableError(f"{type(value).__name__} is not hashable") from error
        return cls(type(value), value, repr(value) if isinstance(value, (float, complex)) else "")


def wrap(tree: Any) -> Any:
    """The tree with arrays as its only leaves."""
    return jax.tree.map(lambda leaf: leaf if _is_array(leaf) else Static.of(leaf), tree)


def unwrap(tree: Any) -> Any:
    """Undo ``wrap``."""
    return jax.tree.map(
        lambda leaf: leaf.value if isinstance(leaf, Static) else leaf,
        tree,
        is_leaf=lambda leaf: isinstance(leaf, Static),
    )


def _is_array(leaf: Any) -> bool:
    if isinstance(leaf, (np.ndarray, np.generic)):
        return any(jnp.issubdtype(leaf.dtype, kind) for kind in (np.number, np.bool_))
    return isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct))


def trace(function: Callable[..., Any], call: Any) -> tuple[ClosedJaxpr, Any]:
    """``function(*args, **kwargs)`` as a program, and the structure of its result.

    Raises:
        UntraceableError: if ``function`` fails, or changes its arguments in place.
    """

    def traced(call: Any) -> Any:
        args, kwargs = arguments = unwrap(call)
        before = jax.tree.leaves(arguments)
        result = function(*args, **kwargs)
        after = jax.tree.leaves(arguments)
        if len(before) != len(after) or any(a is not b for a, b in zip(before, after, strict=True)):
            raise UntraceableError("it changes its arguments in place")
        return wrap(result)

    try:
        program, shapes = jax.make_jaxpr(traced, return_shape=True)(call)
    except UntraceableError:
        raise
    except Exception as error:
        raise UntraceableError(f"{type(error).__name__}: {error}") from error
    return program, jax.tree.structure(shapes)

"""Tracing of a call to a program without arguments.

The values of a call are constants of its program, just as the arrays that its function closes over.
So a program is good for one call only, and never holds an old value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr


class UntraceableError(Exception):
    """A call cannot be traced, or tracing would change its meaning."""


class TracedCall(NamedTuple):
    """A program, and the leaves of the result; those that the program computes are tracers."""

    program: ClosedJaxpr
    leaves: Sequence[Any]
    structure: Any

    def result(self, computed: Sequence[Any]) -> Any:
        """Return the result of the call, from the outputs of the program."""
        rest = iter(computed)
        leaves = [next(rest) if _is_traced(leaf) else leaf for leaf in self.leaves]
        return jax.tree.unflatten(self.structure, leaves)


def trace(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> TracedCall:
    """Trace ``function(*args, **kwargs)``.

    Arguments that are ``jax.ShapeDtypeStruct`` are arguments of the program; all other values are
    constants in it.

    Raises:
        UntraceableError: ``function`` fails, changes its arguments in place or returns a
            function, which may hold what was traced.
    """
    leaves, structure = jax.tree.flatten((tuple(args), dict(kwargs)))
    leaves = [_read_only(leaf) for leaf in leaves]
    found: tuple[Sequence[Any], Any] = ((), None)

    def traced(*shaped: Any) -> list[Any]:
        nonlocal found
        rest = iter(shaped)
        given = [next(rest) if _is_shape(leaf) else leaf for leaf in leaves]
        arguments = jax.tree.unflatten(structure, given)
        result = function(*arguments[0], **arguments[1])
        _check_unchanged(given, jax.tree.leaves(arguments))
        found = jax.tree.flatten(result)
        if any(callable(leaf) for leaf in found[0]):
            raise UntraceableError("it returns a function")
        return [leaf for leaf in found[0] if _is_traced(leaf)]

    try:
        program = jax.make_jaxpr(traced)(*filter(_is_shape, leaves))
    except UntraceableError:
        raise
    except Exception as error:
        raise UntraceableError(f"{type(error).__name__}: {error}") from error
    return TracedCall(program, *found)


def _check_unchanged(given: Sequence[Any], after: Sequence[Any]) -> None:
    if len(given) != len(after) or any(a is not b for a, b in zip(given, after, strict=True)):
        raise UntraceableError("it changes its arguments in place")


def _read_only(leaf: Any) -> Any:
    """Make in-place changes of a NumPy array an error, so that the call is not traced."""
    if type(leaf) is not np.ndarray or not leaf.flags.writeable:
        return leaf
    view = leaf.view()
    view.flags.writeable = False
    return view


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _is_traced(leaf: Any) -> bool:
    return isinstance(leaf, jax.core.Tracer)

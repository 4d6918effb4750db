"""How modules are pickled: the functions that they hold by name, or by the call that made them.

Pickle finds a function by its name, and what a decorator such as ``jax.jit`` made of it by the
name of the function inside, which is another object: so it cannot store ``jax.nn.relu``.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any


class Picklable:
    """Lets a module be pickled with any activation that has a name and any initialiser of JAX."""

    def __getstate__(self) -> dict[str, Any]:
        """Give the attributes, with functions in a form that can be pickled."""
        state: Any = super().__getstate__()
        return {name: _storable(value) for name, value in state.items()}


class _Made:
    """Stands in a pickle for what a call gives: it is unpickled as its result."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def _storable(value: Any) -> Any:
    """The value, or what is unpickled as the value; a function without a name as it is."""
    if isinstance(value, functools.partial):
        keywords = {name: _storable(one) for name, one in value.keywords.items()}
        return _Made(_partial, _storable(value.func), [*map(_storable, value.args)], keywords)
    module, name = (getattr(value, key, None) for key in ("__module__", "__qualname__"))
    if isinstance(value, type) or not isinstance(module, str) or not isinstance(name, str):
        return value
    if _named(module, name) is value:
        return _Made(_named, module, name)
    factory, _, inside = name.partition(".<locals>.")
    if inside and module.startswith("jax.") and isinstance(value, FunctionType):
        return _of_factory(value, _named(module, factory))
    return value


def _of_factory(value: FunctionType, factory: Any) -> Any:
    """A function as the call of the one that defines it, from the arguments that it remembers."""
    remembered = inspect.getclosurevars(value).nonlocals
    if factory is None or not remembered.keys() <= inspect.signature(factory).parameters.keys():
        return value
    return _Made(_partial(factory, (), remembered))


def _named(module: str, name: str) -> Any:
    """What a module holds by a name; None if there is no such thing."""
    try:
        __import__(module)
        return operator.attrgetter(name)(sys.modules[module])
    except (AttributeError, ImportError):
        return None


def _partial(
    function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]
) -> Callable[..., Any]:
    return functools.partial(function, *args, **keywords)

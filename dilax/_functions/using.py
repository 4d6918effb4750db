"""The algorithm of all calls that name none."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

from jax.experimental.xla_metadata import set_xla_metadata

from dilax.algorithms import Algorithm
from dilax.algorithms._algorithm import check_algorithm

_IN_USE: contextvars.ContextVar[Algorithm | None] = contextvars.ContextVar(
    "dilax_algorithm", default=None
)


@contextlib.contextmanager
def using(algorithm: Algorithm | None) -> Iterator[None]:
    """Compute by one algorithm every call of dilax in a ``with`` block that names none itself.

    It holds for functions, modules, whole networks and their derivatives. With
    ``dilax.algorithms.lax``, they bind lax's own primitives, so that every tool that knows lax
    knows them: checkpoint policies, quantisers, exporters, counters of operations. ``accelerate``
    then replaces nothing.

    A function under ``jit`` is traced again inside of the block, and keeps its other program for
    calls outside of it. A derivative takes the algorithm of its forward pass.

    Args:
        algorithm: An algorithm; ``None`` for dilax's own choice.

    Returns:
        A context manager.

    Raises:
        TypeError: ``algorithm`` is neither.

    >>> import dilax, jax, jax.numpy as jnp
    >>> x, kernel = jnp.ones((8, 28, 28, 16)), jnp.ones((3, 3, 1, 16))
    >>> with using(dilax.algorithms.lax):
    ...     program = jax.make_jaxpr(dilax.depthwise_conv)(x, kernel)
    >>> program.eqns[0].primitive
    conv_general_dilated
    """
    check_algorithm(algorithm)
    token = _IN_USE.set(algorithm)
    try:
        # JAX reuses a traced program only where the metadata are the same.
        with set_xla_metadata(dilax_algorithm=algorithm and algorithm.name):
            yield
    finally:
        _IN_USE.reset(token)


def algorithm_in_use(named: Algorithm | None = None) -> Algorithm | None:
    """Return the algorithm that a call names, or else that of the ``with`` block around it.

    Raises:
        TypeError: ``named`` is neither an algorithm nor ``None``.
    """
    check_algorithm(named)
    return _IN_USE.get() if named is None else named

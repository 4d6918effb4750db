"""The transformation: trace, rewrite, run."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from dilax._accelerate.rewriter import Rewriter
from dilax._checks import check_callable

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def accelerate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Transform a function so that dilax computes its convolutions and maximum pools.

    Like ``jax.grad``, ``accelerate`` transforms without compiling: apply ``jax.jit`` to the result.
    Outside of ``jit`` the function is traced at every call, and its operations run one by one, so
    it always sees the present values of whatever it reads.

    ``function`` may be written with any library. It is traced, the operations that dilax computes
    faster are replaced, and all others stay as they are. Replaced are convolutions of floats (the
    forward pass, and both gradients in the form that JAX derives) and, on CPU, maximum pools and
    their gradients. A sum of an array times what does not vary along the sum, as in derivatives of
    batch normalisation, becomes the sum times that. ``accelerate(jax.grad(f))`` and
    ``jax.grad(accelerate(f))`` are equally fast, and ``jit``, ``vmap``, ``scan`` and ``checkpoint``
    may be applied before or after. The bodies of ``jit``, ``scan``, ``while_loop``, ``cond``,
    ``checkpoint``, ``custom_jvp`` and ``custom_vjp`` are rewritten, and also the rules of the last
    two. The bodies of ``shard_map``, of kernels and of unknown primitives are not. ``explain``
    lists which convolutions and pools are replaced, which are not, and why.

    A function that cannot be traced (Python control flow on values, arguments changed in place, a
    function as its result) is called unchanged, with a warning that gives the reason: the result is
    the same, but not faster. ``function`` must have no other side effects, as under ``jit``.

    Results equal those of ``function`` up to rounding, with one exception: if a window of a pool
    contains a NaN, or only ``-inf``, its gradient may go to a different entry of the window.

    Args:
        function: A function of any arguments: pytrees of arrays, or other values.

    Returns:
        A function with the same arguments and results.

    Raises:
        TypeError: ``function`` is not callable. The accelerated function raises what ``function``
            raises.

    >>> import jax, jax.numpy as jnp
    >>> from jax import lax
    >>> def network(kernel, x):
    ...     return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", feature_group_count=16,
    ...                                     dimension_numbers=("NHWC", "HWIO", "NHWC"))
    >>> x, kernel = jnp.ones((8, 28, 28, 16)), jnp.ones((3, 3, 1, 16))
    >>> jax.jit(accelerate(network))(kernel, x).shape
    (8, 28, 28, 16)
    >>> jax.grad(lambda kernel: accelerate(network)(kernel, x).sum())(kernel).shape
    (3, 3, 1, 16)
    """
    check_callable(function, "function")
    rewriter = Rewriter()

    @functools.wraps(function)
    def accelerated(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        result, reason = rewriter.call(function, *args, **kwargs)
        if reason:
            name = getattr(function, "__name__", type(function).__name__)
            warnings.warn(f"{name} is not accelerated: {reason}", stacklevel=2)
        return result

    return accelerated

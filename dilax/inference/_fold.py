"""The transformation: trace a function, evaluate its constants, and run it with folded kernels.

The traced program is run once, in the trace of whoever calls. A value is one of three things: an
array; a ``Constant``, whose entries are known; or ``Scaled``, a convolution that is not computed
yet, with the scale and the shift that its features get afterwards. An operation of constants is
evaluated, a constant scale or shift of a convolution is noted, and anything else computes what it
reads.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

from dilax._accelerate.internals import run_equation
from dilax._checks import check_callable
from dilax._functions.symbolic import has_known_size
from dilax._jaxprs import Program, opened
from dilax.inference._branches import merged
from dilax.inference._scaled import Constant, Scaled, convolved, rescaled

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Value = Any
"""An array, a ``Constant`` or a ``Scaled``."""

INLINED = frozenset({"jit", "pjit", "closed_call"})
"""Primitives that do what their program does."""
NOT_EVALUATED = frozenset({"pvary", "pcast"})
"""Primitives that mean something only where they stand, inside of ``shard_map``."""
SMALL = 2**14
"""Most entries of an evaluated array that is much larger than what it is made of."""
GROWTH = 2
"""How much larger is much larger."""


def fold(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Transform a function so that its convolutions do what constant factors after them do.

    A convolution, or a product with a matrix, that is followed by batch normalisation with running
    statistics becomes one with another kernel and a bias::

        scale * conv(x, kernel) + shift  ->  conv(x, scale * kernel) + shift

    where ``scale`` and ``shift`` are constants with one entry for each out-feature. So does any
    other sequence of constant additions and multiplications of features after it; what they add is
    one addition in the end. Max pooling may come in between, if no factor is negative.

    Convolutions of one array whose results are added become one, if their taps lie on one grid and
    one kernel takes no more taps than all of them: the branches of RepVGG, for example.

    Like ``jax.grad``, ``fold`` transforms without compiling: apply ``jax.jit`` to the result. What
    is constant is what ``function`` closes over; weights that it gets as arguments, or that are
    traced, are not, so give ``fold(lambda images: apply(params, images))``. The constants are
    evaluated anew whenever the result is traced.

    What cannot be folded stays as it is: a convolution whose output is read twice, or is converted
    to another type; what is not a sum or product with a constant, such as layer normalisation;
    kernels of float16; and the bodies of ``scan``, ``checkpoint``, ``custom_jvp`` and the like.

    Results equal those of ``function`` up to rounding, because a kernel is scaled before it is
    summed. Both ``accelerate(fold(f))`` and ``fold(accelerate(f))`` work; so do ``jit``, ``vmap``
    and derivatives in the arguments.

    Args:
        function: A function of pytrees of arrays that ``jax.jit`` could compile, written with any
            library.

    Returns:
        A function with the same arguments and results.

    Raises:
        TypeError: ``function`` is not callable.

    Source: S. Ioffe and C. Szegedy, "Batch Normalization", 2015, section 3.1: in inference, the
    normalisation is a linear transform that can be composed with the one before it. X. Ding et al.,
    "RepVGG", 2021: a sum of convolutions is a convolution.

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> rngs = nnx.Rngs(0)
    >>> layers = nnx.Sequential(nnx.Conv(3, 8, (3, 3), rngs=rngs), nnx.BatchNorm(8, rngs=rngs))
    >>> layers.eval()
    >>> images = jnp.ones((1, 16, 16, 3))
    >>> bool(jnp.allclose(fold(layers)(images), layers(images), atol=1e-6))
    True
    """
    check_callable(function, "function")

    @functools.wraps(function)
    def folded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        leaves, structure = jax.tree.flatten((args, kwargs))
        arrays = [leaf for leaf in leaves if _is_array(leaf)]
        result_structure: Any = None

        def of_arrays(*given: jax.Array) -> list[Any]:
            nonlocal result_structure
            rest = iter(given)
            filled = [next(rest) if _is_array(leaf) else leaf for leaf in leaves]
            own_args, own_kwargs = jax.tree.unflatten(structure, filled)
            found, result_structure = jax.tree.flatten(function(*own_args, **own_kwargs))
            return found

        program = jax.make_jaxpr(of_arrays)(*arrays)
        constants = [_known(value) for value in program.consts]
        found = _run(program, constants, arrays)
        return jax.tree.unflatten(result_structure, [_computed(value) for value in found])

    return folded


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def _known(value: Any) -> Value:
    """Return a constant, unless the value is not known while a program around it is traced."""
    return value if isinstance(value, jax.core.Tracer) else Constant.of(value)


def _run(program: Program, constants: Sequence[Value], arguments: Sequence[Value]) -> list[Value]:
    """Run a program; the values of its results may be constants, or not be computed yet."""
    body = opened(program)
    uses = collections.Counter(
        variable
        for variables in (*(equation.invars for equation in body.eqns), body.outvars)
        for variable in variables
        if not isinstance(variable, Literal)
    )
    values: dict[Any, Value] = dict(zip(body.constvars, constants, strict=True))
    values.update(zip(body.invars, arguments, strict=True))

    def read(variable: Any) -> Value:
        if isinstance(variable, Literal):
            return Constant.of(variable.val)
        value = values[variable]
        if isinstance(value, Scaled) and uses[variable] > 1:  # computed once for all who read it
            value = values[variable] = value.computed()
        return value

    for equation in body.eqns:
        operands = [read(variable) for variable in equation.invars]
        results = _results(equation, operands)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in body.outvars]


def _results(equation: JaxprEqn, operands: Sequence[Value]) -> Sequence[Value]:
    """Find the values of what an equation gives."""
    if equation.primitive.name in INLINED and (inner := inner_program(equation)) is not None:
        constants = [_known(value) for value in inner.consts]
        return _run(inner, constants, operands)
    if _is_evaluated(equation, operands):
        return _evaluated(equation, operands)
    value = convolved(equation, operands) or rescaled(equation, operands)
    if value is None and equation.primitive.name in ("add", "add_any"):
        value = _sum(operands)
    if value is not None:
        return [value]
    return run_equation(equation, [_computed(operand) for operand in operands])


def _sum(operands: Sequence[Value]) -> Scaled | None:
    """Return the sum of two convolutions of one array as one convolution."""
    scaled = [operand for operand in operands if isinstance(operand, Scaled)]
    return merged(*scaled) if len(scaled) == 2 else None


def inner_program(equation: JaxprEqn) -> ClosedJaxpr | None:
    """Return the program that an equation calls, if all it does is to call it."""
    program = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    shardings = [equation.params.get(f"{side}_shardings", ()) for side in ("in", "out")]
    placed = any(type(one).__name__ != "UnspecifiedValue" for side in shardings for one in side)
    return program if isinstance(program, ClosedJaxpr) and not placed else None


def _is_evaluated(equation: JaxprEqn, operands: Sequence[Value]) -> bool:
    """Return whether an equation has only constants, and its results are small enough to keep."""
    known = bool(operands) and all(isinstance(operand, Constant) for operand in operands)
    if not known or equation.effects or equation.primitive.name in NOT_EVALUATED:
        return False
    if equation.primitive.name == "broadcast_in_dim":
        return len(operands) == 1 and equation.params.get("sharding") is None
    arrays: list[Any] = [variable.aval for variable in equation.outvars]
    arrays += [operand for operand in operands if np.shape(operand.kept) != operand.shape]
    largest = max(SMALL, GROWTH * sum(np.size(operand.kept) for operand in operands))
    return all(has_known_size(each.shape) and math.prod(each.shape) <= largest for each in arrays)


def _evaluated(equation: JaxprEqn, operands: Sequence[Constant]) -> list[Constant]:
    if equation.primitive.name == "broadcast_in_dim":
        params = equation.params
        return [operands[0].broadcast(params["shape"], params["broadcast_dimensions"])]
    with jax.ensure_compile_time_eval():
        found = run_equation(equation, [operand.array() for operand in operands])
    return [Constant.of(value) for value in found]


def _computed(value: Value) -> Any:
    """Return the array of a value."""
    if isinstance(value, Constant):
        return value.array()
    return value.computed() if isinstance(value, Scaled) else value

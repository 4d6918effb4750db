"""All uses of JAX's private interfaces.

The types of traced programs and equations are public (``jax.extend.core``), but the way in which
they store the rules of ``custom_jvp`` and ``custom_vjp`` is private.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import linear_util
from jax.extend.core import ClosedJaxpr, JaxprEqn

from dilax._jaxprs import Program, opened


def equations(program: Program) -> Sequence[JaxprEqn]:
    """The operations of a program, in order."""
    return opened(program).eqns


def with_equations(program: Program, new: Sequence[JaxprEqn]) -> Program:
    """The same program, of the same arguments, constants and effects, doing ``new`` instead."""
    replaced = opened(program).replace(eqns=list(new))
    return program.replace(jaxpr=replaced) if _is_closed_form(program) else replaced


def evaluate(program: Program) -> list[Any]:
    """Run a closed program without arguments, with every operation bound as by JAX itself."""
    assert isinstance(program, ClosedJaxpr)
    try:
        return jax.core.eval_jaxpr(program.jaxpr, program.consts)
    except Exception as error:
        if type(error).__name__ == "InternalFloatingPointError":  # in place of jax.jit, which does
            kind, name = vars(error)["ty"], vars(error)["name"]
            raise FloatingPointError(f"invalid value ({kind}) encountered in {name}") from None
        raise


def run_equation(equation: JaxprEqn, operands: Sequence[Any]) -> list[Any]:
    """Run one equation on operands, in the named scope in which it was traced."""
    found = equation.primitive.get_bind_params(equation.params)
    functions, params = found if isinstance(found, tuple) else ((), found)  # by version of JAX
    with equation.ctx.manager, jax.named_scope(str(equation.source_info.name_stack)):
        results = equation.primitive.bind(*functions, *operands, **params)
    return list(results) if equation.primitive.multiple_results else [results]


def with_custom_rules(
    params: dict[str, Any],
    rewrite: Callable[[Program], Program],
    rewrite_function: Callable[[Callable], Callable],
) -> dict[str, Any]:
    """Parameters of a ``custom_jvp_call`` or ``custom_vjp_call`` whose rules are rewritten too.

    The rule for tangents and the forward rule are traced when they are first needed, into a program
    and more; the backward rule is a function.
    """
    new = dict(params)
    for name in ("jvp_jaxpr_fun", "fwd_jaxpr_thunk"):
        if name in new:
            new[name] = _rewritten_thunk(new[name], rewrite)
    if "bwd" in new:
        new["bwd"] = _wrapped_alike(rewrite_function(new["bwd"].call_wrapped), new["bwd"])
    return new


def _rewritten_thunk(thunk: Any, rewrite: Callable[[Program], Program]) -> Any:
    def rewritten(*arguments: Any) -> tuple[Any, ...]:
        program, *rest = thunk.call_wrapped(*arguments)
        return (rewrite(program), *rest)

    return _wrapped_alike(rewritten, thunk)


def _wrapped_alike(function: Callable, wrapped: Any) -> Any:
    return linear_util.wrap_init(function, debug_info=wrapped.debug_info)


def _is_closed_form(program: Program) -> bool:
    """Whether constants are held around an open program; newer JAX has one type for both."""
    return isinstance(program, ClosedJaxpr) and program.jaxpr is not program

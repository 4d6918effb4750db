"""The name of an equation in a jaxpr, the line of code that wrote it, the programs it holds."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

Program = Jaxpr | ClosedJaxpr
"""A traced program; a closed one also has the values of its constants."""

_ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp
    clz complex conj convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp
    exp2 expm1 floor ge gt igamma igammac igamma_grad_a imag integer_pow is_finite le lgamma log
    log1p logistic lt max min mul mul_no_nan mulhi name ne neg nextafter not or pcast polygamma
    population_count pow pvary random_gamma_grad real reduce_precision regularized_incomplete_beta
    rem round rsqrt select_n sharding_constraint shift_left shift_right_arithmetic
    shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh xor zeta
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
"""Primitives each of whose entries depends on the entries at the same place alone."""

_UNKNOWN = "an unknown line"
_DILAX = Path(__file__).parent
_INSTALLED, _STANDARD = (sysconfig.get_paths()[name] for name in ("purelib", "stdlib"))
_LIBRARIES = (
    *(str(path) for path in _DILAX.iterdir() if path.name not in ("data", "models", "training")),
    *(str(Path(_INSTALLED, name)) for name in ("equinox", "flax", "haiku", "jax")),
    str(Path(jax.__file__).parent),
    "<frozen",
)


def inner_programs(equation: JaxprEqn) -> Iterator[Program]:
    """The programs that an equation holds, such as the body of a loop."""
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, (Jaxpr, ClosedJaxpr)):
                yield item


def opened(program: Program) -> Jaxpr:
    """The program without the values of its constants."""
    return program.jaxpr if isinstance(program, ClosedJaxpr) else program


def label(prefix: str, equation: JaxprEqn) -> str:
    """The named scopes of an equation, after those of the equation that holds its program."""
    return "/".join(filter(None, (prefix, str(equation.source_info.name_stack))))


def source_line(equation: JaxprEqn, otherwise: str = _UNKNOWN) -> str:
    """The line that wrote an equation: the innermost one outside of JAX and layer libraries."""
    frames = getattr(equation.source_info.traceback, "frames", ())
    lines = ((frame.file_name, frame.line_num, frame.function_name) for frame in frames)
    return _first_of_user(lines) or otherwise


def failing_line(error: BaseException) -> str:
    """The line that raised an error: the innermost one outside of JAX and layer libraries."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    lines = ((frame.filename, frame.lineno, frame.name) for frame in frames)
    return _first_of_user(lines) or _UNKNOWN


def _first_of_user(lines: Iterable[tuple[str, int | None, str]]) -> str:
    for file, number, function in lines:
        if not _of_a_library(file):
            return f"{Path(file).name}:{number} ({function})"
    return ""


def _of_a_library(file: str) -> bool:
    standard = file.startswith(_STANDARD) and not file.startswith(_INSTALLED)
    return standard or file.startswith(_LIBRARIES)

"""What an equation of a jaxpr is called, and which line wrote it."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

from jax.extend.core import JaxprEqn

_OTHERS = (sysconfig.get_paths()["purelib"], str(Path(__file__).parents[1]))


def label(prefix: str, equation: JaxprEqn) -> str:
    """The named scopes of an equation, inside those of the equation that its jaxpr belongs to."""
    return "/".join(filter(None, (prefix, str(equation.source_info.name_stack))))


def source_line(equation: JaxprEqn) -> str:
    """The line that wrote an equation: the innermost one outside of installed packages."""
    frames = getattr(equation.source_info.traceback, "frames", ())
    lines = ((frame.file_name, frame.line_num, frame.function_name) for frame in frames)
    return _first_of_user(lines)


def failing_line(error: BaseException) -> str:
    """The line that an error came from: the innermost one outside of installed packages."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return _first_of_user((frame.filename, frame.lineno, frame.name) for frame in frames)


def _first_of_user(lines: Iterable[tuple[str, int | None, str]]) -> str:
    for file, number, function in lines:
        if not file.startswith((*_OTHERS, "<")):
            return f"{Path(file).name}:{number} ({function})"
    return "an unknown line"

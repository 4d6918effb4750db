"""What an equation of a jaxpr is called, and which line wrote it."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from jax.extend.core import JaxprEqn

_OTHERS = (sysconfig.get_paths()["purelib"], str(Path(__file__).parents[1]))


def label(prefix: str, equation: JaxprEqn) -> str:
    """The named scopes of an equation, inside those of the equation that its jaxpr belongs to."""
    return "/".join(filter(None, (prefix, str(equation.source_info.name_stack))))


def source_line(equation: JaxprEqn) -> str:
    """The line that wrote an equation: the innermost one outside of installed packages."""
    frames = getattr(equation.source_info.traceback, "frames", ())
    for frame in frames:
        if not frame.file_name.startswith(_OTHERS) and not frame.file_name.startswith("<"):
            return f"{Path(frame.file_name).name}:{frame.line_num} ({frame.function_name})"
    return "an unknown line"

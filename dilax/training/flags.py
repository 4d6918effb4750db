"""Command-line flags from a dataclass, and mistakes in them as one clear line."""

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any, TypeVar

Config = TypeVar("Config")

_BORDER = " │╭╮╰╯"
_RULE = re.compile(r"[─-]{8,}")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def parse(
    config_class: type[Config], arguments: Sequence[str], *, default: Config | None = None
) -> Config:
    """Make a config from flags; `--help` prints what each is for, and ends the program.

    Args:
        config_class: a dataclass whose fields have docstrings.
        arguments: the flags.
        default: values of the flags not given; left out, those of the class.

    Raises:
        ValueError: a flag or its value is wrong. The message is one line.
    """
    import tyro

    errors = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(config_class, args=list(arguments), **options)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_one_line(errors.getvalue())) from None


def _one_line(message: str) -> str:
    """Take the first paragraph out of tyro's box, and the nearest flag when it names one."""
    said, *others = _paragraphs(_COLOUR.sub("", message))
    said = re.sub(r"^Error parsing \w+: (?=--)", "", said)
    nearest = [re.search(r"--[\w-]+", text) for text in others if "Perhaps you meant" in text]
    return said + (f"; did you mean {nearest[0].group()}?" if nearest and nearest[0] else "")


def _paragraphs(message: str) -> list[str]:
    """Split a box, drawn in any character set, at its rules; the title line is left out."""
    paragraphs: list[list[str]] = [[]]
    for line in message.splitlines()[1:]:
        text = line.strip(_BORDER)
        if _RULE.fullmatch(text):
            paragraphs.append([])
        elif text:
            paragraphs[-1].append(text)
    return [" ".join(lines) for lines in paragraphs if lines]

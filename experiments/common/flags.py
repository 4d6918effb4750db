"""Flags on the command line: the nearest ones to an unknown one, and their names in messages."""

import dataclasses
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from common.config import Config, flag_of

ConfigType = TypeVar("ConfigType", bound=Config)

HELP = "--help lists all flags."
NEAREST = 3
"""Most flags in a suggestion."""


def parse(
    config_class: type[ConfigType],
    arguments: Sequence[str] | None,
    *,
    default: ConfigType | None = None,
) -> ConfigType:
    """Read the flags of a command line.

    Raises:
        SystemExit: A flag is wrong (status 2), or ``--help`` is given (0).
        ValueError: A flag is unknown, or a word belongs to no flag.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    defaults: Any = {} if default is None else {"default": default}
    config, unknown = tyro.cli(config_class, args=arguments, return_unknown_args=True, **defaults)
    if unknown:
        raise ValueError(explain(unknown[0], list(arguments), config_class))
    return config


def explain(word: str, arguments: list[str], config_class: type[Config]) -> str:
    """Say what is wrong with a word that no flag takes, and what may be meant."""
    fields = {flag_of(field.name): field for field in dataclasses.fields(config_class)}
    if word.startswith("--"):
        name = word.partition("=")[0]
        near = nearest(name, list(fields))
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        return f"{name} is no flag{hint} {HELP}"
    before = arguments[arguments.index(word) - 1].replace("_", "-") if word in arguments else ""
    if before in fields and isinstance(fields[before].default, bool):
        return f"{before} takes no value, got {word!r}; write {before} or --no-{before[2:]}. {HELP}"
    return f"{word!r} belongs to no flag. {HELP}"


def nearest(flag: str, flags: Sequence[str]) -> list[str]:
    """Find the flags that are like a wrong one: by initials, by a word of theirs, or by letters."""
    given = flag.lstrip("-").removeprefix("no-").replace("_", "-").lower()
    names = [name.lstrip("-") for name in flags]
    found = [name for name in names if given == "".join(word[0] for word in name.split("-"))]
    found += [name for name in names if given in name.split("-") or name in given.split("-")]
    found += [name for name in names if len(given) > 2 and name.startswith(given)]
    found += difflib.get_close_matches(given, names, n=NEAREST)
    return [f"--{name}" for name in list(dict.fromkeys(found))[:NEAREST]]


def in_flags(message: str, config_class: type[Config]) -> str:
    """Write the arguments of functions that a message names as the flags of a program.

    Names of several words are found everywhere, other ones only where a message begins with them.
    ``load('/a/path')`` of ``dilax.data`` becomes ``--dataset /a/path``.
    """
    names = [field.name for field in dataclasses.fields(config_class)]
    several = "|".join(sorted((name for name in names if "_" in name), key=len, reverse=True))
    message = re.sub(rf"^({'|'.join(names)})(?= must\b)", lambda m: flag_of(m[1]), message)
    message = re.sub("^name(?= must be the name of a network)", "--model", message)
    message = re.sub("^degrees(?= must)", "--rotation", message)
    message = re.sub(r"\bload\('([^']*)'\)", r"--dataset \1", message)
    return re.sub(
        rf"(?<![\w./-])({several})(?:='(\w+)')?(?![\w/])",
        lambda m: flag_of(m[1]) + (f" {m[2]}" if m[2] else ""),
        message,
    )

"""Checks of arguments that are not arrays; each error names the argument."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

LONGEST = 2**31 - 1
"""Largest size of an axis: devices count its entries in 32 bits."""

_SHOWN = 200


def integer(
    value: object, name: str, *, minimum: int | None = None, maximum: int | None = None
) -> int:
    """``value`` as an integer within its bounds.

    Raises:
        TypeError: ``value`` is no integer.
        ValueError: ``value`` is out of bounds.
    """
    try:
        result = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {shown(value)}.") from None
    if minimum is not None and result < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {shown(value)}.")
    if maximum is not None and result > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {shown(value)}.")
    return result


def number(value: object, name: str) -> float:
    """``value`` as a finite number.

    Raises:
        TypeError: ``value`` is no real number.
        ValueError: ``value`` is infinite or not a number.
    """
    try:
        if not hasattr(value, "__float__"):
            raise TypeError
        result = float(value)
    except TypeError:
        raise TypeError(f"{name} must be a real number, got {shown(value)}.") from None
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise ValueError(f"{name} must be finite, got {shown(value)}.")
    return result


def as_python(value: Any) -> Any:
    """Give NumPy's integers and arrays as Python's integers and lists; anything else as it is."""
    if type(value) in (int, tuple, list, str) or not hasattr(value, "tolist"):
        return value
    try:
        return value.tolist()
    except Exception:  # an array whose values are not known while a program is traced
        return value


def entries(value: object, name: str, what: str) -> tuple[Any, ...]:
    """``value`` as a tuple of what a caller gives several of.

    Raises:
        TypeError: ``value`` is no sequence, or a text.
    """
    plain = as_python(value)
    if isinstance(plain, str | bytes) or not isinstance(plain, Sequence):
        raise TypeError(f"{name} must be a sequence of {what}, got {shown(value)}.")
    return tuple(plain)


def check_callable(value: object, name: str) -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: ``value`` cannot be called.
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {shown(value)}.")


def check_instance(value: object, kind: type, name: str) -> None:
    """Refuse what is not of a class.

    Raises:
        TypeError: ``value`` is not of ``kind``.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(
            f"{name} must be {article} {kind.__name__}, got {shown(value)} of type "
            f"{type(value).__name__}."
        )


def shown(value: object) -> str:
    """How ``value`` reads in a message: not too long, and whatever its ``repr`` does."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

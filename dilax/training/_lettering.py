"""Names in pictures: in fonts that have their letters, and not longer than there is room for."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry

_BASE = "DejaVu Sans"
"""The font that comes with Matplotlib."""
_OF_BOXES = "Last Resort"
"""A font that comes with Matplotlib and draws a box for every letter."""
_REGULAR = 400
"""The weight of letters that are neither light nor bold."""


class Lettering(NamedTuple):
    """Names as they can be drawn."""

    names: list[str]
    family: list[str]
    """The fonts that have their letters, to be given as ``fontfamily``."""
    note: str
    """Which letters no installed font has, so that names with them are numbered; or empty."""


def letter(names: Sequence[str], *, longest: int) -> Lettering:
    r"""Shorten names to ``longest`` letters, and choose fonts that have all of their letters.

    A name with a letter that no installed font has becomes ``#`` and its number.

    >>> letter(["a rather long name", "cost in $"], longest=10).names
    ['a rather …', 'cost in \\$']
    """
    shortened = [_shorten(" ".join(name.split()), longest) for name in names]
    missing = {char for char in "".join(shortened) if char.isprintable()}
    family: list[str] = []
    for font, letters in _fonts():
        if not missing:
            break
        if missing & letters:
            family.append(font)
            missing -= letters
    drawn = [
        f"#{number}" if missing & set(name) else _plain(name)
        for number, name in enumerate(shortened)
    ]
    return Lettering(drawn, family or [_BASE], _note(missing))


def _fonts() -> Iterator[tuple[str, set[str]]]:
    """Iterate over the upright fonts and their letters, that of Matplotlib first."""
    from matplotlib.font_manager import fontManager, weight_dict
    from matplotlib.ft2font import FT2Font

    def order(entry: "FontEntry") -> tuple:
        weight = (
            entry.weight
            if isinstance(entry.weight, int)
            else weight_dict.get(entry.weight, _REGULAR)
        )
        return entry.name != _BASE, abs(weight - _REGULAR), entry.name, entry.fname

    for entry in sorted(fontManager.ttflist, key=order):
        if entry.style != "normal" or entry.name.startswith(_OF_BOXES):
            continue
        try:
            letters = FT2Font(entry.fname).get_charmap()
        except (OSError, RuntimeError, ValueError):  # a font that was removed, or is damaged
            continue
        yield entry.name, {chr(code) for code in letters}


def _shorten(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _plain(name: str) -> str:
    """Keep Matplotlib from reading formulas; leave out what is not printed at all."""
    return "".join(char for char in name if char.isprintable()).replace("$", r"\$")


def _note(missing: set[str]) -> str:
    if not missing:
        return ""
    scripts = sorted({unicodedata.name(char, "UNKNOWN").split()[0] for char in missing})
    return f"# stands for a name in letters that no installed font has: {', '.join(scripts[:3])}"

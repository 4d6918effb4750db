"""Tables in Markdown."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, its first column to the left and the others to the right."""
    line = "| " + " | ".join(header) + " |\n"
    rule = "|---|" + "---:|" * (len(header) - 1) + "\n"
    return line + rule + "".join("| " + " | ".join(row) + " |\n" for row in rows)

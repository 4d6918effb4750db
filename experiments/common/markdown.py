"""Tables in Markdown."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table with its first column left-aligned and the others right-aligned."""
    line = "| " + " | ".join(header) + " |\n"
    rule = "|---|" + "---:|" * (len(header) - 1) + "\n"
    return line + rule + "".join("| " + " | ".join(row) + " |\n" for row in rows)

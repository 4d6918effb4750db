import dataclasses
import sys
from typing import Literal

import pytest

from dilax.training.flags import parse


@dataclasses.dataclass(frozen=True)
class Config:
    """Do something."""

    epochs: int = 3
    """Passes over the images."""
    device: Literal["cpu", "gpu"] = "cpu"
    """Where."""

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"--epochs must be at least 1, received {self.epochs}")


def test_flags_make_a_config():
    assert parse(Config, ["--epochs", "5"]) == Config(epochs=5)
    assert parse(Config, ["--device", "gpu"], default=Config(epochs=7)) == Config(7, "gpu")


def test_help_ends_the_program_and_shows_docstrings(capsys):
    with pytest.raises(SystemExit):
        parse(Config, ["--help"])
    assert "Passes over the images. (default: 3)" in capsys.readouterr().out


class Terminal:
    """A standard output that takes Unicode, or not, and colours."""

    def __init__(self, encoding, colour):
        self.encoding, self.colour = encoding, colour

    def isatty(self):
        return self.colour

    def write(self, text):
        return len(text)

    def flush(self):
        pass


@pytest.mark.parametrize("terminal", [Terminal("utf-8", True), Terminal("ascii", False)])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "x"], "Error parsing --epochs: invalid literal for int() with base 10: 'x'"),
        (["--epochs"], "Missing value for argument '--epochs'. Expected 1 values."),
        (["--epochs", "0"], "--epochs must be at least 1, received 0"),
        (["--epocs", "1"], "Unrecognized options: --epocs, 1; did you mean --epochs?"),
        (["sideways"], "Unrecognized options: sideways"),
        (
            ["--device", "abacus"],
            "invalid choice 'abacus' for argument '--device'. Expected one of ('cpu', 'gpu').",
        ),
    ],
)
def test_a_mistake_is_one_line(monkeypatch, terminal, arguments, message):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(ValueError) as mistake:
        parse(Config, arguments)
    assert str(mistake.value) == message

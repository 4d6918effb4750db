"""Lines of a program on a terminal of some width, and elsewhere; the stages that it shows."""

import contextlib
import io
import os
import pty
import subprocess
import sys
import time

import pytest
from common.terminal import print_all_letters, say, stage

from tests.processes import ROOT, environment

SENTENCE = "the flag --learning-rate of an unreasonably long-winded program must be positive, got 0"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 40 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    return Terminal()


def test_lines_are_broken_between_words_on_a_terminal_alone(terminal):
    say(SENTENCE, file=terminal)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 3 and max(map(len, lines)) < 40
    assert " ".join(lines) == SENTENCE
    file = io.StringIO()
    say(SENTENCE, file=file)
    assert file.getvalue() == SENTENCE + "\n"


def test_later_lines_are_indented(terminal):
    say(SENTENCE, file=terminal, indent=15)
    first, *others = terminal.getvalue().splitlines()
    assert first[0] == "t" and all(line[:16].strip() == line[15] for line in others)


@pytest.mark.parametrize("text", ["stopped", SENTENCE, "C:\\a file"])
def test_a_command_can_be_copied_from_a_line_of_its_own(terminal, text):
    command = "python experiments/mnist_dsdc.py --output a/folder/with/a/long/name --resume"
    say(f"{text}; continue with: {command}", file=terminal)
    *lines, last = terminal.getvalue().splitlines()
    assert last == command
    assert " ".join(lines) == f"{text}; continue with:"


def test_a_long_word_is_not_broken(terminal):
    say(f"see {'x' * 60} there", file=terminal)
    assert "x" * 60 in terminal.getvalue().splitlines()


def test_a_stage_counts_its_seconds_on_a_terminal(terminal):
    with contextlib.redirect_stdout(terminal), stage("loading"):
        time.sleep(0.5)
    *counted, last = terminal.getvalue().split("\r\x1b[2K")
    assert "loading: 0 s" in counted and last in {f"loading: 0.{n} s\n" for n in (5, 6, 7, 8, 9)}
    terminal.truncate(0)
    with contextlib.redirect_stdout(terminal), stage("importing", keep=False):
        pass
    assert terminal.getvalue().strip("\0") == "\r\x1b[2K"


@pytest.mark.parametrize("fails", [False, True])
def test_a_stage_is_one_line_elsewhere(capsys, fails):
    try:
        with stage("loading"):
            assert capsys.readouterr().out == "loading"  # at once
            if fails:
                raise ValueError
    except ValueError:
        assert capsys.readouterr().out == "\n"
    else:
        assert capsys.readouterr().out.startswith(": 0.")


def test_letters_that_the_output_cannot_encode_are_shown_by_their_codes():
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    print_all_letters(file)
    say("猫 \udcff", file=file)
    assert file.buffer.getvalue() == b"\\u732b \\udcff\n"


def test_a_stage_that_is_not_shown_prints_nothing(capsys):
    with stage("loading", show=False):
        pass
    assert capsys.readouterr().out == ""


@pytest.mark.long
def test_a_program_shows_something_at_once(tmp_path):
    """Before it has imported JAX, on a terminal."""
    parent, child = pty.openpty()
    program = ROOT / "experiments" / "mnist_dsdc.py"
    command = [sys.executable, str(program), "--dataset", "/nowhere", "--output", str(tmp_path)]
    process = subprocess.Popen(command, env=environment(), stdout=child, stderr=child)
    os.close(child)
    assert b"importing JAX and Flax: 0 s" in os.read(parent, 1000)
    assert process.wait(timeout=120) == 2
    os.close(parent)

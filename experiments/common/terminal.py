"""What a program shows before and after it trains: the stage it is in, and lines that fit.

Importing this module imports only the standard library, so that it can show that the rest is being
imported.
"""

import contextlib
import io
import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import TextIO

_CLEAR = "\r\x1b[2K"
_COMMAND = re.compile(r": (python .*)$")


@contextlib.contextmanager
def stage(what: str, *, show: bool = True, keep: bool = True) -> Iterator[None]:
    """Show what is being done and, in the end, how many seconds it took.

    On a terminal, the seconds are counted meanwhile, and without ``keep`` the line vanishes.
    """
    if not show:
        yield
        return
    started, live = time.perf_counter(), sys.stdout.isatty()
    ended, done = threading.Event(), False
    if live:
        counter = threading.Thread(target=_count, args=(what, started, ended), daemon=True)
        counter.start()
    else:
        print(what, end="", flush=True)
    try:
        yield
        done = True
    finally:
        ended.set()
        if live:
            counter.join()
            print(_CLEAR, end="", flush=True)
        seconds = f": {time.perf_counter() - started:.1f} s" if done else ""
        if not live:
            print(seconds, flush=True)
        elif done and keep:
            print(what + seconds, flush=True)


def _count(what: str, started: float, ended: threading.Event) -> None:
    while not ended.wait(0.2):
        room = shutil.get_terminal_size().columns - 10
        print(f"{_CLEAR}{what[:room]}: {time.perf_counter() - started:.0f} s", end="", flush=True)


def print_all_letters(*files: TextIO) -> None:
    """Let files show letters that they cannot encode, as of names of classes, by their codes."""
    for file in files:
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors="backslashreplace")


def say(text: str, *, file: TextIO | None = None, indent: int = 0) -> None:
    """Print a text; on a terminal, with its lines broken between words.

    A command at its end gets a line of its own, which is not broken, so that it can be copied.

    Args:
        text: One paragraph.
        file: Where to print; by default to the standard output.
        indent: Number of spaces before all lines but the first.
    """
    file = sys.stdout if file is None else file
    if file.isatty():
        columns = shutil.get_terminal_size().columns
        head, command, _ = [*_COMMAND.split(text, maxsplit=1), "", ""][:3]
        space = " " * indent
        text = textwrap.fill(
            f"{head}:" if command else head,
            columns - 1,
            subsequent_indent=space,
            break_long_words=False,
            break_on_hyphens=False,
        )
        text += f"\n{space}{command}" if command else ""
    print(text, file=file, flush=True)

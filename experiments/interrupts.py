"""How a signal ends a program that has nothing to save: at once, and with one line.

Python turns Ctrl-C into an exception. JAX calls Python functions in which an exception is lost,
one of them at each garbage collection, and it cannot be left in the middle of its own start. So a
program begins with ``end_at_signals()``, before it imports JAX. While it trains,
``dilax.training.fit`` handles the signals, and saves the state.

This file imports only what Python has already loaded, to be quick.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType

UNSAVED = "interrupted before the first step: nothing is saved"
UNFINISHED = "interrupted: the results are not complete"
"""What a program says that writes its results in the end."""
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
SHOW_CURSOR = b"\x1b[?25h"
"""What a terminal needs if a progress bar has hidden its cursor."""


class EndProgram:
    """A signal handler that prints a line and ends the process, from wherever it is."""

    def __init__(self, message: str) -> None:
        self.message: Callable[[], str] = lambda: message

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Exit with status 128 + ``number``."""
        try:
            if os.isatty(1):
                os.write(1, SHOW_CURSOR)
            os.write(2, f"{self.message()}\n".encode())
        finally:  # also where the terminal is gone
            os._exit(128 + number)


def end_at_signals(message: str = UNSAVED) -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP end this process, unless they are ignored, as by nohup."""
    end = EndProgram(message)
    for name in SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def say_when_interrupted(message: Callable[[], str]) -> None:
    """Set the line that a signal prints, in a program that began with ``end_at_signals``."""
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, EndProgram):
        handler.message = message

"""Ctrl-C and SIGTERM as a request to stop at the next good moment."""

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop, by Ctrl-C or SIGTERM; its state is saved."""

    def __init__(self, signal_number: int, *, step: int, total_steps: int, folder: Path) -> None:
        self.signal_number = signal_number
        self.folder = folder
        name = signal.Signals(signal_number).name
        super().__init__(f"{name} at step {step:,} of {total_steps:,}: state saved in {folder}")


class StopRequest:
    """A context in which the first signal is only noted, in `received`; the second one ends all.

    Outside the main thread, where Python delivers no signals, it does nothing.

    >>> with StopRequest() as stop:
    ...     signal.raise_signal(signal.SIGINT)
    >>> stop.received == signal.SIGINT
    True
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

"""What a run shows on the terminal, and how Ctrl-C stops it."""

import signal
import textwrap
import threading
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_JOINED = "\N{NO-BREAK SPACE}"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ProgressBar(Progress):
    """A progress bar with epoch, loss, score, examples per second and remaining time.

    Where the output is not a terminal, one line is printed for each epoch instead.
    """

    def __init__(self, *, epochs: int, total_steps: int, score: str, console: Console) -> None:
        super().__init__(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._epochs = epochs
        self._score = score
        self._run = self.add_task("", total=total_steps, epoch="", numbers="compiling")

    def say(self, text: str) -> None:
        """Print a line; on a terminal it is broken between words."""
        if self.console.is_terminal:
            text = textwrap.fill(
                text, self.console.width, break_long_words=False, break_on_hyphens=False
            )
        self.console.print(
            text.replace(_JOINED, " "), highlight=False, markup=False, soft_wrap=True
        )

    def show_step(self, step: int, *, epoch: int, means: dict[str, float], speed: float) -> None:
        """Show that ``step`` steps are completed, in ``epoch`` (from 0)."""
        numbers = f"{self._numbers(means)}  {speed:,.0f} examples/s"
        self.update(self._run, completed=step, epoch=f"{epoch + 1}/{self._epochs}", numbers=numbers)

    def finish_epoch(self, line: dict[str, float]) -> None:
        """Print the line of a completed epoch."""
        train = {name: line[f"train_{name}"] for name in ("loss", self._score)}
        parts = [f"epoch {line['epoch']}/{self._epochs}", *self._numbers(train).split("  ")]
        if (held_out := f"validation_{self._score}") in line:
            parts.append(f"{_in_words(held_out)} {line[held_out]:.4f}")
        parts += [f"{line['examples_per_second']:,.0f} examples/s", f"{line['seconds']:.1f} s"]
        self.say("  ".join(part.replace(" ", _JOINED) for part in parts))

    def _numbers(self, means: dict[str, float]) -> str:
        score = f"{_in_words(self._score)} {means[self._score]:.4f}"
        return f"loss {means['loss']:.4f}  {score}"


class Interrupted(KeyboardInterrupt):
    """A run was stopped by Ctrl-C, SIGTERM or SIGHUP, and its state is saved."""

    def __init__(self, signal_number: int, *, step: int, total_steps: int, folder: Path) -> None:
        self.signal_number = signal_number
        self.folder = folder
        name = signal.Signals(signal_number).name
        super().__init__(f"{name} at step {step:,} of {total_steps:,}: state saved in {folder}")


class StopRequest:
    """A context that records the first SIGINT, SIGTERM or SIGHUP; the second one acts.

    Outside the main thread, to which Python delivers all signals, it does nothing.

    >>> with StopRequest() as stop:
    ...     signal.raise_signal(signal.SIGINT)
    >>> stop.received == signal.SIGINT
    True
    """

    def __init__(self) -> None:
        self.received: int | None = None  # the number of the signal
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                number: signal.signal(number, self._record) for number in _heeded_signals()
            }
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()


def _in_words(metric: str) -> str:
    return metric.replace("_", " ")


def _heeded_signals() -> tuple[int, ...]:
    """Return the signals that stop a run: SIGHUP, too, unless ``nohup`` made it be ignored."""
    hang_up: int | None = getattr(signal, "SIGHUP", None)
    if hang_up is None or signal.getsignal(hang_up) is signal.SIG_IGN:
        return SIGNALS
    return (*SIGNALS, hang_up)

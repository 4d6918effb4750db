"""What a person sees while a run is training."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingBar:
    """A progress bar with epoch, loss, accuracy, images a second and time left.

    On a terminal it moves; elsewhere only one line an epoch is printed.
    """

    def __init__(self, *, epochs: int, total_steps: int, console: Console | None = None) -> None:
        self._console = console or Console()
        self._epochs = epochs
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("", total=total_steps, epoch="", numbers="compiling")

    def __enter__(self) -> "TrainingBar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def move(self, step: int, *, epoch: int, means: dict[str, float], speed: float) -> None:
        """Show where the run is: `step` steps done, in epoch `epoch` (from 0)."""
        numbers = f"{_numbers(means)}  {speed:,.0f} images/s"
        self._progress.update(
            self._task, completed=step, epoch=f"{epoch + 1}/{self._epochs}", numbers=numbers
        )

    def finish_epoch(self, line: dict[str, float]) -> None:
        """Print the line of one finished epoch."""
        train = {"loss": line["train_loss"], "accuracy": line["train_accuracy"]}
        text = f"epoch {line['epoch']}/{self._epochs}  {_numbers(train)}"
        if "validation_accuracy" in line:
            text += f"  validation accuracy {line['validation_accuracy']:.4f}"
        text += f"  {line['images_per_second']:,.0f} images/s  {line['seconds']:.1f} s"
        self._console.print(text, highlight=False, soft_wrap=True)


def _numbers(means: dict[str, float]) -> str:
    return f"loss {means['loss']:.4f}  accuracy {means['accuracy']:.4f}"

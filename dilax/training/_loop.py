"""The loop over epochs, which also measures time, writes files and shows progress."""

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from jax.stages import Wrapped
from rich.console import Console

from dilax.training._checkpoints import CheckpointError, Checkpoints, Restored
from dilax.training._devices import gather_from_processes, is_main_process
from dilax.training._epoch import Plan, TrainSteps
from dilax.training._logs import History, write_metrics
from dilax.training._parallelism import Loader, Parallelism, unreplicate
from dilax.training._records import CHECKPOINTS_FOLDER, best_step
from dilax.training._state import TrainState
from dilax.training._task import Classification, Task
from dilax.training._terminal import Interrupted, ProgressBar, StopRequest
from dilax.training._totals import Fault, Totals

MAX_ROLLBACKS = 3
"""A run that still diverges after this many rollbacks fails."""
STOP_ADVICE = "reduce learning_rate, or set on_nan='rollback'"
ROLLBACK_ADVICE = (
    f"it went back to a checkpoint {MAX_ROLLBACKS} times before, in vain: reduce learning_rate, "
    "clip the norm of the gradient, or compute in float32"
)


class Position(NamedTuple):
    """The arrays of a run that a checkpoint holds."""

    state: TrainState
    totals: Totals
    """Totals of the current epoch."""


class Fitted(NamedTuple):
    """A finished run."""

    state: TrainState
    """On one device."""
    best: TrainState | None
    """The state after the epoch of the highest validation score, the last of equal ones, if
    ``read_best`` asked for it; None without validation."""
    history: list[dict[str, Any]]
    """The lines of ``metrics.jsonl``."""
    train_seconds: float
    """Time in training steps, without compilation, validation and saving."""
    compile_seconds: float
    """Time to trace and compile the training steps, summed over all starts of the run."""
    rollbacks: int
    """How often the run diverged and went back to a checkpoint."""


class DivergenceError(FloatingPointError):
    """A loss or gradient is not finite; the message says in which step and array."""


def fit(
    state: TrainState,
    loader: Loader,
    *,
    train_steps: Wrapped,
    task: Task = Classification(),
    parallelism: Parallelism,
    plan: Plan,
    folder: Path,
    config: Mapping[str, Any],
    description: Mapping[str, Any] = MappingProxyType({}),
    learning_rate: optax.Schedule,
    validate: Callable[[TrainState], dict[str, float]] | None = None,
    read_best: bool = False,
    on_nan: Literal["stop", "rollback"] = "stop",
    on_start: Callable[[], None] = lambda: None,
    on_metrics: Callable[[History], None] = lambda history: None,
    console: Console | None = None,
) -> Fitted:
    """Train, writing ``metrics.jsonl``, ``metrics.csv`` and ``checkpoints/`` to ``folder``.

    Runs resume exactly: if the folder holds a checkpoint, the run continues from it and ends bit
    for bit like an uninterrupted one; corrupt checkpoints are detected and skipped. The first
    Ctrl-C, SIGTERM or SIGHUP stops the run after the current chunk of steps, the second one at
    once. Of several processes, the first one writes.

    Args:
        state: The state before the first step; its buffers are donated.
        loader: The training examples.
        train_steps: The result of ``parallelism.wrap(make_train_steps(...))``. Runs that share it
            compile it once.
        task: The one that the steps were made for.
        parallelism: How the steps run on the devices.
        plan: The length of the run.
        folder: The folder of the run, which exists.
        config: JSON that must be equal for a run to continue.
        description: JSON that says of which network the arrays are, for those who load it.
        learning_rate: The optimiser's schedule, for the metrics.
        validate: Computes ``loss`` and the metrics on held-out examples after each epoch.
        read_best: Whether to return the state of the best epoch.
        on_nan: What to do when a loss or gradient is not finite: ``"stop"``, or ``"rollback"`` to
            the newest checkpoint and continue with another order of examples, at most three times
            (A. Chowdhery et al., "PaLM", 2022, section 5.1, skip batches instead).
        on_start: Called when the run is sure to start or continue here: ``folder`` holds no
            checkpoint, or one that fits ``state`` and ``config``.
        on_metrics: Called, in the process that writes, with the lines of all epochs so far: at the
            start, and whenever they change.
        console: Where to print.

    Raises:
        Interrupted: A signal stopped the run; its state is saved.
        DivergenceError: A loss or gradient is not finite.
        MismatchError: The checkpoint in ``folder`` is of another ``config``.
        CheckpointError: It does not fit ``state``, or is damaged.
        SaveError: A checkpoint cannot be written.
        OSError: The metrics cannot be written.
    """
    console = console or Console(quiet=not is_main_process())
    bar = ProgressBar(
        epochs=plan.epochs, total_steps=plan.total_steps, score=task.score, console=console
    )
    checkpoints = Checkpoints(folder / CHECKPOINTS_FOLDER, config=config, description=description)
    run = _Run(
        plan=plan,
        loader=loader,
        task=task,
        parallelism=parallelism,
        learning_rate=learning_rate,
        checkpoints=checkpoints,
        folder=folder,
        on_metrics=on_metrics,
        bar=bar,
        position=Position(state, Totals.zero(task)),
        notes=_Notes(score=task.score),
    )
    with checkpoints, StopRequest() as stop, bar:
        run.start()
        on_start()
        if on_nan == "rollback" and not checkpoints.steps:
            run.save()  # the first rollback may go back to the start
        if run.step < plan.total_steps:
            data = loader.data()
            compiled = run.compile(train_steps, data)
        while run.step < plan.total_steps:
            try:
                run.train_epoch(compiled, data, stop)
            except DivergenceError as error:
                if on_nan == "stop":
                    raise DivergenceError(f"{error}; {run.kept()}; {STOP_ADVICE}.") from None
                if run.notes.rollbacks == MAX_ROLLBACKS:
                    raise DivergenceError(f"{error}; {ROLLBACK_ADVICE}.") from None
                run.roll_back(error)
                continue
            if run.step % plan.steps_per_epoch == 0:
                bar.finish_epoch(run.end_epoch(validate))
            run.save()
            if requested_anywhere(stop):
                checkpoints.wait()
                raise Interrupted(
                    stop.received or signal.SIGTERM,
                    step=run.step,
                    total_steps=plan.total_steps,
                    folder=folder,
                )
        return run.finish(read_best=read_best)


def requested_anywhere(stop: StopRequest) -> bool:
    """Return whether any process was asked to stop; every process must call this."""
    return bool(gather_from_processes(stop.received is not None).any())


@dataclasses.dataclass(kw_only=True)
class _Notes:
    """The part of a checkpoint that is JSON."""

    score: str
    """The metric by which an epoch is the best."""
    seconds: float = 0.0
    """Time in the training steps of the current epoch."""
    compile_seconds: float = 0.0
    rollbacks: int = 0
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """The lines of ``metrics.jsonl``."""


@dataclasses.dataclass(kw_only=True)
class _Run:
    """The parts of a run that stay, and its changing position, step and notes."""

    plan: Plan
    loader: Loader
    task: Task
    parallelism: Parallelism
    learning_rate: optax.Schedule
    checkpoints: Checkpoints
    folder: Path
    on_metrics: Callable[[History], None]
    bar: ProgressBar
    position: Position
    notes: _Notes
    step: int = 0

    @property
    def epoch(self) -> int:
        """The current epoch, from 0."""
        return self.step // self.plan.steps_per_epoch

    @property
    def best_step(self) -> int | None:
        """The step after the epoch of the highest validation score, the last of equal ones."""
        return best_step(self.notes.history, score=self.notes.score)

    def start(self) -> None:
        """Continue from the newest checkpoint, if there is one."""
        restored = self.checkpoints.restore(self.position)
        step = -1 if restored is None else int(restored.tree.state.step)
        if np.ptp(gather_from_processes(step)):
            raise CheckpointError(
                f"all processes must see the same checkpoints in {self.checkpoints.folder}; use a "
                "folder on a shared file system."
            )
        if restored is not None:
            for message in restored.skipped:
                self.bar.say(f"{message}; an earlier one is used")
            self._return_to(restored)
        self._place()
        self._write_metrics()

    def compile(self, train_steps: Wrapped, data: Any) -> TrainSteps:
        """Compile before the first call, to measure the time separately."""
        started = time.perf_counter()
        rows = np.zeros((self.plan.chunk_steps, self.plan.batch_size), np.int32)
        batches = next(self.loader.chunks([rows]))
        compiled = train_steps.lower(*self.position, data, batches).compile()
        seconds = time.perf_counter() - started
        self.notes.compile_seconds += seconds
        self.bar.say(f"compiling: {seconds:.1f} s")
        return compiled

    def train_epoch(self, train_steps: TrainSteps, data: Any, stop: StopRequest) -> None:
        """Train to the end of the epoch, or of the chunk in which a stop is requested."""
        epoch = self.epoch
        started = time.perf_counter()
        for batches in self.loader.chunks(self._rows()):
            self.position = Position(*train_steps(*self.position, data, batches))
            totals = unreplicate(self.position.totals)
            means = totals.means(self.task)
            elapsed, started = time.perf_counter() - started, time.perf_counter()
            self._refuse_divergence(totals.fault)
            self.notes.seconds += elapsed
            self.step += self.plan.chunk_steps
            examples = self.plan.chunk_steps * self.plan.batch_size
            self.bar.show_step(self.step, epoch=epoch, means=means, speed=examples / elapsed)
            if requested_anywhere(stop):
                return

    def end_epoch(
        self, validate: Callable[[TrainState], dict[str, float]] | None
    ) -> dict[str, Any]:
        """Record a completed epoch and reset its sums; return its line of ``metrics.jsonl``."""
        state, totals = self.position
        means = unreplicate(totals).means(self.task)
        held_out = validate(unreplicate(state)) if validate is not None else {}
        line = {
            "epoch": self.step // self.plan.steps_per_epoch,
            "step": self.step,
            **{f"train_{name}": value for name, value in means.items()},
            **{f"validation_{name}": value for name, value in held_out.items()},
            "learning_rate": float(self.learning_rate(self.step - 1)),
            "seconds": self.notes.seconds,
            "examples_per_second": int(unreplicate(totals.examples)) / self.notes.seconds,
        }
        self.position = Position(state, self.parallelism.replicate(Totals.zero(self.task)))
        self.notes.seconds = 0.0
        self.notes.history.append(line)
        self._write_metrics()
        return line

    def save(self) -> None:
        """Save a checkpoint."""
        notes = dataclasses.asdict(self.notes)
        self.checkpoints.save(self.step, self.position, notes=notes, best=self.best_step)

    def roll_back(self, error: DivergenceError) -> None:
        """Go back to the newest checkpoint, and continue with other random numbers."""
        restored = self.checkpoints.restore(self.position)
        assert restored is not None, "the state before the first step is saved"
        rollbacks, seconds = self.notes.rollbacks + 1, self.notes.compile_seconds
        self._return_to(restored)
        self.notes.rollbacks, self.notes.compile_seconds = rollbacks, seconds
        state = self.position.state
        state = dataclasses.replace(state, key=jax.random.fold_in(state.key, rollbacks))
        self.position = self.position._replace(state=state)
        self._place()
        self._write_metrics()
        self.bar.say(
            f"{error}: back to step {self.step:,}, with other examples "
            f"(rollback {rollbacks} of {MAX_ROLLBACKS})"
        )

    def kept(self) -> str:
        """Say which state is saved."""
        self.checkpoints.wait()
        steps = self.checkpoints.steps
        return f"the state after step {steps[0]:,} is saved" if steps else "no state is saved yet"

    def finish(self, *, read_best: bool) -> Fitted:
        """Return the finished run."""
        best = self.best_step if read_best else None
        kept = None if best is None else self.checkpoints.restore(self.position, step=best)
        return Fitted(
            unreplicate(self.position.state),
            None if kept is None else kept.tree.state,
            self.notes.history,
            train_seconds=sum(line["seconds"] for line in self.notes.history),
            compile_seconds=self.notes.compile_seconds,
            rollbacks=self.notes.rollbacks,
        )

    def _return_to(self, restored: Restored) -> None:
        self.position = restored.tree
        self.step = int(self.position.state.step)
        self.notes = _Notes(**restored.notes)

    def _place(self) -> None:
        state, totals = self.position
        self.position = Position(
            self.parallelism.place_state(state), self.parallelism.replicate(totals)
        )

    def _write_metrics(self) -> None:
        if is_main_process():
            write_metrics(self.folder, self.notes.history)
            self.on_metrics(self.notes.history)

    def _rows(self) -> Iterator[np.ndarray]:
        """Iterate over the remaining index batches of the current epoch."""
        key = unreplicate(self.position.state.key)
        order = dataclasses.replace(self.position.state, key=key).order_key(self.epoch)
        return self.plan.chunks(order, step=self.step)

    def _refuse_divergence(self, fault: Fault) -> None:
        at, leaf, leaves = (int(value) for value in fault)
        if at < 0:
            return
        paths = jax.tree_util.tree_leaves_with_path(self.position.state.params)
        parts = "the loss"
        if leaf >= 0:
            name = jax.tree_util.keystr(paths[leaf][0], simple=True, separator=".")
            parts = f"the gradient of {name}"
        parts += f" and {leaves - 1} more" if leaves > 1 else ""
        raise DivergenceError(
            f"{parts} is not finite in step {at + 1:,}, learning rate "
            f"{float(self.learning_rate(at)):.3g}, epoch {at // self.plan.steps_per_epoch + 1}"
        )

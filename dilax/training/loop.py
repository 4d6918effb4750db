"""The loop over epochs: the one place in training with a clock, a file and a progress bar."""

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from jax.stages import Wrapped
from rich.console import Console

from dilax.training import hosts
from dilax.training.checkpoint import CheckpointError, Checkpoints, Restored
from dilax.training.epoch import TrainSteps
from dilax.training.feeds import Feed
from dilax.training.folder import CHECKPOINTS, METRICS, MetricsLog
from dilax.training.interrupt import Interrupted, StopRequest
from dilax.training.plan import Plan
from dilax.training.progress import TrainingBar
from dilax.training.state import TrainState
from dilax.training.step import Fault, Totals
from dilax.training.wrappers import Wrapper, local

MOST_ROLLBACKS = 3
"""After so many, a run that still diverges is ended."""


class Position(NamedTuple):
    """Where a run is: what a checkpoint holds."""

    state: TrainState
    totals: Totals
    """Of the epoch under way."""


class Fitted(NamedTuple):
    """A finished run."""

    state: TrainState
    """On one device."""
    best: TrainState | None
    """The state after the epoch of the greatest validation accuracy, the later one of equals, where
    `fit` was asked for it; None where nothing was validated."""
    history: list[dict[str, Any]]
    """The lines of metrics.jsonl."""
    train_seconds: float
    """Time in training steps, without compilation, validation and saving."""
    compile_seconds: float
    """Time to trace and compile the training steps, in all starts of the run together."""
    rollbacks: int
    """How often the run went back to a checkpoint because it had diverged."""


class DivergenceError(FloatingPointError):
    """A loss or a gradient is not finite; the message says in which step and where."""


def fit(
    state: TrainState,
    feed: Feed,
    *,
    train_steps: Wrapped,
    wrapper: Wrapper,
    plan: Plan,
    folder: Path,
    config: Mapping[str, Any],
    learning_rate: optax.Schedule,
    validate: Callable[[TrainState], dict[str, float]] | None = None,
    read_best: bool = False,
    on_nan: Literal["stop", "rollback"] = "stop",
    console: Console | None = None,
) -> Fitted:
    """Train, and leave `metrics.jsonl` and `checkpoints/` in `folder`.

    A folder that holds a checkpoint is continued from it, and ends bit for bit where the run that
    never stopped would have ended. The first Ctrl-C or SIGTERM ends the run after the chunk of
    steps under way; the second one ends it at once. Of many processes, the first one writes.

    Args:
        state: the state before the first step; its buffers are given away.
        feed: the training images.
        train_steps: what `wrapper` made of `epoch.make_train_steps`; runs that share it compile
            it once.
        wrapper: how it runs.
        plan: the length of the run.
        folder: the folder of the run, which exists.
        config: JSON that must be equal for a run to be continued.
        learning_rate: the schedule that the optimiser follows, to be noted.
        validate: gives `loss` and `accuracy` on held-out images, noted after each epoch.
        read_best: read the state of the best epoch back when the run is over.
        on_nan: what to do when a loss or a gradient is not finite: "stop", or "rollback" to the
            newest checkpoint and go on from it in another order of images (what Chowdhery et al.,
            "PaLM", 2022, section 5.1, did by skipping batches), three times at most.
        console: where to print.

    Raises:
        Interrupted: a signal ended the run; its state is saved.
        DivergenceError: a loss or a gradient is not finite.
        CheckpointError: the checkpoint in `folder` does not fit `state` or `config`, or cannot be
            written.
        OSError: the metrics cannot be written.
    """
    console = console or Console(quiet=not hosts.writes())
    bar = TrainingBar(epochs=plan.epochs, total_steps=plan.total_steps, console=console)
    checkpoints = Checkpoints(folder / CHECKPOINTS, config=config)
    log = MetricsLog(folder / METRICS)
    run = _Run(plan, wrapper, checkpoints, log, console, Position(state, Totals.zero()))
    with checkpoints, StopRequest() as stop, bar:
        run.start()
        if on_nan == "rollback" and not checkpoints.steps:
            run.save()  # so that there is where to go back to
        if run.step < plan.total_steps:
            data = feed.whole()
            compiled = run.compile(train_steps, feed, data)
        while run.step < plan.total_steps:
            try:
                run.train_epoch(
                    compiled,
                    feed,
                    data,
                    bar=bar,
                    learning_rate=learning_rate,
                    stopped=lambda: stop.received is not None,
                )
            except DivergenceError as error:
                if on_nan == "stop" or run.rollbacks == MOST_ROLLBACKS:
                    raise
                run.roll_back(error)
                continue
            if run.step % plan.steps_per_epoch == 0:
                bar.finish_epoch(run.end_epoch(learning_rate, validate))
            run.save()
            if hosts.anywhere(stop.received is not None):
                checkpoints.wait()
                raise Interrupted(
                    stop.received or signal.SIGTERM,
                    step=run.step,
                    total_steps=plan.total_steps,
                    folder=folder,
                )
        return run.finish(read_best=read_best)


@dataclasses.dataclass
class _Run:
    """A run on its way; the only thing here that changes."""

    plan: Plan
    wrapper: Wrapper
    checkpoints: Checkpoints
    log: MetricsLog
    console: Console
    position: Position
    step: int = 0
    seconds: float = 0.0
    """Spent in training steps since the epoch under way began."""
    compile_seconds: float = 0.0
    rollbacks: int = 0
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def epoch(self) -> int:
        """The epoch under way, from 0."""
        return self.step // self.plan.steps_per_epoch

    @property
    def best_step(self) -> int | None:
        """Where the validation accuracy was greatest, the later one of equals."""
        validated = [line for line in self.history if "validation_accuracy" in line]
        by_accuracy = {(line["validation_accuracy"], line["step"]) for line in validated}
        return max(by_accuracy)[1] if by_accuracy else None

    def start(self) -> None:
        """Stand where the newest checkpoint is, if there is one."""
        restored = self.checkpoints.restore(self.position)
        step = -1 if restored is None else int(restored.tree.state.step)
        if not hosts.same_everywhere(step):
            raise CheckpointError(
                f"the processes see different checkpoints in {self.checkpoints.folder}; required: "
                "a folder that all of them share"
            )
        if restored is not None:
            for message in restored.passed_over:
                self.console.print(f"{message}; an earlier one is used", soft_wrap=True)
            self._return_to(restored)
        self._place()
        self._log()

    def compile(self, train_steps: Wrapped, feed: Feed, data: Any) -> TrainSteps:
        """Compile ahead of the first call, so that its time is known apart."""
        started = time.perf_counter()
        rows = np.zeros((self.plan.chunk_steps, self.plan.batch_size), np.int32)
        batches = next(feed.chunks([rows]))
        compiled = train_steps.lower(*self.position, data, batches).compile()
        self.compile_seconds += time.perf_counter() - started
        return compiled

    def train_epoch(
        self,
        train_steps: TrainSteps,
        feed: Feed,
        data: Any,
        *,
        bar: TrainingBar,
        learning_rate: optax.Schedule,
        stopped: Callable[[], bool],
    ) -> None:
        """Train to the end of the epoch, or of the chunk in which a stop was requested."""
        epoch = self.epoch
        started = time.perf_counter()
        for batches in feed.chunks(self._rows()):
            self.position = Position(*train_steps(*self.position, data, batches))
            totals = local(self.position.totals)
            means = totals.means()
            elapsed, started = time.perf_counter() - started, time.perf_counter()
            self._refuse_divergence(totals.fault, learning_rate)
            self.seconds += elapsed
            self.step += self.plan.chunk_steps
            images = self.plan.chunk_steps * self.plan.batch_size
            bar.move(self.step, epoch=epoch, means=means, speed=images / elapsed)
            if hosts.anywhere(stopped()):
                return

    def end_epoch(
        self,
        learning_rate: optax.Schedule,
        validate: Callable[[TrainState], dict[str, float]] | None,
    ) -> dict[str, Any]:
        """Note the epoch that is complete, and clear its sums for the next; give its line."""
        state, totals = self.position
        means = local(totals).means()
        held_out = validate(local(state)) if validate is not None else {}
        line = {
            "epoch": self.step // self.plan.steps_per_epoch,
            "step": self.step,
            **{f"train_{name}": value for name, value in means.items()},
            **{f"validation_{name}": value for name, value in held_out.items()},
            "learning_rate": float(learning_rate(self.step - 1)),
            "seconds": self.seconds,
            "images_per_second": int(local(totals.examples)) / self.seconds,
        }
        self.position = Position(state, self.wrapper.replicate(Totals.zero()))
        self.seconds = 0.0
        self.history.append(line)
        self._log()
        return line

    def save(self) -> None:
        """Save where the run is."""
        noted = ("seconds", "compile_seconds", "rollbacks", "history")
        notes = {name: getattr(self, name) for name in noted}
        self.checkpoints.save(self.step, self.position, notes=notes, best=self.best_step)

    def roll_back(self, error: DivergenceError) -> None:
        """Go back to the newest checkpoint, and on from it with other draws."""
        restored = self.checkpoints.restore(self.position)
        assert restored is not None, "the state before the first step is saved"
        rollbacks, seconds = self.rollbacks + 1, self.compile_seconds
        self._return_to(restored)
        self.rollbacks, self.compile_seconds = rollbacks, seconds
        state = self.position.state
        state = dataclasses.replace(state, key=jax.random.fold_in(state.key, rollbacks))
        self.position = self.position._replace(state=state)
        self._place()
        self._log()
        self.console.print(f"{error}: back to step {self.step}", soft_wrap=True)

    def finish(self, *, read_best: bool) -> Fitted:
        """Give the finished run."""
        best = self.best_step if read_best else None
        kept = None if best is None else self.checkpoints.restore(self.position, step=best)
        return Fitted(
            local(self.position.state),
            None if kept is None else kept.tree.state,
            self.history,
            train_seconds=sum(line["seconds"] for line in self.history),
            compile_seconds=self.compile_seconds,
            rollbacks=self.rollbacks,
        )

    def _return_to(self, restored: Restored) -> None:
        self.position = restored.tree
        self.step = int(self.position.state.step)
        for name, value in restored.notes.items():
            setattr(self, name, value)

    def _place(self) -> None:
        state, totals = self.position
        self.position = Position(self.wrapper.place_state(state), self.wrapper.replicate(totals))

    def _log(self) -> None:
        if hosts.writes():
            self.log.write(self.history)

    def _rows(self) -> Iterator[np.ndarray]:
        """Give the index batches that are left of the epoch under way."""
        key = local(self.position.state.key)
        order = dataclasses.replace(self.position.state, key=key).order_key(self.epoch)
        return self.plan.chunks(order, step=self.step)

    def _refuse_divergence(self, fault: Fault, learning_rate: optax.Schedule) -> None:
        at, leaf, leaves = (int(value) for value in fault)
        if at < 0:
            return
        paths = jax.tree_util.tree_leaves_with_path(self.position.state.params)
        parts = (
            f"the gradient of {jax.tree_util.keystr(paths[leaf][0])}" if leaf >= 0 else "the loss"
        )
        parts += f" and {leaves - 1} more" if leaves > 1 else ""
        self.checkpoints.wait()
        steps = self.checkpoints.steps
        kept = f"the state after step {steps[0]} is saved" if steps else "no state is saved yet"
        raise DivergenceError(
            f"{parts} is not finite in step {at + 1:,}, learning rate "
            f"{float(learning_rate(at)):.3g}, epoch {at // self.plan.steps_per_epoch + 1}; "
            f"{kept}; make learning_rate smaller, or on_nan 'rollback'"
        )

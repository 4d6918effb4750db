"""The loop over epochs: the one place in training with a clock, a file and a progress bar."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array
from jax.stages import Wrapped
from rich.console import Console

from dilax.training.checkpoint import Checkpoints
from dilax.training.epoch import TrainSteps
from dilax.training.folder import CHECKPOINTS, METRICS, MetricsLog
from dilax.training.interrupt import Interrupted, StopRequest
from dilax.training.plan import Plan
from dilax.training.progress import TrainingBar
from dilax.training.state import TrainState
from dilax.training.step import Batch, Totals


class Position(NamedTuple):
    """Where a run is: what a checkpoint holds."""

    state: TrainState
    totals: Totals
    """Of the epoch under way."""


class Fitted(NamedTuple):
    """A finished run."""

    state: TrainState
    history: list[dict[str, Any]]
    """The lines of metrics.jsonl."""
    train_seconds: float
    """Time in training steps, without compilation, validation and saving."""
    compile_seconds: float
    """Time to trace and compile the training steps, in all starts of the run together."""


def fit(
    state: TrainState,
    data: Batch,
    *,
    train_steps: Wrapped,
    plan: Plan,
    folder: Path,
    config: Mapping[str, Any],
    learning_rate: optax.Schedule,
    validate: Callable[[TrainState], dict[str, float]] | None = None,
    console: Console | None = None,
) -> Fitted:
    """Train, and leave `metrics.jsonl` and `checkpoints/` in `folder`.

    A folder that holds a checkpoint is continued from it, and ends bit for bit where the run that
    never stopped would have ended. The first Ctrl-C or SIGTERM ends the run after the chunk of
    steps under way; the second one ends it at once.

    Args:
        state: the state before the first step; its buffers are given away.
        data: the whole training set, on the device.
        train_steps: what a wrapper made of `epoch.make_train_steps`; runs that share it compile
            it once.
        plan: the length of the run.
        folder: the folder of the run, which exists.
        config: JSON that must be equal for a run to be continued.
        learning_rate: the schedule that the optimiser follows, to be noted.
        validate: gives `loss` and `accuracy` on held-out images, noted after each epoch.
        console: where to print.

    Raises:
        Interrupted: a signal ended the run; its state is saved.
        FloatingPointError: the loss is no longer a number.
        CheckpointError: the checkpoint in `folder` does not fit `state` or `config`.
    """
    log = MetricsLog(folder / METRICS)
    bar = TrainingBar(epochs=plan.epochs, total_steps=plan.total_steps, console=console)
    checkpoints = Checkpoints(folder / CHECKPOINTS, config=config)
    with checkpoints, StopRequest() as stop, bar:
        run = _start(plan, state, checkpoints)
        log.keep_until(run.step)
        if run.step < plan.total_steps:
            compiled = run.compile(train_steps, data)
        while run.step < plan.total_steps:
            run.train_epoch(compiled, data, bar, stop)
            if run.step % plan.steps_per_epoch == 0:
                line = run.end_epoch(learning_rate, validate)
                log.append(line)
                bar.finish_epoch(line)
            checkpoints.save(run.step, run.position, notes=run.notes())
            if stop.received is not None:
                raise Interrupted(
                    stop.received, step=run.step, total_steps=plan.total_steps, folder=folder
                )
    history = log.read()
    train_seconds = sum(line["seconds"] for line in history)
    return Fitted(run.position.state, history, train_seconds, run.compile_seconds)


@dataclasses.dataclass
class _Run:
    """A run on its way; the only thing here that changes."""

    plan: Plan
    position: Position
    step: int
    seconds: float
    """Spent in training steps since the epoch under way began."""
    compile_seconds: float

    @property
    def epoch(self) -> int:
        """The epoch under way, from 0."""
        return self.step // self.plan.steps_per_epoch

    def chunks(self) -> Iterator[Array]:
        """Give the index batches that are left of the epoch under way."""
        return self.plan.chunks(self.position.state.order_key(self.epoch), step=self.step)

    def notes(self) -> dict[str, float]:
        """Give what a checkpoint notes beside the position."""
        return {"seconds": self.seconds, "compile_seconds": self.compile_seconds}

    def compile(self, train_steps: Wrapped, data: Batch) -> TrainSteps:
        """Compile ahead of the first call, so that its time is known apart."""
        started = time.perf_counter()
        batches = jnp.zeros((self.plan.chunk_steps, self.plan.batch_size), jnp.int32)
        compiled = train_steps.lower(*self.position, data, batches).compile()
        self.compile_seconds += time.perf_counter() - started
        return compiled

    def train_epoch(
        self, train_steps: TrainSteps, data: Batch, bar: TrainingBar, stop: StopRequest
    ) -> None:
        """Train to the end of the epoch, or of the chunk in which a stop was requested."""
        epoch = self.epoch
        for batches in self.chunks():
            started = time.perf_counter()
            self.position = Position(*train_steps(*self.position, data, batches))
            means = self.position.totals.means()
            elapsed = time.perf_counter() - started
            self.seconds += elapsed
            self.step += len(batches)
            _refuse_divergence(means, epoch)
            bar.move(self.step, epoch=epoch, means=means, speed=batches.size / elapsed)
            if stop.received is not None:
                return

    def end_epoch(
        self,
        learning_rate: optax.Schedule,
        validate: Callable[[TrainState], dict[str, float]] | None,
    ) -> dict[str, Any]:
        """Give the line of the epoch that is complete, and clear its sums for the next."""
        state, totals = self.position
        means = totals.means()
        held_out = validate(state) if validate is not None else {}
        line = {
            "epoch": self.step // self.plan.steps_per_epoch,
            "step": self.step,
            **{f"train_{name}": value for name, value in means.items()},
            **{f"validation_{name}": value for name, value in held_out.items()},
            "learning_rate": float(learning_rate(self.step - 1)),
            "seconds": self.seconds,
            "images_per_second": int(totals.examples) / self.seconds,
        }
        self.position, self.seconds = Position(state, Totals.zero()), 0.0
        return line


def _start(plan: Plan, state: TrainState, checkpoints: Checkpoints) -> _Run:
    """Begin at `state`, or where the newest checkpoint is."""
    position, notes = Position(state, Totals.zero()), {"seconds": 0.0, "compile_seconds": 0.0}
    if checkpoints.latest_step is not None:
        position, notes = checkpoints.restore(position)
    return _Run(plan, position, int(position.state.step), **notes)


def _refuse_divergence(means: dict[str, float], epoch: int) -> None:
    if not math.isfinite(means["loss"]):
        raise FloatingPointError(
            f"the training loss is {means['loss']} in epoch {epoch + 1}; make learning_rate smaller"
        )

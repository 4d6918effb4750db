"""The loop: runs that are stopped, killed, damaged or diverge, against the unbroken run."""

import dataclasses
import io
import json
import pkgutil
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from dilax.training import (
    CheckpointError,
    DivergenceError,
    Interrupted,
    Jit,
    Plan,
    Pmap,
    ResidentLoader,
    StreamingLoader,
    fit,
    make_train_steps,
)
from tests.training.network import assert_equal_trees, labelled_images, training

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

DATA = jax.tree.map(np.asarray, labelled_images(50))
ONE_DEVICE = Jit(jax.devices()[:1])
PLAN = Plan(num_examples=50, batch_size=8, epochs=2)
CONFIG = {"epochs": 2}


class Steps:
    """Training steps, compiled once for all runs here, that can raise a signal in a call."""

    def __init__(self, parallelism=ONE_DEVICE, change=lambda step: step):
        step = change(training(axis_name=parallelism.axis_name)[1])
        self.wrapped = parallelism.wrap(make_train_steps(step))
        self.compiled = {}
        self.calls = 0
        self.stop_in_call = None
        self.signal = signal.SIGINT

    def lower(self, *arguments):
        """Compile once for each shape of the chunks."""
        self.shape = str(jax.tree.map(np.shape, arguments[-1]))
        if self.shape not in self.compiled:
            self.compiled[self.shape] = self.wrapped.lower(*arguments).compile()
        return self

    def compile(self):
        compiled = self.compiled[self.shape]

        def call(*arguments):
            self.calls += 1
            if self.calls == self.stop_in_call:
                signal.raise_signal(self.signal)
            return compiled(*arguments)

        return call


@pytest.fixture(scope="module")
def steps(module_compiles_quickly):
    return Steps()


def run(
    folder,
    steps,
    *,
    plan=PLAN,
    stop_in_call=None,
    loader=ResidentLoader,
    parallelism=ONE_DEVICE,
    **options,
):
    folder.mkdir(exist_ok=True)
    steps.calls, steps.stop_in_call = 0, stop_in_call
    return fit(
        training()[0],
        loader(DATA, parallelism),
        train_steps=steps,
        parallelism=parallelism,
        plan=plan,
        folder=folder,
        **{
            "config": CONFIG,
            "learning_rate": optax.linear_schedule(1.0, 0.0, plan.total_steps),
            "console": Console(file=io.StringIO()),
        }
        | options,
    )


def lines_without_time(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.pop("seconds") > 0 and line.pop("examples_per_second") > 0
    return lines


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, run(folder, steps)


def test_a_run_trains_every_step_and_records_every_epoch(unbroken):
    folder, fitted = unbroken
    assert int(fitted.state.step) == 12
    lines = lines_without_time(folder)
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 6), (2, 12)]
    assert lines[1]["train_loss"] < lines[0]["train_loss"]
    assert lines[0]["learning_rate"] == pytest.approx(1 - 5 / 12)
    assert fitted.train_seconds == pytest.approx(sum(line["seconds"] for line in fitted.history))
    assert fitted.compile_seconds > 0


@pytest.mark.parametrize(
    "options",
    [{"plan": dataclasses.replace(PLAN, max_chunks=2)}, {"loader": StreamingLoader}],
    ids=["longer chunks", "streamed"],
)
def test_chunks_and_loader_do_not_change_a_bit(tmp_path, steps, unbroken, options):
    fitted = run(tmp_path / "run", steps, **options)
    assert steps.calls == (4 if "plan" in options else 12)
    assert_equal_trees(fitted.state, unbroken[1].state)
    assert lines_without_time(tmp_path / "run") == lines_without_time(unbroken[0])


# An epoch has six calls: within the first, at its end, within the second, in the very last.
@pytest.mark.parametrize(
    ("stop_in_call", "number"),
    [(1, signal.SIGINT), (6, signal.SIGTERM), (9, signal.SIGINT), (12, signal.SIGTERM)],
)
def test_a_stopped_and_resumed_run_is_the_unbroken_run(
    tmp_path, steps, unbroken, stop_in_call, number
):
    folder = tmp_path / "run"
    steps.signal = number
    with pytest.raises(Interrupted, match=f"step {stop_in_call} of 12: state saved in") as stopped:
        run(folder, steps, stop_in_call=stop_in_call)
    assert stopped.value.signal_number == number
    fitted = run(folder, steps)
    assert steps.calls == 12 - stop_in_call
    assert_equal_trees(fitted.state, unbroken[1].state)
    assert lines_without_time(folder) == lines_without_time(unbroken[0])


@pytest.mark.parametrize("make", [Jit, Pmap])
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, steps, unbroken, make):
    folder, two = tmp_path / "run", make(jax.devices()[:2])
    with pytest.raises(Interrupted):
        run(folder, steps, stop_in_call=9)
    run(folder, Steps(two), parallelism=two)
    for found, wanted in zip(
        lines_without_time(folder), lines_without_time(unbroken[0]), strict=True
    ):
        assert found == pytest.approx(wanted, rel=1e-4)


def add_a_line(path):
    """As if a run had ended before the checkpoint of its last line was saved."""
    with path.open("a") as file:
        file.write(json.dumps({"epoch": 2, "step": 12, "seconds": 1.0}) + "\n")


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_text("{"), add_a_line]
)
def test_metrics_come_back_from_the_checkpoint(tmp_path, steps, unbroken, damage):
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        run(folder, steps, stop_in_call=9)
    damage(folder / "metrics.jsonl")
    run(folder, steps)
    assert lines_without_time(folder) == lines_without_time(unbroken[0])


def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_is_used(tmp_path, steps, unbroken):
    folder, console = tmp_path / "run", Console(file=io.StringIO(), width=1000)
    with pytest.raises(Interrupted):
        run(folder, steps, stop_in_call=9)
    manifest = folder / "checkpoints" / "9.sha256"
    manifest.write_text(manifest.read_text().replace("a", "b"))
    fitted = run(folder, steps, console=console)
    assert "checkpoint 9 is damaged" in console.file.getvalue()
    assert "an earlier one is used" in console.file.getvalue()
    assert steps.calls == 6
    assert_equal_trees(fitted.state, unbroken[1].state)
    assert lines_without_time(folder) == lines_without_time(unbroken[0])


def test_a_finished_run_is_not_trained_again(unbroken, steps):
    folder, fitted = unbroken
    again = run(folder, steps)
    assert steps.calls == 0
    assert_equal_trees(again.state, fitted.state)
    assert again.history == fitted.history
    with pytest.raises(CheckpointError, match="another configuration: epochs was 2, now is 3"):
        run(folder, steps, config={"epochs": 3})


def test_validation_is_recorded_each_epoch_and_printed(tmp_path, steps):
    seen = []

    def validate(state):
        seen.append(int(state.step))
        return {"loss": 0.5, "accuracy": 0.75}

    console = Console(file=io.StringIO())
    run(tmp_path / "run", steps, validate=validate, console=console)
    assert seen == [6, 12]
    lines = lines_without_time(tmp_path / "run")
    assert [line["validation_accuracy"] for line in lines] == [0.75, 0.75]
    compiling, *printed = console.file.getvalue().splitlines()
    assert compiling.startswith("compiling: ")
    assert len(printed) == 2
    assert printed[1].startswith("epoch 2/2  loss ")
    assert "validation accuracy 0.7500" in printed[1] and "examples/s" in printed[1]


def test_on_a_terminal_there_is_a_bar(tmp_path, steps):
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    run(tmp_path / "run", steps, console=console)
    shown = console.file.getvalue()
    assert "epoch 2/2" in shown and "examples/s" in shown and "━" in shown


@pytest.fixture(scope="module")
def poisoned_steps(module_compiles_quickly):
    """Steps whose gradient is not finite in step 8 (from 0), unless the run's key has changed."""
    key = jax.random.key_data(training()[0].key)

    def poisoned(train_step):
        def step(state, batch, key_of_step):
            struck = (jax.random.key_data(state.key) == key).all()
            bad = jnp.where((state.step == 8) & struck, jnp.nan, 1.0)
            params = state.params | {"head": jax.tree.map(bad.__mul__, state.params["head"])}
            return train_step(dataclasses.replace(state, params=params), batch, key_of_step)

        return step

    return Steps(change=poisoned)


def test_a_gradient_that_is_not_finite_ends_the_run_and_is_named(tmp_path, poisoned_steps):
    message = (
        r"the gradient of \w+\.\w+ and \d more is not finite in step 9, learning rate 0.333, "
        "epoch 2; the state after step 6 is saved; reduce learning_rate, or set on_nan='rollback'.$"
    )
    with pytest.raises(DivergenceError, match=message):
        run(tmp_path / "run", poisoned_steps)
    assert [line["epoch"] for line in lines_without_time(tmp_path / "run")] == [1]


def test_a_run_can_roll_back_and_continue_in_another_order(tmp_path, poisoned_steps):
    folder, console = tmp_path / "run", Console(file=io.StringIO(), width=1000)
    fitted = run(folder, poisoned_steps, on_nan="rollback", console=console)
    assert fitted.rollbacks == 1 and int(fitted.state.step) == 12
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted.state.params))
    said = console.file.getvalue()
    assert "back to step 6, with other examples (rollback 1 of 3)" in said and "reduce" not in said
    assert [line["step"] for line in lines_without_time(folder)] == [6, 12]
    again = run(folder, poisoned_steps, on_nan="rollback")
    assert again.rollbacks == 1


def test_a_run_that_always_diverges_is_ended(tmp_path, poisoned_steps, monkeypatch):
    console = Console(file=io.StringIO(), width=1000)
    monkeypatch.setattr("jax.random.fold_in", lambda key, data: key)  # the key never changes
    advice = r"step 9, .*back to a checkpoint 3 times before, in vain: reduce learning_rate, clip"
    with pytest.raises(DivergenceError, match=advice) as stopped:
        run(tmp_path / "run", poisoned_steps, on_nan="rollback", console=console)
    assert "rollback'" not in str(stopped.value)
    assert console.file.getvalue().count("back to step 6") == 3


def test_the_best_epoch_by_validation_is_kept(tmp_path, steps, unbroken):
    plan = dataclasses.replace(PLAN, epochs=5)
    accuracies = iter([0.5, 0.75, 0.25, 0.75, 0.5])

    def validate(state):
        return {"loss": 0.5, "accuracy": next(accuracies)}

    options = {"plan": plan, "validate": validate}
    fitted = run(tmp_path / "run", steps, **options, read_best=True)
    assert int(fitted.best.step) == 4 * plan.steps_per_epoch
    kept = sorted(int(path.stem) for path in (tmp_path / "run" / "checkpoints").glob("*.sha256"))
    assert kept == [24, 30]
    assert unbroken[1].best is None
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "24")
    assert run(tmp_path / "run", steps, **options).best is None  # which nobody asked for
    with pytest.raises(CheckpointError, match="24"):
        run(tmp_path / "run", steps, **options, read_best=True)


def test_a_folder_that_vanishes_ends_the_run_with_one_clear_error(tmp_path, steps):
    folder = tmp_path / "run"

    def validate(state):
        shutil.rmtree(folder)
        return {"loss": 0.5, "accuracy": 0.5}

    with pytest.raises(OSError, match=r"metrics.jsonl cannot be written: No such file"):
        run(folder, steps, validate=validate)


def test_checkpoints_that_cannot_be_written_end_the_run(tmp_path, steps):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "checkpoints").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"checkpoint \d+ could not be written to .*run"):
        run(folder, steps)
    assert (folder / "checkpoints").read_text() == "in the way"


@pytest.mark.parametrize("where", ["write_metrics", "Checkpoints.save"])
def test_a_kill_between_epoch_and_checkpoint_changes_nothing(
    tmp_path, steps, unbroken, monkeypatch, where
):
    """The second epoch is over, but not its line of metrics, or not its checkpoint."""

    class Killed(BaseException):
        pass

    target, calls = f"dilax.training._loop.{where}", []
    original = pkgutil.resolve_name(target)

    def kill(*arguments, **options):
        calls.append(arguments)
        if len(calls) > (2 if where == "write_metrics" else 1):
            raise Killed
        return original(*arguments, **options)

    folder = tmp_path / "run"
    monkeypatch.setattr(target, kill)
    with pytest.raises(Killed):
        run(folder, steps)
    monkeypatch.undo()
    fitted = run(folder, steps)
    assert steps.calls == 6
    assert_equal_trees(fitted.state, unbroken[1].state)
    assert lines_without_time(folder) == lines_without_time(unbroken[0])

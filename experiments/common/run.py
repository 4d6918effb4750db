"""The runs of an experiment, one for each seed: training, testing, pictures and records."""

import contextlib
import dataclasses
import functools
import operator
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.config import Config
from common.experiment import Experiment, initialise
from common.job import one_input, picture_path
from common.start import saved
from common.terminal import stage
from dilax import analysis, training
from dilax.training import Batch, Fitted, TrainState, Weights


def train_seeds(experiment: Experiment) -> dict[str, Any]:
    """Run an experiment with all seeds; write ``summary.json``, and return its content."""
    config = experiment.config
    if config.seeds == 1:
        return train_seed(experiment, config.seed, config.output)
    records = [
        train_seed(experiment, seed, folder) for seed, folder in config.run_folders().items()
    ]
    summary = training.combine_records(records)
    write(config.output / training.SUMMARY_FILE, summary)
    return summary


def train_seed(experiment: Experiment, seed: int, output: Path) -> dict[str, Any]:
    """Train with one seed in the folder ``output``, or resume the run there; return its summary."""
    training.make_run_folder(output)
    config = dataclasses.replace(experiment.config, seed=seed, seeds=1, output=output)
    main = training.is_main_process()
    with stage("initialising the network", show=main):
        module, state = begin(experiment, seed)
    loader = training.StreamingLoader if config.stream else training.ResidentLoader
    with metrics_log(config) as on_metrics:
        fitted = training.fit(
            state,
            loader(experiment.examples.train, experiment.parallelism),
            train_steps=experiment.train_steps,
            task=experiment.task,
            parallelism=experiment.parallelism,
            plan=experiment.recipe.plan,
            folder=output,
            config=experiment.identity(seed),
            description=experiment.describe(),
            learning_rate=experiment.recipe.learning_rate,
            validate=validator(experiment),
            read_best=config.evaluate == "best",
            on_nan=config.on_nan,
            on_start=lambda: write_flags(experiment.config, config),
            on_metrics=on_metrics,
        )
    with stage("testing", show=main):
        tests = test(experiment, fitted)
    if config.pictures and main:
        training.load_into(module, *weights_of(fitted, config.evaluate))
        with stage("drawing pictures"):
            decoded = tests[config.evaluate].decoded
            draw_curves(experiment, config, fitted)
            experiment.job.draw(config, experiment.examples, module, fitted, decoded)
    summary = make_record(experiment, config, fitted, tests).as_json()
    write(output / training.SUMMARY_FILE, summary)
    return summary


def draw_curves(experiment: Experiment, config: Config, fitted: Fitted) -> None:
    """Draw the learning curves of a run."""
    path, runs = picture_path(config, "learning_curves"), {config.output.name: fitted.history}
    training.draw_learning_curves(path, runs, score=experiment.task.score)


def metrics_log(
    config: Config,
) -> contextlib.AbstractContextManager[Callable[[training.History], None]]:
    """Open the log that ``--tensorboard`` asks for, or one that writes nothing."""
    if config.tensorboard:
        return training.TensorBoardLog(config.output)
    return contextlib.nullcontext(lambda history: None)


def write_flags(*configs: Config) -> None:
    """Write the flags of a run to its folder; a resumed run may have changed some of them."""
    for config in dict.fromkeys(configs):  # one, if there is one seed
        write(config.output / training.CONFIG_FILE, config.as_json())


def begin(experiment: Experiment, seed: int) -> tuple[nnx.Module, TrainState]:
    """Create the network of a run, and its initial training state."""
    key = jax.random.key(seed)
    module = initialise(experiment.network.create, key)
    for load in experiment.network.loads:
        load(module)
    config = experiment.config
    if not (config.resume and saved(config.run_folders()[seed])):
        experiment.job.begin(config, experiment.examples, module)
    _, params, batch_stats = training.functional(module)
    return module, training.create_state(key, params, batch_stats, experiment.recipe.optimizer)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, in the main process only."""
    if training.is_main_process():
        training.write_json(path, content)


def on_device(examples: Batch) -> Batch:
    """Copy all examples to the device."""
    return jax.tree.map(jnp.asarray, examples)


def validator(experiment: Experiment) -> Callable[[TrainState], dict[str, float]] | None:
    """Build the function that evaluates a state on held-out examples; None if there are none."""
    if not experiment.examples.held_out.size:
        return None
    held_out = on_device(experiment.examples.held_out)
    which = "ema" if experiment.config.evaluate == "ema" else "final"

    def validate(state: TrainState) -> dict[str, float]:
        totals, _ = experiment.evaluate(state.weights(which), held_out)
        return totals.means(experiment.task)

    return validate


class Tested(NamedTuple):
    """What a test found."""

    means: Mapping[str, float]
    """Loss and metrics by name."""
    decoded: Any
    """The decoded outputs of all test examples, as NumPy arrays; a list of them with more tests."""


def weights_of(fitted: Fitted, which: str) -> Weights:
    """Select the weights of the last step ("final"), their average, or those of the best epoch."""
    if which != "best":
        return fitted.state.weights(which)
    assert fitted.best is not None, "--evaluate best requires held-out examples"
    return fitted.best.weights("final")


def test(experiment: Experiment, fitted: Fitted) -> dict[str, Tested]:
    """Evaluate the final, the averaged and the reported weights of a run on the test examples."""
    examples = experiment.examples
    batches = [on_device(batch) for batch in (examples.test, *examples.more_tests)]
    tested: dict[str, Tested] = {}
    for which in sorted({"final", "ema", experiment.config.evaluate}):
        weights = weights_of(fitted, which)
        parts, decoded = zip(*(experiment.evaluate(weights, each) for each in batches), strict=True)
        means = functools.reduce(operator.add, parts).means(experiment.task)
        arrays = jax.tree.map(np.asarray, list(decoded))
        tested[which] = Tested(means, arrays if examples.more_tests else arrays[0])
    return tested


def results(
    experiment: Experiment, config: Config, tests: Mapping[str, Tested]
) -> dict[str, float]:
    """Name all results: of the reported weights, with the score first, and of the others."""
    score, reported = experiment.task.score, tests[config.evaluate]
    return {
        score: reported.means[score],
        **reported.means,
        f"{score}_final": tests["final"].means[score],
        f"{score}_ema": tests["ema"].means[score],
        **experiment.job.further_tests(config, experiment.examples, reported.decoded),
    }


def make_record(
    experiment: Experiment, config: Config, fitted: Fitted, tests: dict[str, Tested]
) -> training.RunRecord:
    """Create the record of one run."""
    weights, examples = weights_of(fitted, config.evaluate), experiment.examples
    inputs = one_input(examples, experiment.job.prepare(examples))
    return training.RunRecord(
        program=Path(sys.argv[0]).name,
        config=config.as_json(),
        dataset=examples.name,
        dataset_sha256=examples.sha256,
        dataset_source=examples.source,
        model=config.model,
        weights=config.evaluate,
        tests=results(experiment, config, tests),
        classes=experiment.job.by_class(examples, tests[config.evaluate].decoded),
        parameters=analysis.parameter_count(weights.params),
        multiply_adds=analysis.multiply_adds(
            functools.partial(experiment.network.functional.apply, train=False), *weights, inputs
        ),
        epochs=config.epochs,
        train_seconds=fitted.train_seconds,
        compile_seconds=fitted.compile_seconds,
        device=training.describe_device(fitted.state.step.device),
        devices=len(experiment.parallelism.devices),
        processes=jax.process_count(),
        rollbacks=fitted.rollbacks,
        seed=config.seed,
    )

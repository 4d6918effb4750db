"""The runs of a task, one for each seed: training, testing, pictures and records."""

import contextlib
import dataclasses
import functools
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from common.config import Config
from common.task import Task, initialise
from common.terminal import stage
from dilax import analysis, data, models, training
from dilax.training import Fitted, TrainState, Weights


def train_seeds(task: Task) -> dict[str, Any]:
    """Train a task with all seeds; write ``summary.json``, and return its content."""
    config = task.config
    if config.seeds == 1:
        return train_seed(task, config.seed, config.output)
    records = [train_seed(task, seed, folder) for seed, folder in config.run_folders().items()]
    summary = training.combine_records(records)
    write(config.output / training.SUMMARY_FILE, summary)
    return summary


def train_seed(task: Task, seed: int, output: Path) -> dict[str, Any]:
    """Train with one seed in the folder ``output``, or resume the run there; return its summary."""
    training.make_run_folder(output)
    config = dataclasses.replace(task.config, seed=seed, seeds=1, output=output)
    main = training.is_main_process()
    with stage("initialising the network", show=main):
        module, state = begin(task, seed)
    loader = training.StreamingLoader if config.stream else training.ResidentLoader
    with metrics_log(config) as on_metrics:
        fitted = training.fit(
            state,
            loader(task.images.train.images, task.images.train.labels, task.parallelism),
            train_steps=task.train_steps,
            parallelism=task.parallelism,
            plan=task.recipe.plan,
            folder=output,
            config=task.identity(seed),
            description=task.describe(),
            learning_rate=task.recipe.learning_rate,
            validate=validator(task),
            read_best=config.evaluate == "best",
            on_nan=config.on_nan,
            on_start=lambda: write_flags(task.config, config),
            on_metrics=on_metrics,
        )
    with stage("testing", show=main):
        tests = test(task, fitted)
    if config.pictures and main:
        training.load_into(module, *weights_of(fitted, config.evaluate))
        with stage("drawing pictures"):
            draw(task, output, module, fitted, tests[config.evaluate].logits)
    summary = make_record(task, config, fitted, tests).as_json()
    write(output / training.SUMMARY_FILE, summary)
    return summary


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


def begin(task: Task, seed: int) -> tuple[models.Classifier, TrainState]:
    """Create the network of a run, and its initial training state."""
    key = jax.random.key(seed)
    module = initialise(task.network.create, key)
    for load in task.network.loads:
        load(module)
    _, params, batch_stats = training.functional(module)
    return module, training.create_state(key, params, batch_stats, task.recipe.optimizer)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, in the main process only."""
    if training.is_main_process():
        training.write_json(path, content)


def on_device(split: data.Split) -> training.Batch:
    """Copy all images and labels to the device."""
    return training.Batch(jnp.asarray(split.images), jnp.asarray(split.labels))


def validator(task: Task) -> Callable[[TrainState], dict[str, float]] | None:
    """Build the function that evaluates a state on the held-out images; None if there are none."""
    if not len(task.images.held_out):
        return None
    held_out = on_device(task.images.held_out)
    which = "ema" if task.config.evaluate == "ema" else "final"

    def validate(state: TrainState) -> dict[str, float]:
        return task.evaluate(state.weights(which), held_out)[0].means()

    return validate


class Tested(NamedTuple):
    """Loss, accuracy and logits on the test images."""

    loss: float
    accuracy: float
    logits: np.ndarray
    """`(N, classes)`."""


def weights_of(fitted: Fitted, which: str) -> Weights:
    """Select the weights of the last step ("final"), their average, or those of the best epoch."""
    if which != "best":
        return fitted.state.weights(which)
    assert fitted.best is not None, "--evaluate best requires held-out images"
    return fitted.best.weights("final")


def test(task: Task, fitted: Fitted) -> dict[str, Tested]:
    """Evaluate the final, the averaged and the reported weights of a run on the test images."""
    images = on_device(task.images.test)
    tested: dict[str, Tested] = {}
    for which in sorted({"final", "ema", task.config.evaluate}):
        totals, logits = task.evaluate(weights_of(fitted, which), images)
        tested[which] = Tested(**totals.means(), logits=np.asarray(logits))
    return tested


def make_record(
    task: Task, config: Config, fitted: Fitted, tests: dict[str, Tested]
) -> training.RunRecord:
    """Create the record of one run."""
    weights, reported = weights_of(fitted, config.evaluate), tests[config.evaluate]
    image = jax.ShapeDtypeStruct((1, *task.images.dataset.image_shape), jnp.float32)
    return training.RunRecord(
        program=Path(sys.argv[0]).name,
        config=config.as_json(),
        dataset=task.images.dataset.name,
        dataset_sha256=task.images.dataset.fingerprint,
        dataset_source=task.images.dataset.source,
        model=config.model,
        weights=config.evaluate,
        test_accuracy=reported.accuracy,
        test_loss=reported.loss,
        test_accuracy_final=tests["final"].accuracy,
        test_accuracy_ema=tests["ema"].accuracy,
        classes=training.class_accuracies(
            task.images.test.labels, reported.logits.argmax(-1), task.images.dataset.class_names
        ),
        parameters=analysis.parameter_count(weights.params),
        multiply_adds=analysis.multiply_adds(
            functools.partial(task.network.functional.apply, train=False), *weights, image
        ),
        epochs=config.epochs,
        train_seconds=fitted.train_seconds,
        compile_seconds=fitted.compile_seconds,
        device=training.describe_device(fitted.state.step.device),
        devices=len(task.parallelism.devices),
        processes=jax.process_count(),
        rollbacks=fitted.rollbacks,
        seed=config.seed,
    )


def draw(
    task: Task, output: Path, module: models.Classifier, fitted: Fitted, logits: np.ndarray
) -> None:
    """Draw the pictures of one run; ``module`` holds the weights that gave ``logits``."""
    names, test = task.images.dataset.class_names, task.images.test
    counts = training.confusion_matrix(test.labels, logits.argmax(-1), classes=len(names))
    training.draw_learning_curves(output / "learning_curves.png", {output.name: fitted.history})
    training.draw_confusion_matrix(output / "confusion_matrix.png", counts, names)
    training.draw_mistakes(output / "mistakes.png", test.images, test.labels, logits, names)
    module.eval()
    layers = windowed(module.activations)
    image = task.images.normalise(jnp.asarray(test.images[:1]))
    maps = [np.asarray(layer[0]) for layer in jax.jit(layers)(image).values()]
    titles = layer_titles(layers, image)
    named = dict(zip(titles, maps, strict=True))
    training.draw_feature_maps(output / "feature_maps.png", test.images[0], named)


Layers = Callable[[Array], Mapping[str, Array]]
"""``images (N, H, W, C) -> activations`` of layers, by name, in order."""


def windowed(layers: Layers) -> Layers:
    """Keep the layers ``(N, h, w, features)``, in an ordered dict, whose order JAX keeps."""

    def kept(images: Array) -> Mapping[str, Array]:
        named = layers(images).items()
        return OrderedDict((name, layer) for name, layer in named if layer.ndim == 4)

    return kept


def layer_titles(layers: Layers, images: Array) -> list[str]:
    """Return a title for each layer: its name, and the size of its receptive field in pixels."""
    fields = analysis.receptive_field(layers, images).outputs
    sizes = [" x ".join(str(axis.size) for axis in field.axes) for field in fields]
    names = jax.eval_shape(layers, images)
    return [f"{name}\nsees {size}" for name, size in zip(names, sizes, strict=True)]

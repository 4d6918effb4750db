"""The runs of a task, one a seed: train, test, draw, record."""

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
from flax import nnx
from jax import Array

from common.config import Config
from common.task import Task, create
from dilax import analysis, data, models
from dilax.training import folder, hosts, pictures
from dilax.training.checkpoint import CheckpointError, Checkpoints
from dilax.training.device import describe_device
from dilax.training.feeds import Resident, Streamed
from dilax.training.functional import functional, load_into
from dilax.training.loop import Fitted, Position, fit
from dilax.training.record import RunRecord, combine
from dilax.training.state import TrainState, Weights, create_state
from dilax.training.statistics import confusion_matrix
from dilax.training.step import Batch, Totals


def train_seeds(task: Task) -> dict[str, Any]:
    """Make all runs of a task; give, and write, what `summary.json` holds."""
    config = task.config
    if config.seeds == 1:
        return train_seed(task, config.seed, config.output)
    write(config.output / folder.CONFIG, config.as_json())
    seeds = range(config.seed, config.seed + config.seeds)
    summary = combine([train_seed(task, seed, config.output / f"seed_{seed}") for seed in seeds])
    write(config.output / folder.SUMMARY, summary)
    return summary


def train_seed(task: Task, seed: int, output: Path) -> dict[str, Any]:
    """Make one run, or what is left of it, in the folder `output`."""
    folder.make_folder(output)
    config = dataclasses.replace(task.config, seed=seed, seeds=1, output=output)
    write(output / folder.CONFIG, config.as_json())
    module, state = begin(task, seed)
    feed = Streamed if config.stream else Resident
    fitted = fit(
        state,
        feed(task.train.images, task.train.labels, task.wrapper),
        train_steps=task.train_steps,
        wrapper=task.wrapper,
        plan=task.plan,
        folder=output,
        config=task.identity(seed),
        learning_rate=task.learning_rate,
        validate=validator(task),
        read_best=config.evaluate == "best",
        on_nan=config.on_nan,
    )
    tests = test(task, fitted)
    if config.pictures and hosts.writes():
        load_into(module, *weights_of(fitted, config.evaluate))
        draw(task, output, module, fitted, tests[config.evaluate].logits)
    summary = make_record(task, config, fitted, tests).as_json()
    write(output / folder.SUMMARY, summary)
    return summary


def begin(task: Task, seed: int) -> tuple[models.Classifier, TrainState]:
    """Give the network of a run, and its state before the first step."""
    key = jax.random.key(seed)
    module = initialise(task.config.model, len(task.dataset.class_names), key)
    if task.tuning is not None:
        task.tuning.load(module)
    _, params, batch_stats = functional(module)
    return module, create_state(key, params, batch_stats, task.optimizer)


def restore(task: Task) -> models.Classifier:
    """Give the network as the newest checkpoint in the output folder has it, to predict with.

    Raises:
        CheckpointError: there is none that is whole, or it is of another run.
    """
    config = task.config
    module, state = begin(task, config.seed)
    checkpoints = Checkpoints(config.output / folder.CHECKPOINTS, config=task.identity(config.seed))
    with checkpoints:
        restored = checkpoints.restore(Position(state, Totals.zero()))
    if restored is None:
        raise CheckpointError(f"{config.output} holds no checkpoint; train there first")
    load_into(module, *restored.tree.state.weights("final"))
    module.eval()
    return module


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, in the one process that writes."""
    if hosts.writes():
        folder.write_json(path, content)


def initialise(name: str, classes: int, key: Array) -> models.Classifier:
    """Make a network, all its parameters drawn in one compiled call."""
    graphdef, abstract = nnx.split(nnx.eval_shape(lambda: create(name, classes, key)))
    arrays = jax.jit(lambda key: nnx.to_pure_dict(nnx.state(create(name, classes, key))))(key)
    nnx.replace_by_pure_dict(abstract, arrays)
    return nnx.merge(graphdef, abstract)


def on_device(split: data.Split) -> Batch:
    """Put images and labels on the device, whole."""
    return Batch(jnp.asarray(split.images), jnp.asarray(split.labels))


def validator(task: Task) -> Callable[[TrainState], dict[str, float]] | None:
    """Make the function that measures a state on the held-out images; None without any."""
    if not len(task.held_out):
        return None
    held_out = on_device(task.held_out)
    which = "ema" if task.config.evaluate == "ema" else "final"

    def validate(state: TrainState) -> dict[str, float]:
        return task.evaluate(state.weights(which), held_out)[0].means()

    return validate


class Tested(NamedTuple):
    """What some weights make of the test images."""

    loss: float
    accuracy: float
    logits: np.ndarray
    """`(N, classes)`."""


def weights_of(fitted: Fitted, which: str) -> Weights:
    """Give the weights of the last step ("final"), their average, or those of the best epoch."""
    if which != "best":
        return fitted.state.weights(which)
    assert fitted.best is not None, "held-out images are asked for"
    return fitted.best.weights("final")


def test(task: Task, fitted: Fitted) -> dict[str, Tested]:
    """Measure the weights that a run can report on the test images."""
    images = on_device(task.test)
    tested: dict[str, Tested] = {}
    for which in sorted({"final", "ema", task.config.evaluate}):
        totals, logits = task.evaluate(weights_of(fitted, which), images)
        tested[which] = Tested(**totals.means(), logits=np.asarray(logits))
    return tested


def make_record(task: Task, config: Config, fitted: Fitted, tests: dict[str, Tested]) -> RunRecord:
    """Gather what one run proves."""
    weights = weights_of(fitted, config.evaluate)
    image = jax.ShapeDtypeStruct((1, *task.dataset.image_shape), jnp.float32)
    return RunRecord(
        program=Path(sys.argv[0]).name,
        config=config.as_json(),
        dataset=task.dataset.name,
        dataset_sha256=task.dataset.fingerprint,
        model=config.model,
        weights=config.evaluate,
        test_accuracy=tests[config.evaluate].accuracy,
        test_loss=tests[config.evaluate].loss,
        test_accuracy_final=tests["final"].accuracy,
        test_accuracy_ema=tests["ema"].accuracy,
        parameters=analysis.parameter_count(weights.params),
        multiply_adds=analysis.multiply_adds(
            functools.partial(task.network.apply, train=False), *weights, image
        ),
        epochs=config.epochs,
        train_seconds=fitted.train_seconds,
        compile_seconds=fitted.compile_seconds,
        device=describe_device(fitted.state.step.device),
        devices=len(task.wrapper.devices),
        processes=jax.process_count(),
        rollbacks=fitted.rollbacks,
        seed=config.seed,
    )


def draw(
    task: Task, output: Path, module: models.Classifier, fitted: Fitted, logits: np.ndarray
) -> None:
    """Draw the pictures of one run; `module` holds the weights that gave `logits`."""
    names, test = task.dataset.class_names, task.test
    counts = confusion_matrix(test.labels, logits.argmax(-1), classes=len(names))
    pictures.learning_curves(output / "learning_curves.png", fitted.history)
    pictures.confusion(output / "confusion_matrix.png", counts, names)
    pictures.mistakes(output / "mistakes.png", test.images, test.labels, logits, names)
    module.eval()
    layers = windowed(module.activations)
    image = task.normalise(jnp.asarray(test.images[:1]))
    maps = [np.asarray(layer[0]) for layer in jax.jit(layers)(image).values()]
    titles = layer_titles(layers, image)
    named = dict(zip(titles, maps, strict=True))
    pictures.feature_maps(output / "feature_maps.png", test.images[0], named)


Layers = Callable[[Array], Mapping[str, Array]]
"""From images `(N, H, W, C)` to what layers make of them, by name, in order."""


def windowed(layers: Layers) -> Layers:
    """Keep the layers `(N, h, w, features)`, in order even where JAX would sort a dictionary."""

    def kept(images: Array) -> Mapping[str, Array]:
        named = layers(images).items()
        return OrderedDict((name, layer) for name, layer in named if layer.ndim == 4)

    return kept


def layer_titles(layers: Layers, images: Array) -> list[str]:
    """Give the name of each layer, and how many pixels along each axis it sees."""
    fields = analysis.receptive_field(layers, images).outputs
    sizes = [" x ".join(str(axis.size) for axis in field.axes) for field in fields]
    names = jax.eval_shape(layers, images)
    return [f"{name}\nsees {size}" for name, size in zip(names, sizes, strict=True)]

"""An experiment: examples, network, recipe and devices, checked before a run begins."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array
from jax.stages import Wrapped

from common.config import Config
from common.job import Examples, Job, Load, Tuning, one_input
from common.start import find_start, load_start, network_options
from common.terminal import say
from dilax import models, training
from dilax.training import Functional, Parallelism, Plan

Create = Callable[[Array], nnx.Module]
"""Creates a network with parameters drawn from a PRNG key; pure, so that it can be compiled."""

SCHEDULES = {"one_cycle": training.one_cycle, "cosine": training.cosine}
OPTIMIZERS = {"adamw": training.adamw, "nesterov": training.nesterov, "muon": training.muon}
MASKS = {
    "kernels": training.is_kernel,
    "mixing": training.mixes_features,
    "all": training.everything,
}
RUN_ONCE = {"xla_backend_optimization_level": 0}
"""Options of XLA for a program that runs once: compiling it takes a quarter of the time."""
PRUNED = (0.2, 0.7)
"""Part of the run in which --sparsity sets entries to zero."""
FREE = (
    *("output", "resume", "pictures", "tensorboard", "seeds", "on_nan"),
    *("device", "devices", "parallel", "shard_optimizer", "stream"),
    *("distributed", "coordinator", "processes", "process"),
)
"""Flags that may change when a run is resumed."""


class Network(NamedTuple):
    """The network to train, and the weights to start from, if any."""

    create: Create
    options: Mapping[str, Any]
    """Arguments of ``models.create`` besides the name and ``classes``."""
    loads: Sequence[Load]
    """Write the weights from which the training starts, one after the other."""
    functional: Functional
    """The module as a pure function, with shapes in place of arrays."""


class Recipe(NamedTuple):
    """The numbers of steps and epochs, the learning rate, and the optimiser."""

    plan: Plan
    learning_rate: optax.Schedule
    optimizer: optax.GradientTransformation


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A checked experiment, which all seeds share, so that it is compiled once."""

    config: Config
    job: Job
    examples: Examples
    network: Network
    recipe: Recipe
    parallelism: Parallelism
    task: training.Task
    """How outputs are judged in validation and test."""
    train_steps: Wrapped
    evaluate: training.Evaluate

    def identity(self, seed: int) -> dict[str, Any]:
        """Return all that the results depend on; a resumed run must have the same."""
        flags = {name: value for name, value in self.config.as_json().items() if name not in FREE}
        if self.config.batch_statistics == "device":
            flags["devices"] = len(self.parallelism.devices)
        return flags | {
            "seed": seed,
            "dataset_sha256": self.examples.sha256,
            "class_names": list(self.examples.class_names),
        }

    def describe(self) -> dict[str, Any]:
        """Return what it takes to use the trained network, in JSON."""
        return self.job.describe(self.config, self.examples, self.network.options)


def make_experiment(
    config: Config,
    job: Job,
    examples: Examples,
    devices: Sequence[jax.Device],
    *,
    tuning: Tuning | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Experiment:
    """Make an experiment from the flags of a program and its examples.

    Args:
        config: The flags.
        job: What the program does.
        examples: Training and test examples.
        devices: The available devices.
        tuning: Published parameters from which to start; None draws all parameters.
        optimizer: Replaces the optimiser of the flags.

    Raises:
        ValueError: The flags, the examples and the devices do not fit together.
    """
    shared = training.share_batch(
        devices,
        count=config.devices,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
    )
    check_pairs(len(shared), config, job)
    note_idle_devices(len(shared), len(devices), config)
    parallelism = training.make_parallelism(
        config.parallel, shared, shard_optimizer=config.shard_optimizer
    )
    network = make_network(config, job, examples, tuning, parallelism)
    recipe = make_recipe(config, examples.train.size, tuning, optimizer)
    train_step = make_train_step(config, job, examples, network, recipe, parallelism)
    task = job.test_task(config, examples)
    return Experiment(
        config=config,
        job=job,
        examples=examples,
        network=network,
        recipe=recipe,
        parallelism=parallelism,
        task=task,
        train_steps=parallelism.wrap(training.make_train_steps(train_step)),
        evaluate=make_evaluate(config, job, examples, network, task),
    )


def note_idle_devices(used: int, found: int, config: Config) -> None:
    """Print that the batch does not divide over all devices, unless --devices asked for fewer."""
    if used < found and not config.devices:
        parts = found * config.accumulate
        below = config.batch_size // parts * parts
        near = " or ".join(str(size) for size in (below, below + parts) if size)
        say(
            f"note: --batch-size {config.batch_size} is computed on {used} of {found} devices; "
            f"all compute if it is a multiple of {parts}, such as {near}",
            file=sys.stderr,
        )


def check_pairs(devices: int, config: Config, job: Job) -> None:
    """Check that mixup can pair the examples that are computed together.

    Raises:
        ValueError: A device would get an odd number of examples.
    """
    parts = config.accumulate * (devices if config.parallel == "pmap" else 1)
    if job.mixup(config) and config.batch_size // parts % 2:
        raise ValueError(
            f"--mixup blends pairs, so --batch-size must be a multiple of {2 * parts}, got "
            f"{config.batch_size}; try {-(-config.batch_size // (2 * parts)) * 2 * parts}."
        )


def make_network(
    config: Config,
    job: Job,
    examples: Examples,
    tuning: Tuning | None,
    parallelism: Parallelism,
) -> Network:
    """Create a network with shapes in place of arrays, and check that it takes the examples.

    Raises:
        ValueError: The network cannot take them, or the weights to start from do not fit it.
    """
    start = find_start(config)
    options = {**job.network_options(config, examples), **network_options(config, start)}
    create = creator(config.model, examples.classes, **options)

    def make() -> nnx.Module:
        module = create(jax.random.key(0))
        if tuning is not None:
            tuning.load(module)
        return module

    try:
        module = nnx.eval_shape(make)
    except TypeError as error:
        raise ValueError(f"--model {config.model} cannot be made: {error}.") from error
    over_devices = config.batch_statistics == "global"
    functional = training.functional(
        module, axis_name=parallelism.axis_name if over_devices else None
    )
    apply = functional.apply
    if config.precision != "float32":
        apply = training.compute_in(config.precision, apply)
    if config.kernel_bits:
        apply = training.quantize_aware(apply, bits=config.kernel_bits)
    if tuning is not None:
        if tuning.keep_statistics:
            apply = training.keep_statistics(apply)
        apply = training.freeze(apply, tuning.frozen)
    functional = functional._replace(apply=apply)
    check_network(config, job, examples, functional)
    published = [] if tuning is None else [tuning.load]
    loads = [*published, load_start(config, examples.classes, options, start)]
    return Network(create, options, loads, functional)


def creator(name: str, classes: int | None, **options: Any) -> Create:
    """Build the function that creates a network from a key."""

    def create(key: Array) -> nnx.Module:
        return models.create(name, classes=classes, rngs=nnx.Rngs(key), **options)

    return create


def initialise(create: Create, key: Array) -> nnx.Module:
    """Create a network, drawing all its parameters in one compiled call."""
    graphdef, abstract = nnx.split(nnx.eval_shape(lambda: create(key)))
    draw = jax.jit(lambda key: nnx.to_pure_dict(nnx.state(create(key))), compiler_options=RUN_ONCE)
    arrays = draw(key)
    nnx.replace_by_pure_dict(abstract, arrays)
    return nnx.merge(graphdef, abstract)


def check_network(config: Config, job: Job, examples: Examples, functional: Functional) -> None:
    """Check that a network takes the examples, and that its outputs can be judged.

    Raises:
        ValueError: It cannot take them.
    """
    inputs = one_input(examples, job.prepare(examples))
    trial = functools.partial(functional.apply, train=False)
    try:
        jax.eval_shape(trial, functional.params, functional.batch_stats, inputs)
    except (TypeError, ValueError) as error:
        shape = "x".join(map(str, jax.tree.leaves(examples.train.inputs)[0].shape[1:]))
        raise ValueError(
            f"--model {config.model} cannot take the {shape} examples of --dataset "
            f"{examples.name}: {str(error).splitlines()[0]}"
        ) from error


def make_recipe(
    config: Config,
    num_examples: int,
    tuning: Tuning | None,
    optimizer: optax.GradientTransformation | None,
) -> Recipe:
    """Build the plan, the schedule and the optimiser that the flags describe.

    Raises:
        ValueError: The batch is larger than the training set.
    """
    plan = Plan(num_examples=num_examples, batch_size=config.batch_size, epochs=config.epochs)
    schedule = SCHEDULES[config.schedule]
    learning_rate = schedule(config.learning_rate, total_steps=plan.total_steps)
    if optimizer is None:
        optimizer = OPTIMIZERS[config.optimizer](
            learning_rate, weight_decay=config.weight_decay, mask=MASKS[config.decay]
        )
        if config.clip_norm:
            optimizer = training.clipped(optimizer, norm=config.clip_norm)
    if config.sparsity:
        begin, end = (int(part * plan.total_steps) for part in PRUNED)
        optimizer = training.sparse(
            optimizer, sparsity=config.sparsity, begin=begin, end=max(end, begin + 1)
        )
    if tuning is not None:
        if tuning.rate != 1:
            optimizer = training.scaled(optimizer, tuning.published, factor=tuning.rate)
        optimizer = training.except_frozen(optimizer, tuning.frozen)
    return Recipe(plan, learning_rate, optimizer)


def make_train_step(
    config: Config,
    job: Job,
    examples: Examples,
    network: Network,
    recipe: Recipe,
    parallelism: Parallelism,
) -> training.TrainStep:
    """Build the training step that the flags describe.

    Raises:
        ValueError: The augmentation cannot take the examples.
    """
    plan, one = recipe.plan, slice(0, 1)
    augment = job.augment(config, examples, plan)
    first = jax.tree.map(jnp.asarray, examples.train.take(one))
    jax.eval_shape(augment, jax.random.key(0), first, jnp.int32(0))  # raises where it cannot
    return training.make_train_step(
        network.functional.apply,
        recipe.optimizer,
        task=job.training_task(config, examples),
        augment=augment,
        prepare=job.prepare(examples),
        options=training.TrainOptions(
            mixup=job.mixup(config),
            augmented_steps=max(0, config.epochs - config.clean_epochs) * plan.steps_per_epoch,
            ema_decay=config.ema_decay,
            loss_scale=training.LOSS_SCALES[config.precision],
            accumulate=config.accumulate,
        ),
        axis_name=parallelism.axis_name,
    )


def make_evaluate(
    config: Config, job: Job, examples: Examples, network: Network, task: training.Task
) -> training.Evaluate:
    """Build the evaluation that the flags describe."""
    predict = job.predict(config, network.functional.apply)
    eval_step = training.make_eval_step(predict, task=task, prepare=job.prepare(examples))
    return jax.jit(training.make_evaluate(eval_step, task=task, batch_size=job.test_batch(config)))

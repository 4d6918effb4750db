"""A training task: images, network, recipe and devices, checked before a run begins."""

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
from common.start import Load, find_start, load_start, network_options
from common.terminal import say
from dilax import data, models, training
from dilax.training import Augment, Functional, Parallelism, Plan

Normalise = Callable[[Array], Array]
"""``images (N, H, W, C), uint8 or floats in [0, 1] -> floats of mean 0 and deviation 1``."""
Augmentation = Callable[[Any, Normalise, Plan], Augment]
"""Builds the augmentation of training images from a program's config."""
Create = Callable[[Array], models.Classifier]
"""Creates a network with parameters drawn from a PRNG key; pure, so that it can be compiled."""


class Tuning(NamedTuple):
    """Published parameters from which a run starts."""

    load: Load
    """Writes the parameters into a network; raises ValueError if they do not fit."""
    frozen: Callable[[training.Path], bool]
    """Whether the parameter at a path stays as published."""
    mean: tuple[float, ...]
    """Mean of each channel, in [0, 1], of the images that the parameters expect."""
    std: tuple[float, ...]
    """Standard deviation of each channel."""


SCHEDULES = {"one_cycle": training.one_cycle, "cosine": training.cosine}
OPTIMIZERS = {"adamw": training.adamw, "nesterov": training.nesterov, "muon": training.muon}
MASKS = {
    "kernels": training.is_kernel,
    "mixing": training.mixes_features,
    "all": training.everything,
}
PRUNED = (0.2, 0.7)
"""Part of the run in which --sparsity sets entries to zero."""
FREE = (
    *("output", "resume", "pictures", "tensorboard", "seeds", "on_nan"),
    *("device", "devices", "parallel", "shard_optimizer", "stream"),
    *("distributed", "coordinator", "processes", "process"),
)
"""Flags that may change when a run is resumed."""


HELD_OUT = "final or ema without held-out images, or add --validation 5000"


class Images(NamedTuple):
    """The data set, its splits, and how pictures become images like these."""

    dataset: data.Dataset
    train: data.Split
    held_out: data.Split
    test: data.Split
    preparation: models.Preparation

    @property
    def normalise(self) -> Normalise:
        """The function that normalises images."""
        return self.preparation.normalise


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
class Task:
    """A checked training task, which all seeds share, so that it is compiled once."""

    config: Config
    images: Images
    network: Network
    recipe: Recipe
    parallelism: Parallelism
    train_steps: Wrapped
    evaluate: training.Evaluate

    def identity(self, seed: int) -> dict[str, Any]:
        """Return all that the results depend on; a resumed run must have the same."""
        flags = {name: value for name, value in self.config.as_json().items() if name not in FREE}
        if self.config.batch_statistics == "device":
            flags["devices"] = len(self.parallelism.devices)
        dataset = self.images.dataset
        return flags | {
            "seed": seed,
            "dataset_sha256": dataset.fingerprint,
            "class_names": list(dataset.class_names),
        }

    def describe(self) -> dict[str, Any]:
        """Return what it takes to use the trained network, in JSON."""
        config = self.config
        return models.Description(
            model=config.model,
            class_names=self.images.dataset.class_names,
            preparation=self.images.preparation,
            options=self.network.options,
            mirrored=config.test_flips,
            kernel_bits=config.kernel_bits,
        ).as_json()


def make_task(
    config: Config,
    dataset: data.Dataset,
    augmentation: Augmentation,
    devices: Sequence[jax.Device],
    *,
    tuning: Tuning | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Task:
    """Make a training task from the flags of a program and a data set.

    Args:
        config: The flags.
        dataset: Training and test images.
        augmentation: Builds the augmentation of training images.
        devices: The available devices.
        tuning: Published parameters from which to start; None draws all parameters.
        optimizer: Replaces the optimiser of the flags.

    Raises:
        ValueError: The flags, the data set and the devices do not fit together.
    """
    images = make_images(config, dataset, tuning)
    shared = training.share_batch(
        devices,
        count=config.devices,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
    )
    check_pairs(len(shared), config)
    note_idle_devices(len(shared), len(devices), config)
    parallelism = training.make_parallelism(
        config.parallel, shared, shard_optimizer=config.shard_optimizer
    )
    network = make_network(config, dataset, tuning, parallelism)
    recipe = make_recipe(config, len(images.train), tuning, optimizer)
    train_step = make_train_step(config, images, network, recipe, parallelism, augmentation)
    return Task(
        config=config,
        images=images,
        network=network,
        recipe=recipe,
        parallelism=parallelism,
        train_steps=parallelism.wrap(training.make_train_steps(train_step)),
        evaluate=make_evaluate(config, images, network),
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


def check_pairs(devices: int, config: Config) -> None:
    """Check that mixup can pair the images that are computed together.

    Raises:
        ValueError: A device would get an odd number of images.
    """
    parts = config.accumulate * (devices if config.parallel == "pmap" else 1)
    if config.mixup and config.batch_size // parts % 2:
        raise ValueError(
            f"--mixup blends pairs, so --batch-size must be a multiple of {2 * parts}, got "
            f"{config.batch_size}; try {-(-config.batch_size // (2 * parts)) * 2 * parts}."
        )


def make_images(config: Config, dataset: data.Dataset, tuning: Tuning | None) -> Images:
    """Split a data set; normalise it as published parameters expect, or by its own statistics.

    Raises:
        ValueError: There are no training or test images, or too few to hold some out.
    """
    if missing := {"train", "test"} - dataset.splits.keys():
        raise ValueError(
            f"--dataset {dataset.name} must have the splits train and test, got "
            f"{', '.join(dataset.splits)} (without {' and '.join(sorted(missing))})."
        )
    train, test = dataset.splits["train"], dataset.splits["test"]
    for name in ("train", "test"):
        if not len(dataset.splits[name]):
            raise ValueError(f"--dataset {dataset.name} must have {name} images, got none.")
    note_untrained_classes(dataset)
    if config.limit:
        train = data.Split(train.images[: config.limit], train.labels[: config.limit])
    if not config.validation < len(train):
        raise ValueError(
            f"--validation must leave training images, got {config.validation} of {len(train)}."
        )
    train, held_out = data.holdout(train, config.validation)
    if not config.validation:
        held_out = dataset.splits.get("validation", held_out)
    config.require("evaluate", config.evaluate != "best" or len(held_out) > 0, HELD_OUT)
    published = {} if tuning is None else {"mean": tuning.mean, "std": tuning.std}
    preparation = models.Preparation.of_images(train.images, **published)
    return Images(dataset, train, held_out, test, preparation)


def note_untrained_classes(dataset: data.Dataset) -> None:
    """Print which classes are tested and never trained."""
    trained, tested = (set(dataset.splits[name].labels.tolist()) for name in ("train", "test"))
    if untrained := sorted(tested - trained):
        names = ", ".join(dataset.class_names[label] for label in untrained)
        say(
            f"note: --dataset {dataset.name} has test images of classes without training images: "
            f"{names}",
            file=sys.stderr,
        )


def make_network(
    config: Config, dataset: data.Dataset, tuning: Tuning | None, parallelism: Parallelism
) -> Network:
    """Create a network with shapes in place of arrays, and check that it takes the images.

    Raises:
        ValueError: The network cannot take the images, or the weights to start from do not fit it.
    """
    classes = len(dataset.class_names)
    start = find_start(config)
    options = network_options(config, start)
    create = creator(config.model, classes, **options)

    def make() -> models.Classifier:
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
        apply = training.freeze(apply, tuning.frozen)
    functional = functional._replace(apply=apply)
    check_network(config, functional, dataset)
    published = [] if tuning is None else [tuning.load]
    loads = [*published, load_start(config, classes, options, start)]
    return Network(create, options, loads, functional)


def creator(name: str, classes: int, **options: Any) -> Create:
    """Build the function that creates a network from a key."""

    def create(key: Array) -> models.Classifier:
        return models.create(name, classes=classes, rngs=nnx.Rngs(key), **options)

    return create


def initialise(create: Create, key: Array) -> models.Classifier:
    """Create a network, drawing all its parameters in one compiled call."""
    graphdef, abstract = nnx.split(nnx.eval_shape(lambda: create(key)))
    arrays = jax.jit(lambda key: nnx.to_pure_dict(nnx.state(create(key))))(key)
    nnx.replace_by_pure_dict(abstract, arrays)
    return nnx.merge(graphdef, abstract)


def check_network(config: Config, functional: Functional, dataset: data.Dataset) -> None:
    """Check that a network takes the images of a data set.

    Raises:
        ValueError: The network cannot take them.
    """
    images = jax.ShapeDtypeStruct((1, *dataset.image_shape), jnp.float32)
    trial = functools.partial(functional.apply, train=False)
    try:
        jax.eval_shape(trial, functional.params, functional.batch_stats, images)
    except (TypeError, ValueError) as error:
        shape = "x".join(map(str, dataset.image_shape))
        raise ValueError(
            f"--model {config.model} cannot take the {shape} images of --dataset {dataset.name}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def make_recipe(
    config: Config,
    num_images: int,
    tuning: Tuning | None,
    optimizer: optax.GradientTransformation | None,
) -> Recipe:
    """Build the plan, the schedule and the optimiser that the flags describe.

    Raises:
        ValueError: The batch is larger than the training set.
    """
    plan = Plan(num_images=num_images, batch_size=config.batch_size, epochs=config.epochs)
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
        optimizer = training.except_frozen(optimizer, tuning.frozen)
    return Recipe(plan, learning_rate, optimizer)


def make_train_step(
    config: Config,
    images: Images,
    network: Network,
    recipe: Recipe,
    parallelism: Parallelism,
    augmentation: Augmentation,
) -> training.TrainStep:
    """Build the training step that the flags describe.

    Raises:
        ValueError: The augmentation cannot take the images.
    """
    plan, weights = recipe.plan, None
    augment = augmentation(config, images.normalise, plan)
    image = jax.ShapeDtypeStruct((1, *images.dataset.image_shape), jnp.uint8)
    jax.eval_shape(augment, jax.random.key(0), image, jnp.int32(0))  # raises where it cannot
    if config.class_weights == "balanced":
        classes = len(images.dataset.class_names)
        weights = training.balanced_class_weights(images.train.labels, classes=classes)
    return training.make_train_step(
        network.functional.apply,
        recipe.optimizer,
        augment=augment,
        prepare=images.normalise,
        options=training.TrainOptions(
            label_smoothing=config.label_smoothing,
            class_weights=weights,
            mixup=config.mixup,
            augmented_steps=max(0, config.epochs - config.clean_epochs) * plan.steps_per_epoch,
            ema_decay=config.ema_decay,
            loss_scale=training.LOSS_SCALES[config.precision],
            accumulate=config.accumulate,
        ),
        axis_name=parallelism.axis_name,
    )


def make_evaluate(config: Config, images: Images, network: Network) -> training.Evaluate:
    """Build the evaluation that the flags describe."""
    apply = network.functional.apply
    predict = training.mean_of_mirrored(apply) if config.test_flips else apply
    eval_step = training.make_eval_step(predict, prepare=images.normalise)
    return jax.jit(training.make_evaluate(eval_step))

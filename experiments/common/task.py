"""Network, data and flags joined: everything is checked here, before a run begins."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from jax.stages import Wrapped

from common.config import Config
from dilax import data, models
from dilax.training import optimizers, schedules, wrappers
from dilax.training.device import share_batch
from dilax.training.epoch import make_evaluate, make_train_steps
from dilax.training.functional import Functional, Path, freeze, functional, mean_of_mirrored
from dilax.training.plan import Plan
from dilax.training.precision import LOSS_SCALES, compute_in
from dilax.training.state import Weights
from dilax.training.step import Augment, Batch, Totals, make_eval_step, make_train_step
from dilax.training.wrappers import Wrapper

Normalise = Callable[[Array], Array]
"""`images (N, H, W, C), uint8 or floats in [0, 1] -> floats of mean 0 and deviation 1`."""
Augmentation = Callable[[Any, Normalise, Plan], Augment]
"""What a program makes of its config: how a batch of training images is altered."""


class Tuning(NamedTuple):
    """How a run starts from published parameters instead of drawn ones."""

    load: Callable[[models.Classifier], object]
    """Writes them into a network; raises ValueError where they do not fit."""
    frozen: Callable[[Path], bool]
    """Whether a parameter stays as published, by its path."""
    normalise: Normalise
    """What they expect images to be."""


SCHEDULES = {"one_cycle": schedules.one_cycle, "cosine": schedules.cosine}
OPTIMIZERS = {
    "adamw": optimizers.adamw,
    "nesterov": optimizers.nesterov,
    "muon": optimizers.muon,
}
MASKS = {
    "kernels": optimizers.is_kernel,
    "mixing": optimizers.mixes_features,
    "all": optimizers.everything,
}
FREE = (
    *("output", "resume", "pictures", "seeds", "on_nan"),
    *("device", "devices", "parallel", "shard_optimizer", "stream"),
    *("distributed", "coordinator", "processes", "process"),
)
"""Flags that another start of the run may change."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained on what: checked, and shared by all seeds, so that it is compiled once."""

    config: Config
    dataset: data.Dataset
    train: data.Split
    held_out: data.Split
    test: data.Split
    network: Functional
    normalise: Normalise
    plan: Plan
    learning_rate: optax.Schedule
    optimizer: optax.GradientTransformation
    tuning: Tuning | None
    wrapper: Wrapper
    train_steps: Wrapped
    evaluate: Callable[[Weights, Batch], tuple[Totals, Array]]

    @classmethod
    def make(
        cls,
        config: Config,
        dataset: data.Dataset,
        augmentation: Augmentation,
        devices: Sequence[jax.Device],
        *,
        tuning: Tuning | None = None,
        optimizer: optax.GradientTransformation | None = None,
    ) -> "Task":
        """Join network, data, flags and devices.

        Args:
            config: the flags.
            dataset: training and test images.
            augmentation: how training images are altered.
            devices: those there are.
            tuning: published parameters to start from; left out, they are drawn.
            optimizer: left out, AdamW by the flags.

        Raises:
            ValueError: they do not fit together.
        """
        train, held_out, test = split(config, dataset)
        plan = Plan(num_images=len(train), batch_size=config.batch_size, epochs=config.epochs)
        classes = len(dataset.class_names)
        shared = share_batch(
            devices,
            count=config.devices,
            batch_size=config.batch_size,
            accumulate=config.accumulate,
        )
        wrapper = wrappers.make(config.parallel, shared, shard_optimizer=config.shard_optimizer)
        module = trial(config.model, classes, tuning)
        network = functional(
            module,
            axis_name=wrapper.axis_name if config.batch_statistics == "global" else None,
        )
        if config.precision != "float32":
            network = network._replace(apply=compute_in(config.precision, network.apply))
        check_network(config, network, dataset)
        normalise = normaliser(train.images)
        learning_rate = SCHEDULES[config.schedule](
            config.learning_rate, total_steps=plan.total_steps
        )
        optimizer = optimizer or make_optimizer(config, learning_rate)
        if tuning is not None:
            network = network._replace(apply=freeze(network.apply, tuning.frozen))
            optimizer = optimizers.except_frozen(optimizer, tuning.frozen)
            normalise = tuning.normalise
        train_step = make_train_step(
            network.apply,
            optimizer,
            augment=augmentation(config, normalise, plan),
            prepare=normalise,
            augmented_steps=plan.total_steps - config.clean_epochs * plan.steps_per_epoch,
            label_smoothing=config.label_smoothing,
            mixup=config.mixup,
            ema_decay=config.ema_decay,
            loss_scale=LOSS_SCALES[config.precision],
            accumulate=config.accumulate,
            axis_name=wrapper.axis_name,
        )
        predict = mean_of_mirrored(network.apply) if config.test_flips else network.apply
        return cls(
            config=config,
            dataset=dataset,
            train=train,
            held_out=held_out,
            test=test,
            network=network,
            normalise=normalise,
            plan=plan,
            learning_rate=learning_rate,
            optimizer=optimizer,
            tuning=tuning,
            wrapper=wrapper,
            train_steps=wrapper.wrap(make_train_steps(train_step)),
            evaluate=jax.jit(make_evaluate(make_eval_step(predict, prepare=normalise))),
        )

    def identity(self, seed: int) -> dict[str, Any]:
        """Give what must be equal for a run to be continued: what its numbers depend on."""
        flags = {name: value for name, value in self.config.as_json().items() if name not in FREE}
        if self.config.batch_statistics == "device":
            flags["devices"] = len(self.wrapper.devices)
        return flags | {"seed": seed, "dataset_sha256": self.dataset.fingerprint}


def make_optimizer(config: Config, learning_rate: optax.Schedule) -> optax.GradientTransformation:
    """Make the optimiser that the flags ask for."""
    optimizer = OPTIMIZERS[config.optimizer](
        learning_rate, weight_decay=config.weight_decay, mask=MASKS[config.decay]
    )
    return optimizers.clipped(optimizer, norm=config.clip_norm) if config.clip_norm else optimizer


def create(name: str, classes: int, key: Array) -> models.Classifier:
    """Make a network with parameters drawn from `key`; pure, so that one jit can hold it all."""
    return models.create(name, classes=classes, rngs=nnx.Rngs(key))


def trial(name: str, classes: int, tuning: Tuning | None) -> models.Classifier:
    """Give a network of shapes alone, published parameters taken over if there are any.

    Raises:
        ValueError: they are of another network.
    """

    def make() -> models.Classifier:
        module = create(name, classes, jax.random.key(0))
        if tuning is not None:
            tuning.load(module)
        return module

    return nnx.eval_shape(make)


def split(config: Config, dataset: data.Dataset) -> tuple[data.Split, data.Split, data.Split]:
    """Give training, held-out and test images.

    Raises:
        ValueError: the set has no training or no test images, or not enough to hold out.
    """
    if missing := {"train", "test"} - dataset.splits.keys():
        raise ValueError(
            f"--dataset {dataset.name} must have the splits train and test, received "
            f"{', '.join(dataset.splits)} (no {' and no '.join(sorted(missing))})"
        )
    train = dataset.splits["train"]
    if config.limit:
        train = data.Split(train.images[: config.limit], train.labels[: config.limit])
    if not config.validation < len(train):
        raise ValueError(
            f"--validation must leave training images: received {config.validation} of {len(train)}"
        )
    return *data.holdout(train, config.validation), dataset.splits["test"]


def check_network(config: Config, network: Functional, dataset: data.Dataset) -> None:
    """See whether a network takes the images of a data set.

    Raises:
        ValueError: it does not.
    """
    images = jax.ShapeDtypeStruct((1, *dataset.image_shape), jnp.float32)
    shape = "x".join(map(str, dataset.image_shape))
    trial = functools.partial(network.apply, train=False)
    try:
        jax.eval_shape(trial, network.params, network.batch_stats, images)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"--model {config.model} cannot take the {shape} images of --dataset {dataset.name}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def normaliser(images: np.ndarray) -> Normalise:
    """Make the function that gives each channel of `images`, uint8, mean 0 and deviation 1."""
    pixels = images.reshape(-1, images.shape[-1])
    mean = pixels.mean(axis=0, dtype=np.float64) / 255
    square = np.square(pixels, dtype=np.uint32).mean(axis=0, dtype=np.float64) / 255**2
    std = np.sqrt(square - mean**2)
    return functools.partial(
        data.augment.normalize, mean=mean.tolist(), std=np.maximum(std, 1 / 255).tolist()
    )

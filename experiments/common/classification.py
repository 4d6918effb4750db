"""Classification of images: its flags, examples, task and pictures."""

import dataclasses
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from common.config import Config
from common.job import (
    Examples,
    Job,
    Tuning,
    draw_confusions,
    picture_path,
    require_training,
)
from common.terminal import say, stage
from dilax import analysis, data, models, training
from dilax.training import Augment, Batch, Fitted, Plan

Normalise = Callable[[Array], Array]
"""``images (N, H, W, C), uint8 or floats in [0, 1] -> floats of mean 0 and deviation 1``."""
AugmentImages = Callable[[Array, Array, Array], Array]
"""``(key, uint8 images (N, H, W, C), step of the run) -> normalised floats`` of that shape."""
Augmentation = Callable[[Any, Normalise, Plan], AugmentImages]
"""Builds the augmentation of training images from a program's config."""
Adapt = Callable[[data.Dataset], data.Dataset]
"""Converts a data set to one that the program's networks can take."""
HELD_OUT = "final or ema without held-out images, or add --validation 5000"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig(Config):
    """The flags that all programs of classifiers share."""

    own_size: ClassVar[int]
    """Height and width of the pictures in a folder, unless ``--size`` is given."""
    channels: ClassVar[Literal[1, 3]]
    """Channels of the images that the networks of the program take."""
    resizes: ClassVar[bool] = False
    """Whether the program also resizes the images of data sets that are no folders."""

    size: int = 0
    """Height and width to which pictures of a folder are resized; 0 for the program's own."""
    label_smoothing: float = 0.0
    """Share of each target that is spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weight of each training image in the loss: 1, or (balanced) in inverse proportion to the
    size of its class."""
    mixup: float = 0.0
    """Parameter of the beta distribution of mixup, which blends pairs of images; 0 for no mixup."""
    test_flips: bool = False
    """Average the logits of each test image and its mirror image."""

    def __post_init__(self) -> None:
        """Check all values."""
        super().__post_init__()
        self.require("size", self.size >= 0, "0 or more")
        self.require("mixup", 0 <= self.mixup < float("inf"), "0 or more")
        smoothed = 0 <= self.label_smoothing < 1
        self.require("label_smoothing", smoothed, "at least 0 and below 1")


@dataclasses.dataclass(frozen=True)
class Classify(Job):
    """Train a classifier of images."""

    augmentation: Augmentation
    adapt: Adapt = lambda dataset: dataset
    published: Callable[[Any], Tuning | None] = lambda config: None
    """Reads the published parameters that the flags name, if any."""

    def tune(self, config: Any) -> Tuning | None:
        """Read the published parameters that the flags name, if any."""
        return self.published(config)

    def read(self, config: ClassifierConfig, tuning: Tuning | None) -> Examples:
        """Read the data set of the flags."""
        return make_examples(config, read_data(config, adapt=self.adapt), tuning)

    def augment(self, config: ClassifierConfig, examples: Examples, plan: Plan) -> Augment:
        """Build the augmentation, which leaves labels as they are."""
        of_images = self.augmentation(config, self.prepare(examples), plan)

        def augment(key: Array, batch: Batch, step: Array) -> Batch:
            return batch._replace(inputs=of_images(key, batch.inputs, step))

        return augment

    def training_task(
        self, config: ClassifierConfig, examples: Examples
    ) -> training.Classification:
        """Smooth and weigh the loss as the flags say."""
        weights = None
        if config.class_weights == "balanced":
            classes = len(examples.class_names)
            weights = training.balanced_class_weights(examples.train.targets, classes=classes)
        return training.Classification(
            label_smoothing=config.label_smoothing, class_weights=weights
        )

    def test_task(self, config: ClassifierConfig, examples: Examples) -> training.Classification:
        """Neither smooth nor weigh the loss."""
        return training.Classification()

    def mixup(self, config: ClassifierConfig) -> float:
        """Return the parameter of mixup; 0 for none."""
        return config.mixup

    def predict(self, config: ClassifierConfig, apply: training.Apply) -> training.Apply:
        """Average the logits of an image and its mirror image, if the flags say so."""
        return training.mean_of_mirrored(apply) if config.test_flips else apply

    def describe(
        self, config: ClassifierConfig, examples: Examples, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what it takes to use the trained network, in JSON."""
        return models.Description(
            model=config.model,
            class_names=examples.class_names,
            preparation=examples.preparation,
            options=options,
            mirrored=config.test_flips,
            kernel_bits=config.kernel_bits,
        ).as_json()

    def by_class(self, examples: Examples, decoded: np.ndarray) -> Sequence[Mapping[str, Any]]:
        """Compute the accuracy on the test images of each class."""
        labels = examples.test.targets
        return training.class_accuracies(labels, decoded.argmax(-1), examples.class_names)

    def draw(
        self,
        config: ClassifierConfig,
        examples: Examples,
        module: models.Classifier,
        fitted: Fitted,
        decoded: np.ndarray,
    ) -> None:
        """Draw confusion matrix, mistakes and feature maps."""
        names, (images, labels) = examples.class_names, examples.test
        draw_confusions(config, examples, decoded)
        mistakes = picture_path(config, "mistakes")
        training.draw_mistakes(mistakes, images, labels, decoded, names)
        module.eval()
        layers = windowed(module.activations)
        image = self.prepare(examples)(jnp.asarray(images[:1]))
        maps = [np.asarray(layer[0]) for layer in jax.jit(layers)(image).values()]
        named = dict(zip(layer_titles(layers, image), maps, strict=True))
        training.draw_feature_maps(picture_path(config, "feature_maps"), images[0], named)


def read_data(config: ClassifierConfig, *, adapt: Adapt = lambda dataset: dataset) -> data.Dataset:
    """Read the data set of the flags; pictures get the size and the colours of the networks.

    Raises:
        ValueError: It cannot be got, is damaged, or has another size than ``--size`` or other
            channels than the networks take.
    """
    pictures = data.PictureOptions(size=config.size or config.own_size, channels=config.channels)
    with stage(f"loading {config.dataset}", show=training.is_main_process()):
        dataset = adapt(data.load(config.dataset, pictures=pictures))
    shape = dataset.image_shape
    if config.size and not config.resizes and shape[:2] != (config.size, config.size):
        raise ValueError(
            f"--size must be left out with --dataset {dataset.name}, whose images are "
            f"{shape[0]}x{shape[1]}, got {config.size}; it is for folders of pictures."
        )
    if shape[-1] != config.channels:
        raise ValueError(
            f"--dataset {dataset.name} must have images (N, H, W, {config.channels}), got "
            f"(N, {', '.join(map(str, shape))}){conversion(shape[-1])}."
        )
    for note in dataset.notes:
        say(f"note: --dataset {dataset.name}: {note}", file=sys.stderr)
    return dataset


def conversion(channels: int) -> str:
    """Return the code that makes colour of grey, or opaque images on white of transparent ones."""
    if channels == 1:
        return "; convert them by images.repeat(3, axis=-1)"
    if channels not in (2, 4):
        return ""
    colours, alpha = "images[..., :-1]", "images[..., -1:]"
    code = f"({colours} * ({alpha} / 255) + 255 - {alpha}).round().astype('uint8')"
    return f"; if the last channel is opacity, convert them by {code}"


def make_examples(
    config: ClassifierConfig, dataset: data.Dataset, tuning: Tuning | None = None
) -> Examples:
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
    require_training(config, len(train), what="images")
    train, held_out = data.holdout(train, config.validation)
    if not config.validation:
        held_out = dataset.splits.get("validation", held_out)
    config.require("evaluate", config.evaluate != "best" or len(held_out) > 0, HELD_OUT)
    published = {} if tuning is None else {"mean": tuning.mean, "std": tuning.std}
    return Examples(
        name=dataset.name,
        source=dataset.source,
        sha256=dataset.fingerprint,
        train=Batch(train.images, train.labels),
        held_out=Batch(held_out.images, held_out.labels),
        test=Batch(test.images, test.labels),
        class_names=dataset.class_names,
        preparation=models.Preparation.of_images(train.images, **published),
    )


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

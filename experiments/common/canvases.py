"""Examples of images with targets of any form, such as canvases of digits with masks or boxes."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from common.job import Examples, hold_out, require_held_out
from common.terminal import say, stage
from dilax import data, models, training
from dilax.data._dataset import fingerprint_of
from dilax.training import Batch


def compose(config: Any) -> dict[str, data.Canvases]:
    """Compose canvases of digits; those for testing have digits of the test images alone."""
    digits = data.load("mnist")
    counts = {"train": config.canvases, "test": config.test_canvases}
    with stage("composing canvases", show=training.is_main_process()):
        return {
            name: data.compose_canvases(digits.splits[name], count, size=config.size, seed=seed)
            for seed, (name, count) in enumerate(counts.items())
        }


def source_of(config: Any) -> str:
    """Say where canvases came from."""
    return f"canvases of {config.size}x{config.size} pixels, composed of the digits of MNIST"


def make_examples(
    config: Any,
    name: str,
    source: str,
    batches: Mapping[str, Batch],
    class_names: tuple[str, ...],
    *,
    labels: str | None = None,
    prepared: Callable[[np.ndarray], Any] = lambda images: dataclasses.replace(
        models.Preparation.of_images(images), object_size=None
    ),
) -> Examples:
    """Hold images out for validation, and measure the statistics of the others.

    Args:
        config: The flags.
        name: The data set, as the flags name it.
        source: Where it came from.
        batches: The examples of each split.
        class_names: The name of each class.
        labels: The part of the targets that holds classes; None if they are all of them.
        prepared: Measures, on the training images, how images are prepared.

    Raises:
        ValueError: No training image is left.
    """
    kept, held = hold_out(config, batches["train"].size, what="images")
    train, held_out = batches["train"].take(kept), batches["train"].take(held)
    if not config.validation:
        held_out = batches.get("validation", held_out)
    require_held_out(config, held_out)
    trained = train.targets if labels is None else getattr(train.targets, labels)
    if absent := sorted(set(range(len(class_names))) - set(np.unique(trained).tolist())):
        names = ", ".join(class_names[label] for label in absent[:5])
        say(f"note: --dataset {name} has nothing to train on of {names}", file=sys.stderr)
    return Examples(
        name=name,
        source=source,
        sha256=fingerprint_of(batches, jax.tree.leaves),
        train=train,
        held_out=held_out,
        test=batches["test"],
        class_names=class_names,
        preparation=prepared(train.inputs),
    )

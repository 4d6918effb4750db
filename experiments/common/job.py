"""What differs from one kind of program to another: its examples, its task, its pictures."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from common.config import Config
from dilax import models, training
from dilax.training import Augment, Batch, Fitted, Plan, Prepare, Task

HELD_OUT = "final or ema without held-out examples, or add --validation 500"
Load = Callable[[Any], object]
"""Writes weights into a network; raises ValueError if they do not fit."""


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
    rate: float = 1.0
    """Factor on the learning rate of the published parameters."""
    published: Callable[[training.Path], bool] = lambda path: False
    """Whether the parameter at a path is a published one, and so has this rate."""
    keep_statistics: bool = False
    """Whether batch normalisation keeps the published statistics."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """What a run trains on, is validated on, and is tested on."""

    name: str
    """As the flags name it."""
    source: str
    """Where the examples came from, and what was done to them."""
    sha256: str
    """Fingerprint of all arrays."""
    train: Batch
    """NumPy arrays, as are the others."""
    held_out: Batch
    """Examples for validation; may be none."""
    test: Batch
    more_tests: tuple[Batch, ...] = ()
    """Test examples of other shapes, in a batch for each shape."""
    test_names: tuple[str, ...] = ()
    """The name of each batch for testing, if there are several."""
    class_names: tuple[str, ...] = ()
    """The name of each class; empty without classes."""
    preparation: Any
    """How inputs become those of the network; a dataclass of ``dilax.models``."""

    @property
    def classes(self) -> int | None:
        """The number of classes; None without classes."""
        return len(self.class_names) or None


class Job:
    """What one kind of program does. A base class; each kind has one of its own."""

    task_name: str
    """What its networks are trained to do, as ``dilax.models.Description`` names it."""

    rows: str = "class"
    """What ``by_class`` has a row for."""

    def tune(self, config: Any) -> Tuning | None:
        """Read the published parameters that the flags name, if any."""
        return None

    def read(self, config: Any, tuning: Tuning | None) -> Examples:
        """Read the examples that the flags name.

        Raises:
            ValueError: They cannot be read, or do not fit the flags.
        """
        raise NotImplementedError

    def prepare(self, examples: Examples) -> Prepare:
        """Build the function that turns inputs into what the network sees: it normalises them."""
        return examples.preparation.normalise

    def augment(self, config: Any, examples: Examples, plan: Plan) -> Augment:
        """Build the function that turns training examples into what the network sees."""
        raise NotImplementedError

    def network_options(self, config: Any, examples: Examples) -> Mapping[str, Any]:
        """Return arguments of the network that depend on the examples, besides ``classes``."""
        return {}

    def begin(self, config: Any, examples: Examples, module: Any) -> None:
        """Change the parameters of a new network in place, before its training begins.

        A run that is resumed does not begin again.
        """

    def training_task(self, config: Any, examples: Examples) -> Task:
        """Say how outputs are judged in training."""
        raise NotImplementedError

    def test_task(self, config: Any, examples: Examples) -> Task:
        """Say how outputs are judged in validation and test."""
        return self.training_task(config, examples)

    def mixup(self, config: Any) -> float:
        """Return the parameter of mixup; 0 for none."""
        return 0.0

    def test_batch(self, config: Any) -> int:
        """Return the number of examples that a test computes together."""
        return 500

    def predict(self, config: Any, apply: training.Apply) -> training.Apply:
        """Build the function that is tested, of the network."""
        return apply

    def describe(
        self, config: Any, examples: Examples, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what it takes to use the trained network, in JSON."""
        return models.Description(
            model=config.model,
            task=self.task_name,
            class_names=examples.class_names,
            preparation=examples.preparation,
            options=options,
            kernel_bits=config.kernel_bits,
        ).as_json()

    def by_class(self, examples: Examples, decoded: Any) -> Sequence[Mapping[str, Any]]:
        """Compute results on each class from the decoded outputs on the test examples.

        These are a list with the outputs of each batch if there are ``more_tests``.
        """
        return ()

    def further_tests(self, config: Any, examples: Examples, decoded: Any) -> Mapping[str, float]:
        """Compute results that are no sums over examples, and those of baselines."""
        return {}

    def draw(
        self, config: Any, examples: Examples, module: Any, fitted: Fitted, decoded: Any
    ) -> None:
        """Draw the pictures of a run into its folder, beside its learning curves.

        Args:
            config: The flags of the run.
            examples: What it was trained and tested on.
            module: The network, with the weights that are reported.
            fitted: The finished run.
            decoded: Its decoded outputs on the test examples.
        """
        raise NotImplementedError


def hold_out(config: Config, available: int, *, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw which of the first ``--limit`` training examples ``--validation`` holds out.

    Returns:
        The indices of the others, and of those held out.

    Raises:
        ValueError: No training example is left.
    """
    used = min(config.limit or available, available)
    require_training(config, used, what=what)
    rows = np.arange(used)
    kept, held = split_off(Batch(rows, rows), config.validation)
    return kept.inputs, held.inputs


def parts_of(
    config: Config,
    splits: Mapping[str, Any],
    take: Callable[[Any, np.ndarray], Any],
    *,
    what: str,
) -> dict[str, Any]:
    """Divide a data set into ``train``, ``validation`` and ``test``.

    Its own ``validation`` is used where ``--validation`` holds nothing out.

    Args:
        config: All flags.
        splits: The data set, with ``train``, ``test``, and maybe ``validation``.
        take: Selects examples of a split by their indices.
        what: The name of the examples, for messages.

    Raises:
        ValueError: No training example is left.
    """
    kept, held = hold_out(config, len(splits["train"]), what=what)
    parts = {"train": take(splits["train"], kept), "validation": take(splits["train"], held)}
    if "validation" in splits and not config.validation:
        parts["validation"] = splits["validation"]
    return {**parts, "test": splits["test"]}


def require_training(config: Config, available: int, *, what: str) -> None:
    """Refuse to hold out all training examples."""
    if not config.validation < available:
        raise ValueError(
            f"--validation must leave training {what}, got {config.validation} of {available}."
        )


def split_off(examples: Batch, count: int, *, seed: int = 0) -> tuple[Batch, Batch]:
    """Hold ``count`` examples out, drawn at random; both parts keep their order.

    Returns:
        The others, and those held out.
    """
    held = np.zeros(examples.size, bool)
    held[np.random.default_rng(seed).permutation(examples.size)[:count]] = True
    return examples.take(~held), examples.take(held)


def require_held_out(config: Config, held_out: Batch) -> None:
    """Refuse to report the best epoch if no example is held out."""
    config.require("evaluate", config.evaluate != "best" or held_out.size > 0, HELD_OUT)


def class_rows(examples: Examples, decoded: np.ndarray, *, what: str) -> list[dict[str, Any]]:
    """Compute the number of test examples of each class, named ``what``, and their accuracy."""
    labels, found = examples.test.targets, decoded.argmax(-1)
    rows = training.class_accuracies(labels, found, examples.class_names)
    return [{"name": row["name"], what: row["images"], "accuracy": row["accuracy"]} for row in rows]


def draw_confusions(config: Config, examples: Examples, decoded: np.ndarray) -> None:
    """Draw how often each class of the test examples was taken for which."""
    names = examples.class_names
    found = decoded.argmax(-1)
    counts = training.confusion_matrix(examples.test.targets, found, classes=len(names))
    training.draw_confusion_matrix(picture_path(config, "confusion_matrix"), counts, names)


def one_input(examples: Examples, prepare: Prepare) -> Any:
    """Return the shapes of what the network sees of one example."""
    first = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), examples.train.inputs
    )
    return jax.eval_shape(prepare, first)


def picture_path(config: Config, name: str) -> Path:
    """Return the file of a picture of a run."""
    return config.output / f"{name}.png"

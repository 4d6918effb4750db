"""The trained run from whose weights a run starts (``--init``)."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from common.config import Config
from common.terminal import say
from dilax import models, training

Load = Callable[[models.Classifier], object]
"""Writes weights into a network."""


def load_start(config: Config, classes: int) -> Load:
    """Read the weights that ``--init`` names, and check that the network takes them.

    Returns:
        The function that writes the weights into the network. It does nothing without ``--init``,
        and for a resumed run whose every seed has a checkpoint.

    Raises:
        ValueError: There is no such run, or its network or its images are of another kind.
    """
    if config.init is None or (config.resume and all(map(saved, config.run_folders().values()))):
        return lambda module: None
    folder = Path(config.init)
    theirs = flags_of(folder)
    check_images(config, theirs)
    try:
        trained = training.read_trained(folder)
    except training.CheckpointError as error:
        raise ValueError(f"--init: {error}") from error
    blank, wider = shapes_of(config, classes), shapes_of(config, classes + 1)
    head = head_of(blank, wider)

    def load(module: models.Classifier) -> list[str]:
        return training.load_into(module, *trained.weights, may_differ=head.__contains__)

    try:
        kept = load(blank)
    except ValueError as error:
        model = theirs.get("model", config.model)
        advice = f" It was trained with --model {model}." if model != config.model else ""
        raise ValueError(
            f"--init {folder} does not fit --model {config.model}: {error}{advice}"
        ) from error
    if training.is_main_process():
        print_notes(folder, trained, kept)
    return load


def check_images(config: Config, theirs: dict[str, Any]) -> None:
    """Refuse a run whose images were normalised for published parameters, and these are not."""
    weights = theirs.get("weights")
    if weights is not None and getattr(config, "weights", None) is None:
        raise ValueError(
            f"--init {config.init} was trained with --weights {weights}, for which images are "
            "normalised in their own way; give that flag, too."
        )


def shapes_of(config: Config, classes: int) -> models.Classifier:
    """Create the network of the flags for a number of classes, with shapes in place of arrays."""
    return nnx.eval_shape(
        lambda: models.create(
            config.model, classes=classes, rngs=nnx.Rngs(0), **config.network_options()
        )
    )


def head_of(own: models.Classifier, wider: models.Classifier) -> frozenset[training.Path]:
    """Find the parameters whose shape is another one in a network of more classes."""

    def shapes(module: models.Classifier) -> dict[training.Path, tuple[int, ...]]:
        arrays = nnx.to_pure_dict(nnx.state(module, nnx.Param))
        return {path: leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)}

    others = shapes(wider)
    return frozenset(path for path, shape in shapes(own).items() if others[path] != shape)


def print_notes(folder: Path, trained: training.Trained, kept: list[str]) -> None:
    """Say which weights a run starts from, and which ones are drawn at random."""
    for skipped in trained.skipped:
        say(f"note: --init: {skipped}; an earlier one is used", file=sys.stderr)
    text = f"note: the run starts from the {trained.which} weights of {folder}"
    text += f", saved after step {trained.step:,}"
    if kept:
        text += f"; {' and '.join(kept)} are drawn at random, for another number of classes"
    say(text, file=sys.stderr)


def saved(folder: Path) -> bool:
    """Return whether a run has a checkpoint from which it continues."""
    with training.Checkpoints(folder / training.CHECKPOINTS_FOLDER, config={}) as checkpoints:
        return bool(checkpoints.steps)


def flags_of(folder: Path) -> dict[str, Any]:
    """Return the flags of the run in a folder; none if it has none."""
    path = folder / training.CONFIG_FILE
    return training.read_json(path) if path.is_file() else {}

"""The trained network from which a run starts (``--init``): a run, or a file of one."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import nnx

from common.config import Config
from common.job import Load
from common.terminal import say
from dilax import data, models, training


class Start(NamedTuple):
    """What ``--init`` names."""

    weights: training.Weights
    model: str
    """The name of the network; empty if it is unknown."""
    options: Mapping[str, Any]
    """Arguments of the network besides ``classes``."""
    note: str
    """Which weights these are."""
    skipped: Sequence[str] = ()
    """Newer checkpoints that could not be used, and why."""


def find_start(config: Config) -> Start | None:
    """Read what ``--init`` names; None without it.

    A run that is resumed, with a checkpoint for every seed, reads its own folder: the first one may
    be gone, and only the options of the network are needed.

    Raises:
        ValueError: There is no trained network, or it is damaged.
    """
    if config.init is None:
        return None
    if is_resumed(config):
        return read(next(iter(config.run_folders().values())), which="final")
    return read(Path(config.init))


def is_resumed(config: Config) -> bool:
    """Return whether a run goes on from checkpoints of its own, with all seeds."""
    return config.resume and all(map(saved, config.run_folders().values()))


def load_start(
    config: Config, classes: int | None, options: Mapping[str, Any], start: Start | None
) -> Load:
    """Check that the network takes the weights that ``--init`` names.

    Args:
        config: The flags.
        classes: Number of classes of the data set; None without classes.
        options: Arguments of the network besides ``classes``.
        start: What ``find_start`` found.

    Returns:
        The function that writes the weights into the network. It does nothing without ``--init``,
        and for a resumed run whose every seed has a checkpoint.

    Raises:
        ValueError: Its network or its images are of another kind.
    """
    if start is None or config.init is None or is_resumed(config):
        return lambda module: None
    check_images(config, flags_of(Path(config.init)))
    blank = shapes_of(config, classes, options)
    head: frozenset[training.Path] = frozenset()
    if classes is not None:
        head = head_of(blank, shapes_of(config, classes + 1, options))

    def load(module: nnx.Module) -> list[str]:
        return training.load_into(module, *start.weights, may_differ=head.__contains__)

    try:
        kept = load(blank)
    except ValueError as error:
        other = start.model and start.model != config.model
        advice = f" It was trained with --model {start.model}." if other else ""
        raise ValueError(
            f"--init {config.init} does not fit --model {config.model}: {error}{advice}"
        ) from error
    if training.is_main_process():
        print_notes(start, kept)
    return load


def read(path: Path, *, which: str | None = None) -> Start:
    """Read the weights of a trained run, or of a file of ``dilax.models.save``.

    Raises:
        ValueError: There is no trained network, or it is damaged.
    """
    try:
        if path.is_file():
            model = models.load(path)
            _, *weights = training.functional(model.network)
            name, options = model.description.model, model.description.options
            return Start(training.Weights(*weights), name, options, f"the weights of {path}")
        trained = training.read_trained(path, which=which)
    except (training.CheckpointError, data.DataError) as error:
        raise ValueError(f"--init: {error}") from error
    name, options = flags_of(path).get("model", ""), {}
    if trained.description:
        description = models.Description.from_json(trained.description)
        name, options = description.model, description.options
    note = f"the {trained.which} weights of {path}, saved after step {trained.step:,}"
    return Start(trained.weights, name, options, note, trained.skipped)


def network_options(config: Config, start: Start | None) -> Mapping[str, Any]:
    """Return arguments of the network besides ``classes``: of the flags, else of the start.

    A pruned network, for example, has widths of its own.
    """
    own = config.network_options()
    return {**start.options, **own} if start and start.model == config.model else own


def check_images(config: Config, theirs: dict[str, Any]) -> None:
    """Refuse a run whose images were normalised for published parameters, and these are not."""
    weights = theirs.get("weights")
    if weights is not None and getattr(config, "weights", None) is None:
        raise ValueError(
            f"--init {config.init} was trained with --weights {weights}, for which images are "
            "normalised in their own way; give that flag, too."
        )


def shapes_of(config: Config, classes: int | None, options: Mapping[str, Any]) -> nnx.Module:
    """Create the network of the flags for a number of classes, with shapes in place of arrays."""
    return nnx.eval_shape(
        lambda: models.create(config.model, classes=classes, rngs=nnx.Rngs(0), **options)
    )


def head_of(own: nnx.Module, wider: nnx.Module) -> frozenset[training.Path]:
    """Find the parameters whose shape is another one in a network of more classes."""

    def shapes(module: nnx.Module) -> dict[training.Path, tuple[int, ...]]:
        arrays = nnx.to_pure_dict(nnx.state(module, nnx.Param))
        return {path: leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)}

    others = shapes(wider)
    return frozenset(path for path, shape in shapes(own).items() if others[path] != shape)


def print_notes(start: Start, kept: list[str]) -> None:
    """Say which weights a run starts from, and which ones are drawn at random."""
    for skipped in start.skipped:
        say(f"note: --init: {skipped}; an earlier one is used", file=sys.stderr)
    text = f"note: the run starts from {start.note}"
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

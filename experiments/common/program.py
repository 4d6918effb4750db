"""The main function of the training programs; each user error ends in one clear message."""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro
from rich.cells import cell_len, set_cell_size

from common.config import Config
from common.images import Adapt, read_data
from common.memory import keep_freed_memory
from common.run import train_seeds
from common.task import Augmentation, Tuning, make_task
from common.terminal import print_all_letters, say
from dilax import training

UNSAVED = "interrupted before the first step: nothing is saved"
MOST_CLASSES = 20
"""Most classes whose accuracies are printed; the record has all."""
ConfigType = TypeVar("ConfigType", bound=Config)

OF_THIS_START = (
    *("output", "resume", "device"),
    *("distributed", "coordinator", "processes", "process"),
)
"""Flags that a resumed run takes only from its own command line: where it runs, not what."""

Tune = Callable[[Any], Tuning | None]
"""Reads the published parameters that a config names, if any."""


def main(
    config_class: type[ConfigType],
    *,
    augmentation: Augmentation,
    adapt: Adapt,
    tune: Tune = lambda config: None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a program; return its exit status.

    The status is 0 on success, 1 if training fails, 2 if the flags do not fit the data or the
    output folder, and 128 + n if signal n stopped the run.

    Raises:
        SystemExit: A flag is wrong (status 2) or ``--help`` is given (0); tyro prints why.
    """
    print_all_letters(sys.stdout)
    keep_freed_memory()
    try:
        config = read_flags(config_class, arguments)
        if config.distributed:
            initialize_distributed(config)
        if training.is_main_process():
            training.check_run_folder(config.output, resume=config.resume)
        devices = training.find_devices(config.device)
        dataset = read_data(config, adapt=adapt)
        task = make_task(config, dataset, augmentation, devices, tuning=tune(config))
        training.make_run_folder(config.output)
    except (ValueError, OSError) as error:
        return _complain(error, 2)
    except KeyboardInterrupt:
        return _complain(UNSAVED, 130)
    try:
        with jax.default_device(jax.local_devices(backend=devices[0].platform)[0]):
            summary = train_seeds(task)
        if training.is_main_process():
            report(summary, config.output)
    except (BrokenPipeError, SystemExit):  # rich exits where the output is closed
        return _leave_closed_output(config)
    except training.CheckpointError as error:
        return _complain(error, 2)
    except (FloatingPointError, OSError) as error:
        return _complain(error, 1)
    except KeyboardInterrupt as stopped:
        return _say_how_to_resume(stopped, config)
    return 0


def initialize_distributed(config: Config) -> None:
    """Connect this process to the others of a distributed run."""
    if config.coordinator is None:
        training.initialize_distributed()
    else:
        training.initialize_distributed(
            coordinator=config.coordinator, processes=config.processes, process=config.process
        )


def read_flags(config_class: type[ConfigType], arguments: Sequence[str] | None) -> ConfigType:
    """Parse the flags; with ``--resume``, the saved flags of the run are the defaults.

    Raises:
        SystemExit: A flag is wrong, or ``--help`` is given.
        ValueError: There is no run to resume, or another program made it.
    """
    config = tyro.cli(config_class, args=arguments)
    if not config.resume:
        return config
    training.check_run_folder(config.output, resume=True)
    path = config.output / training.CONFIG_FILE
    kept = {name: getattr(config, name) for name in OF_THIS_START}
    saved: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in training.read_json(path).items()
    }
    try:
        default = config_class(**saved | kept)
    except TypeError as error:
        raise ValueError(f"{path} must be from a run of this program: {error}.") from error
    return tyro.cli(config_class, args=arguments, default=default)


def report(summary: dict[str, Any], output: Path) -> None:
    """Print the results."""
    accuracy = f"{summary['test_accuracy']:.2%} ({summary['weights']} weights)"
    if over := summary.get("over_seeds"):
        spread = over["test_accuracy"]
        accuracy += (
            f", mean of {spread['n']} seeds, standard deviation {spread['std']:.2%}, "
            f"{spread['min']:.2%} to {spread['max']:.2%}"
        )
    say(f"test accuracy  {accuracy}", indent=15)
    print(f"parameters     {summary['parameters']:,}")
    print(f"multiply-adds  {summary['multiply_adds']:,} per image")
    print(f"training       {summary['train_seconds']:.1f} s on {summary['device']}")
    print(f"results        {output}")
    if len(summary["classes"]) <= MOST_CLASSES:
        print(class_table(summary["classes"]))


def class_table(classes: Sequence[dict[str, Any]]) -> str:
    """Format the accuracy on the test images of each class; names may be of wide letters."""
    width = max(13, *(cell_len(one["name"]) for one in classes))
    rows = [
        f"{set_cell_size(one['name'], width)}  {one['accuracy']:>8.2%}  {one['images']:>7,}"
        for one in classes
        if one["images"]
    ]
    return "\n".join([f"{'class':{width}}  accuracy   images", *rows])


def _complain(error: Exception | str, status: int) -> int:
    say(" ".join(str(error).split()), file=sys.stderr)
    return status


def _say_how_to_resume(stopped: KeyboardInterrupt, config: Config) -> int:
    number = stopped.signal_number if isinstance(stopped, training.Interrupted) else signal.SIGINT
    if not str(stopped) and not (config.output / training.CONFIG_FILE).exists():
        return _complain(UNSAVED, 128 + number)
    command = shlex.join(["python", sys.argv[0], "--output", str(config.output), "--resume"])
    return _complain(f"{str(stopped) or 'interrupted'}; continue with: {command}", 128 + number)


def _leave_closed_output(config: Config) -> int:
    """End as a program whose output nobody reads any more, as that of ``| head``."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _say_how_to_resume(KeyboardInterrupt("the output was closed"), config)
    return 128 + signal.SIGPIPE

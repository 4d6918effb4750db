"""From the command line to an exit status: every mistake of a user ends in one clear line."""

import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from common.config import Config
from common.memory import keep_freed_memory
from common.run import train_seeds
from common.task import Augmentation, Task, Tuning
from dilax import data
from dilax.training import folder, hosts
from dilax.training.checkpoint import CheckpointError
from dilax.training.device import find_devices
from dilax.training.flags import parse
from dilax.training.interrupt import Interrupted

ConfigType = TypeVar("ConfigType", bound=Config)

OF_THIS_START = (
    *("output", "resume", "device"),
    *("distributed", "coordinator", "processes", "process"),
)
"""Flags that a resumed run has from its own command line: where it is, not what it computes."""

Adapt = Callable[[data.Dataset], data.Dataset]
"""How a program turns a data set into one that its networks can take."""
Tune = Callable[[Any], Tuning | None]
"""How a program reads the published parameters that its config names, if it names any."""


def main(
    config_class: type[ConfigType],
    *,
    augmentation: Augmentation,
    adapt: Adapt,
    tune: Tune = lambda config: None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a program; give its exit status.

    It is 0 when all went well, 1 when training failed, 2 when a flag is wrong, 128 + n when signal
    n ended the run.
    """
    keep_freed_memory()
    try:
        config = read_flags(config_class, sys.argv[1:] if arguments is None else arguments)
        if config.distributed:
            join_others(config)
        if hosts.writes():
            folder.check_folder(config.output, resume=config.resume)
        devices = find_devices(config.device)
        dataset = adapt(data.load(config.dataset))
        task = Task.make(config, dataset, augmentation, devices, tuning=tune(config))
        folder.make_folder(config.output)
    except (ValueError, OSError) as error:
        return _complain(error, status=2)
    except KeyboardInterrupt:
        return _complain("interrupted before the first step: nothing is saved", status=130)
    try:
        with jax.default_device(jax.local_devices(backend=devices[0].platform)[0]):
            summary = train_seeds(task)
    except CheckpointError as error:
        return _complain(error, status=2)
    except (FloatingPointError, OSError) as error:
        return _complain(error, status=1)
    except KeyboardInterrupt as stopped:
        return _say_how_to_resume(stopped, config)
    if hosts.writes():
        report(summary, config.output)
    return 0


def join_others(config: Config) -> None:
    """Become one process of many."""
    if config.coordinator is None:
        hosts.join()
    else:
        hosts.join(
            coordinator=config.coordinator, processes=config.processes, process=config.process
        )


def read_flags(config_class: type[ConfigType], arguments: Sequence[str]) -> ConfigType:
    """Make the config of a run; one to resume starts from the flags that it was started with."""
    config = parse(config_class, arguments)
    if not config.resume:
        return config
    folder.check_folder(config.output, resume=True)
    saved = folder.read_json(config.output / folder.CONFIG)
    kept = {name: getattr(config, name) for name in OF_THIS_START}
    try:
        default = config_class(**saved | kept)
    except TypeError as error:
        raise ValueError(
            f"{config.output / folder.CONFIG} is not of this program: {error}"
        ) from error
    return parse(config_class, arguments, default=default)


def report(summary: dict[str, Any], output: Path) -> None:
    """Print what a program found."""
    accuracy = f"{summary['test_accuracy']:.2%} ({summary['weights']} weights)"
    if over := summary.get("over_seeds"):
        spread = over["test_accuracy"]
        accuracy += (
            f", mean of {spread['n']} seeds, standard deviation {spread['std']:.2%}, "
            f"{spread['min']:.2%} to {spread['max']:.2%}"
        )
    print(f"test accuracy  {accuracy}")
    print(f"parameters     {summary['parameters']:,}")
    print(f"multiply-adds  {summary['multiply_adds']:,} an image")
    print(f"training       {summary['train_seconds']:.1f} s on {summary['device']}")
    print(f"results        {output}")


def _complain(error: Exception | str, *, status: int) -> int:
    print(" ".join(str(error).split()), file=sys.stderr)
    return status


def _say_how_to_resume(stopped: KeyboardInterrupt, config: Config) -> int:
    number = stopped.signal_number if isinstance(stopped, Interrupted) else signal.SIGINT
    command = shlex.join(["python", sys.argv[0], "--output", str(config.output), "--resume"])
    print(f"{stopped or 'interrupted'}; continue with: {command}", file=sys.stderr)
    return 128 + number

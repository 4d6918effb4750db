"""The main function of the training programs; each user error ends in one clear message."""

import dataclasses
import itertools
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import interrupts
import jax
from rich.cells import cell_len, set_cell_size

from common.config import Config, flag_of
from common.experiment import make_experiment
from common.flags import in_flags, parse
from common.job import Job
from common.memory import keep_freed_memory
from common.run import train_seeds
from common.terminal import print_all_letters, say
from dilax import training

MOST_CLASSES = 20
"""Most classes whose accuracies are printed; the record has all."""
ConfigType = TypeVar("ConfigType", bound=Config)

OF_THIS_START = (
    *("output", "resume", "device"),
    *("distributed", "coordinator", "processes", "process"),
)
"""Flags that a resumed run takes only from its own command line: where it runs, not what."""


def main(
    config_class: type[ConfigType], job: Job, *, arguments: Sequence[str] | None = None
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
        interrupts.say_when_interrupted(lambda: _how_to_resume(config))
        if config.distributed:
            initialize_distributed(config)
        devices = training.find_devices(config.device)
        if training.is_main_process():
            training.check_run_folder(config.output, resume=config.resume)
        tuning = job.tune(config)
        examples = job.read(config, tuning)
        experiment = make_experiment(config, job, examples, devices, tuning=tuning)
        training.make_run_folder(config.output)
    except (ValueError, OSError) as error:
        return _complain(in_flags(str(error), config_class), 2)
    except KeyboardInterrupt:
        return _complain(interrupts.UNSAVED, 128 + signal.SIGINT)
    try:
        with jax.default_device(jax.local_devices(backend=devices[0].platform)[0]):
            summary = train_seeds(experiment)
        if training.is_main_process():
            report(summary, config.output, experiment.task, rows=job.rows)
    except (BrokenPipeError, SystemExit):  # rich exits where the output is closed
        return _leave_closed_output(config)
    except training.MismatchError as error:
        return _complain(_how_to_train_on(error, config), 2)
    except training.SaveError as error:
        return _complain(_how_to_resume(config, str(error).removesuffix(".")), 1)
    except training.CheckpointError as error:
        return _complain(str(error), 2)
    except (FloatingPointError, OSError) as error:
        return _complain(in_flags(str(error), config_class), 1)
    except KeyboardInterrupt as stopped:
        number = getattr(stopped, "signal_number", signal.SIGINT)  # of training.Interrupted
        return _complain(_how_to_resume(config, str(stopped)), 128 + number)
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
        ValueError: There is no run to resume, or another program made it, or it has one seed and
            is to have several.
    """
    config = parse(config_class, arguments)
    if not config.resume:
        return config
    training.check_run_folder(config.output, resume=True)
    path = config.output / training.CONFIG_FILE
    kept = {name: getattr(config, name) for name in OF_THIS_START}
    saved: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in training.read_json(path).items()
    }
    known = {field.name for field in dataclasses.fields(config_class)}
    if unknown := sorted(saved.keys() - known):
        raise ValueError(
            f"{path} must be from a run of this program, got {', '.join(map(flag_of, unknown))}, "
            "which are no flags of it; resume with the program that started the run."
        )
    try:
        default = config_class(**saved | kept)
    except TypeError as error:
        raise ValueError(f"{path} must be from a run of this program: {error}.") from error
    config = parse(config_class, arguments, default=default)
    if (config.seeds == 1) != (default.seeds == 1):  # their runs lie in other folders
        one = "1, because" if default.seeds == 1 else "2 or more, because"
        raise ValueError(
            f"--seeds must be {one} the run in {config.output} began with {default.seeds}, got "
            f"{config.seeds}; choose another --output for a new run."
        )
    return config


def report(
    summary: dict[str, Any], output: Path, task: training.Task, *, rows: str = "class"
) -> None:
    """Print the results."""
    score = f"test_{task.score}"
    result = f"{shown(summary[score], task)} ({summary['weights']} weights)"
    if over := summary.get("over_seeds"):
        spread = {name: shown(value, task) for name, value in over[score].items() if name != "n"}
        result += (
            f", mean of {over[score]['n']} seeds, standard deviation {spread['std']}, "
            f"{spread['min']} to {spread['max']}"
        )
    named = {
        score.replace("_", " "): result,
        "parameters": f"{summary['parameters']:,}",
        "multiply-adds": f"{summary['multiply_adds']:,} per example",
        "training": f"{summary['train_seconds']:.1f} s on {summary['device']}",
        "results": str(output),
    }
    width = max(map(len, named)) + 2
    for name, text in named.items():
        say(f"{name:{width}}{text}", indent=width)
    if 0 < len(summary["classes"]) <= MOST_CLASSES:
        print(class_table(summary["classes"], task, rows))


def shown(value: float, task: training.Task) -> str:
    """Format a score in its unit."""
    return f"{value:.2%}" if task.unit == "%" else f"{value:.2f} {task.unit}"


def class_table(classes: Sequence[dict[str, Any]], task: training.Task, rows: str) -> str:
    """Format the results on the test examples of each class; names may be of wide letters."""
    width = max(13, *(cell_len(one["name"]) for one in classes))
    counted = next(name for name, value in classes[0].items() if isinstance(value, int))
    metric = next(name for name in classes[0] if name not in ("name", counted))
    lines = [
        f"{set_cell_size(one['name'], width)}  {shown(one[metric], task):>8}  {one[counted]:>7,}"
        for one in classes
        if one[counted]
    ]
    return "\n".join([f"{rows:{width}}  {metric:8}  {counted:>7}", *lines])


def _complain(message: str, status: int) -> int:
    say(" ".join(message.split()), file=sys.stderr)
    return status


def _how_to_resume(config: Config, stopped: str = "") -> str:
    """Say how to continue a run that was stopped, in words that may name the reason."""
    if not stopped and not (config.output / training.CONFIG_FILE).exists():
        return interrupts.UNSAVED
    command = shlex.join(["python", sys.argv[0], "--output", str(config.output), "--resume"])
    return f"{stopped or 'interrupted'}; continue with: {command}"


def _how_to_train_on(error: training.MismatchError, config: Config) -> str:
    """Say which flags a resumed run may not change, and how a new one starts from its weights."""
    at = error.folder.parent
    folder = next(path for path in config.run_folders().values() if path.absolute() == at)
    finished = (folder / training.SUMMARY_FILE).is_file()
    resume = "" if finished else "resume it with the same flags, or "
    changed = [
        f"{flag_of(name) if hasattr(config, name) else name} was {then}, now is {now}"
        for name, (then, now) in error.differences.items()
    ]
    kept = f"the run in {folder} is {'finished' if finished else 'unfinished'}, and a resumed run "
    kept += f"keeps its flags: {'; '.join(changed)}; {resume}"
    if "model" in error.differences:  # its weights fit no other network
        return f"{kept}start a new run with another --output."
    new = dataclasses.replace(
        config, init=str(folder), output=_free_folder(folder), resume=False, seeds=1
    )
    command = shlex.join(["python", sys.argv[0], *new.as_arguments()])
    return f"{kept}start a new run from its weights with: {command}"


def _free_folder(folder: Path) -> Path:
    """Find a name for a new folder beside ``folder``."""
    names = (folder.with_name(f"{folder.name}_{number}") for number in itertools.count(2))
    return next(path for path in names if not path.exists())


def _leave_closed_output(config: Config) -> int:
    """End as a program whose output nobody reads any more, as that of ``| head``."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _complain(_how_to_resume(config, "the output was closed"), 128 + signal.SIGPIPE)

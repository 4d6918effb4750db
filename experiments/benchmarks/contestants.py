"""Contestants of a benchmark, each in a process of its own, which answers requests.

A worker is a class: its constructor takes the name of the contestant, and its methods the arguments
of the requests. A request such as ``{"do": "time", "seconds": 0.05}`` calls the method ``time``,
which returns a dictionary. If it fails, the answer is ``{"failed": "..."}``.
"""

import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
MEMORY = BENCHMARKS.parent / "common" / "memory.py"
"""File that is run, not imported: its package imports this dilax, a worker may time another."""


class Contestant:
    """A worker in a new process.

    Args:
        worker: The class of the worker. Its attribute ``PRELOAD`` names a module that is imported
            once for all processes.
        name: Name of the contestant.
        environment: Environment variables to set before anything is computed.
        fresh_memory: Let the process return freed memory to the system.
        checkout: Folder of another dilax, which only this process imports.
    """

    def __init__(
        self,
        worker: type,
        name: str,
        environment: Mapping[str, str],
        *,
        fresh_memory: bool = False,
        checkout: Path | None = None,
    ) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        start = _forked if checkout is None else functools.partial(_started, checkout)
        self.kill, self.wait = start(theirs, worker, name, environment, fresh_memory)
        theirs.close()

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a request and return the answer; if the process has ended, the answer says so."""
        try:
            self.connection.send(question)
            return self.connection.recv()
        except (OSError, EOFError):
            return {"failed": "the process ended"}

    def stop(self) -> None:
        """End the process."""
        self.kill()
        self.wait()
        self.connection.close()


def serve(
    questions: Connection,
    worker: type,
    name: str,
    environment: Mapping[str, str],
    fresh_memory: bool,
) -> None:
    """Answer requests until the connection is closed.

    Ctrl-C, which a terminal sends to all processes, is left to the program that asks.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    if not fresh_memory:
        runpy.run_path(str(MEMORY))["keep_freed_memory"](one_arena=True)
    made = worker(name)
    while True:
        try:
            question = questions.recv()
        except EOFError:
            return
        questions.send(answer(made, question))


def answer(worker: Any, question: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a request, or say why it failed."""
    arguments = {name: value for name, value in question.items() if name != "do"}
    try:
        return getattr(worker, question["do"])(**arguments)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:300]}


def timed(call: Callable[[], object], seconds: float) -> list[float]:
    """Call repeatedly for ``seconds``, but at least once; return the seconds of each call."""
    found: list[float] = []
    started = time.perf_counter()
    while not found or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        call()
        found.append(time.perf_counter() - before)
    return found


Ending = tuple[Callable[[], object], Callable[[], object]]
"""Functions that kill a process and that wait for its end."""


def _forked(questions: Connection, worker: Any, *arguments: Any) -> Ending:
    """Serve in a process forked from a server that has imported everything and computed nothing."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(BENCHMARKS) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(BENCHMARKS), *filter(None, paths)])
    context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    context.set_forkserver_preload(["__main__", worker.PRELOAD])
    process = context.Process(target=serve, args=(questions, worker, *arguments), daemon=True)
    process.start()
    return process.kill, process.join


def _started(checkout: Path, questions: Connection, worker: Any, *arguments: Any) -> Ending:
    """Serve in a new interpreter, which imports dilax from ``checkout``."""
    code = (
        f"import contestants as c; from {worker.__module__} import {worker.__name__} as worker; "
        f"c.serve(c.Connection({questions.fileno()}), worker, *{arguments!r})"
    )
    paths = os.pathsep.join([str(checkout), str(BENCHMARKS)])
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        env=os.environ | {"PYTHONPATH": paths},
        pass_fds=[questions.fileno()],
    )
    return process.kill, process.wait

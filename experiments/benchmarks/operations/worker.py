"""A process that runs one contestant on one case, and answers requests to check and time it.

    {"do": "lower", "case": 3}                ->  {"programs": {"forward": "f00d...", ...}}
    {"do": "prepare", "case": 3}              ->  {"passes": [...], "compile_seconds": {...}}
    {"do": "check"}                           ->  {"errors": {"forward": 1e-7, ...}}
    {"do": "time", "label": "forward", "warm_up": 0.03, "seconds": 0.05}  ->  {"milliseconds": 1.25}

If a request fails, the answer is ``{"failed": "..."}``.
"""

import functools
import multiprocessing
import os
import random
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from operations.cases import CASES, Case

BENCHMARKS = Path(__file__).resolve().parents[1]
MEMORY = BENCHMARKS.parent / "common" / "memory.py"
"""File that is run, not imported: its package imports this dilax, a worker may time another."""
LONG = 1.0
"""Seconds of a call above which no warm-up is needed."""
PAGE, LINE = 4096, 64
"""Bytes of a page of memory and of a line of the cache."""


class Worker:
    """The state of the process between requests: one case, compiled."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.case: Case = CASES[0]
        self.operands: tuple[np.ndarray, ...] = ()
        self.calls: dict[str, Callable[[], Callable[[], object]]] = {}
        self.usual: dict[str, float] = {}
        self.shift = np.empty(0, np.uint8)
        self.draw = random.Random(name)

    def lower(self, case: int) -> dict[str, Any]:
        """Return the programs of the passes of a case, which are not compiled."""
        from operations import by_jax

        programs = by_jax.programs(self.name, CASES[case], by_jax.operands(CASES[case]))
        return {"programs": programs, "module": str(by_jax.dilax.__file__)}

    def prepare(self, case: int, without: Sequence[str] = ()) -> dict[str, Any]:
        """Draw the operands of a case, and compile its passes, except those ``without``."""
        from operations import by_jax

        self.case = CASES[case]
        self.operands = by_jax.operands(self.case)
        compile_seconds: dict[str, float] = {}
        if self.name == "torch":
            from operations import by_torch

            self.calls = by_torch.prepare(self.case, self.operands)
        else:
            self.calls, compile_seconds = by_jax.prepare(
                self.name, self.case, self.operands, without
            )
        if self.name == "dilax":
            self.calls |= by_jax.copy(self.case, self.operands)
        return {"passes": list(self.calls), "compile_seconds": compile_seconds}

    def check(self) -> dict[str, Any]:
        """Return the largest difference from float64 in each pass, over the largest entry."""
        from operations import by_jax

        if self.case.kind != "conv" or self.case.context not in ("call", "scan", "remat"):
            return {"errors": {}}
        return {"errors": by_jax.errors(self.case, self.operands)}

    def time(self, label: str, warm_up: float, seconds: float) -> dict[str, Any]:
        """Return the median milliseconds of calls for ``seconds``, after ``warm_up`` seconds.

        Each turn places its arrays in memory anew: one program can take several times as long as
        itself, depending on the distance of its output from its input modulo the page size, because
        the processor compares the addresses of loads and earlier stores by their last 12 bits.
        There is no warm-up if a call took longer than ``LONG`` in the previous turn.
        """
        self.shift = np.empty(LINE * self.draw.randrange(PAGE // LINE), np.uint8)
        call = self.calls[label]()
        if self.usual.get(label, 0.0) < LONG:
            _timed(call, warm_up)
        self.usual[label] = float(np.median(_timed(call, seconds)))
        return {"milliseconds": 1000 * self.usual[label]}

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request, or say why it failed."""
        arguments = {name: value for name, value in question.items() if name != "do"}
        try:
            return getattr(self, question["do"])(**arguments)
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {error}"[:300]}


def _timed(call: Callable[[], object], seconds: float) -> list[float]:
    """Call repeatedly for ``seconds``, but at least once; return the seconds of each call."""
    found: list[float] = []
    started = time.perf_counter()
    while not found or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        call()
        found.append(time.perf_counter() - before)
    return found


class Contestant:
    """A worker in a new process.

    Args:
        name: Name of the contestant, as in ``by_jax.contestant``, or ``torch``.
        environment: Environment variables to set before anything is computed.
        fresh_memory: Let the process return freed memory to the system.
        checkout: Folder of another dilax, which only this process imports.
    """

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        *,
        fresh_memory: bool = False,
        checkout: Path | None = None,
    ) -> None:
        arguments = (name, environment, fresh_memory)
        self.connection, theirs = multiprocessing.Pipe()
        start = _forked if checkout is None else functools.partial(_started, checkout)
        self.kill, self.wait = start(theirs, *arguments)
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
    questions: Connection, name: str, environment: Mapping[str, str], fresh_memory: bool
) -> None:
    """Answer requests until the connection is closed."""
    os.environ.update(environment)
    if not fresh_memory:
        runpy.run_path(str(MEMORY))["keep_freed_memory"](one_arena=True)
    worker = Worker(name)
    while True:
        try:
            question = questions.recv()
        except EOFError:
            return
        questions.send(worker.answer(question))


Ending = tuple[Callable[[], object], Callable[[], object]]
"""Functions that kill a process and that wait for its end."""


def _forked(questions: Connection, *arguments: Any) -> Ending:
    """Serve in a process forked from a server that has imported everything and computed nothing."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(BENCHMARKS) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(BENCHMARKS), *filter(None, paths)])
    context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    context.set_forkserver_preload(["__main__", "operations.by_jax"])
    process = context.Process(target=serve, args=(questions, *arguments), daemon=True)
    process.start()
    return process.kill, process.join


def _started(checkout: Path, questions: Connection, *arguments: Any) -> Ending:
    """Serve in a new interpreter, which imports dilax from ``checkout``."""
    number = questions.fileno()
    code = f"from operations import worker as w; w.serve(w.Connection({number}), *{arguments!r})"
    paths = os.pathsep.join([str(checkout), str(BENCHMARKS)])
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        env=os.environ | {"PYTHONPATH": paths},
        pass_fds=[number],
    )
    return process.kill, process.wait

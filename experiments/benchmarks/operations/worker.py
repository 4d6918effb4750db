"""A process that holds one contestant in one case, and times what it is asked to.

    {"do": "prepare", "case": 3}              ->  {"passes": [...], "compile_seconds": {...}}
    {"do": "check"}                           ->  {"errors": {"forward": 1e-7, ...}}
    {"do": "time", "pass": "forward", "warm_up": 0.03, "seconds": 0.05}  ->  {"milliseconds": 1.25}

What goes wrong is answered as `{"failed": "..."}`.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import _programs  # noqa: F401
import numpy as np
from common.memory import keep_freed_memory

from operations import arrays as arrays_of
from operations import by_jax
from operations.cases import CASES, Case

LONG = 1.0
"""Seconds of a call beside which what the first call of a turn costs is nothing."""

GRADED = ("forward", "input gradient", "kernel gradient")


class Worker:
    """The state between questions: one case, prepared."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.case: Case = CASES[0]
        self.operands: tuple[np.ndarray, ...] = ()
        self.calls: dict[str, Callable[[], object]] = {}
        self.answers: Callable[[], tuple[Any, ...]] = tuple
        self.usual: dict[str, float] = {}

    def prepare(self, case: int) -> dict[str, Any]:
        """Make the operands of a case, and compile its passes."""
        self.case = CASES[case]
        self.operands = arrays_of.operands(self.case)
        compile_seconds: dict[str, float] = {}
        if self.name == "torch":
            from operations import by_torch

            self.calls, self.answers = by_torch.prepare(self.case, self.operands)
        else:
            self.calls, compile_seconds, self.answers = by_jax.prepare(
                self.name, self.case, self.operands
            )
            if self.name == "dilax":
                self.calls |= by_jax.copy(self.case, self.operands)
        return {"passes": list(self.calls), "compile_seconds": compile_seconds}

    def check(self) -> dict[str, Any]:
        """Largest errors against float64, in units of the largest entry."""
        if self.case.kind != "conv" or self.case.context not in ("call", "scan", "remat"):
            return {"errors": {}}
        rounded = self.operands
        if self.case.dtype != "float32":
            import jax.numpy as jnp

            rounded = tuple(
                np.asarray(jnp.asarray(array, self.case.dtype), np.float32) for array in rounded
            )
        expected = arrays_of.convolution(self.case, *rounded)
        found = [np.asarray(array, np.float64) for array in self.answers()]
        errors = map(arrays_of.relative_error, found, expected)
        return {"errors": dict(zip(GRADED, errors, strict=True))}

    def time(self, label: str, warm_up: float, seconds: float) -> dict[str, Any]:
        """Milliseconds a call, in the median over about `seconds`, after `warm_up` seconds of them.

        A call that took longer than `LONG` in the last turn is not made twice in this one.
        """
        call = self.calls[label]
        if self.usual.get(label, 0.0) < LONG:
            _timed(call, warm_up)
        self.usual[label] = float(np.median(_timed(call, seconds)))
        return {"milliseconds": 1000 * self.usual[label]}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """One question, one answer."""
        if question["do"] == "prepare":
            return self.prepare(question["case"])
        if question["do"] == "check":
            return self.check()
        return self.time(question["pass"], question["warm_up"], question["seconds"])


def _timed(call: Callable[[], object], seconds: float) -> list[float]:
    """The seconds that each call took: one, and more until `seconds` are over."""
    found: list[float] = []
    started = time.perf_counter()
    while not found or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        call()
        found.append(time.perf_counter() - before)
    return found


class Contestant:
    """A worker in a process of its own, which nothing that was timed before has touched.

    Args:
      name: as in `by_jax.FUNCTIONS`, or `torch`.
      environment: variables to set before anything is computed.
      fresh_memory: let the process give freed memory back to the system.
    """

    def __init__(
        self, name: str, environment: Mapping[str, str], *, fresh_memory: bool = False
    ) -> None:
        self.connection, theirs = _processes().Pipe()
        arguments = (theirs, name, environment, fresh_memory)
        self.process = _processes().Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, **question: Any) -> dict[str, Any]:
        """One question, one answer; the end of the process is an answer too."""
        try:
            self.connection.send(question)
            return self.connection.recv()
        except (OSError, EOFError):
            return {"failed": "the process ended"}

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def serve(
    questions: Connection, name: str, environment: Mapping[str, str], fresh_memory: bool
) -> None:
    """Answer until there are no more questions."""
    os.environ.update(environment)
    if not fresh_memory:
        keep_freed_memory(one_arena=True)
    worker = Worker(name)
    while True:
        try:
            question = questions.recv()
        except EOFError:
            return
        try:
            answer = worker.answer(question)
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"[:300]}
        questions.send(answer)


def _processes() -> Any:
    """Processes forked from one that has imported everything, and has not begun to compute."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    folder = str(Path(__file__).parent.parent)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if folder not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, paths)])
    return multiprocessing.get_context("forkserver")

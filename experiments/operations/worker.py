"""A process that holds one contestant, and times what it is asked to, line by line of JSON.

    {"do": "prepare", "case": 3}              ->  {"passes": [...], "compile_seconds": {...}}
    {"do": "check"}                           ->  {"errors": {"forward": 1e-7, ...}}
    {"do": "time", "pass": "forward", "seconds": 0.03}  ->  {"milliseconds": 1.25}

What goes wrong is answered as `{"failed": "..."}`.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np
from common.memory import keep_freed_memory

from operations import arrays as arrays_of
from operations.cases import CASES, Case

GRADED = ("forward", "input gradient", "kernel gradient")


class Worker:
    """The state between questions: one case, prepared."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.case: Case = CASES[0]
        self.operands: tuple[np.ndarray, ...] = ()
        self.calls: dict[str, Callable[[], object]] = {}
        self.answers: Callable[[], tuple[Any, ...]] = tuple

    def prepare(self, case: int) -> dict[str, Any]:
        """Make the operands of a case, and compile its passes."""
        self.case = CASES[case]
        self.operands = arrays_of.operands(self.case)
        compile_seconds: dict[str, float] = {}
        if self.name == "torch":
            from operations import by_torch

            self.calls, self.answers = by_torch.prepare(self.case, self.operands)
        else:
            from operations import by_jax

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

    def time(self, label: str, seconds: float) -> dict[str, Any]:
        """Milliseconds a call, over about `seconds`, after one that counts only if as long."""
        call = self.calls[label]
        started = time.perf_counter()
        call()
        first = time.perf_counter() - started
        if first >= seconds > 0:
            return {"milliseconds": 1000 * first}
        started, count = time.perf_counter(), 0
        while not count or time.perf_counter() - started < seconds:
            call()
            count += 1
        return {"milliseconds": 1000 * (time.perf_counter() - started) / count}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """One question, one answer."""
        if question["do"] == "prepare":
            return self.prepare(question["case"])
        if question["do"] == "check":
            return self.check()
        return self.time(question["pass"], question["seconds"])


def serve(name: str, questions: TextIO, answers: TextIO) -> None:
    """Answer until there are no more questions."""
    worker = Worker(name)
    for line in questions:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "kept":
        keep_freed_memory(one_arena=True)
    with contextlib.redirect_stdout(sys.stderr):
        serve(sys.argv[1], sys.stdin, sys.__stdout__ or sys.stdout)

"""The worker that runs one contestant on one case, checks and times it. Its requests:

{"do": "lower", "case": 3}                ->  {"programs": {"forward": "f00d...", ...}}
{"do": "prepare", "case": 3}              ->  {"passes": [...], "compile_seconds": {...}}
{"do": "check"}                           ->  {"errors": {"forward": 1e-7, ...}}
{"do": "time", "label": "forward", "warm_up": 0.03, "seconds": 0.05}  ->  {"milliseconds": 1.25}
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from contestants import timed

from operations.cases import CASES, Case

LONG = 1.0
"""Seconds of a call above which no warm-up is needed."""
PAGE, LINE = 4096, 64
"""Bytes of a page of memory and of a line of the cache."""


class Worker:
    """The state of the process between requests: one case, compiled."""

    PRELOAD = "operations.by_jax"

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
            timed(call, warm_up)
        self.usual[label] = float(np.median(timed(call, seconds)))
        return {"milliseconds": 1000 * self.usual[label]}

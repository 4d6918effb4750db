"""Turns of contestants, and what a benchmark says of its numbers."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Steps = Callable[[], object]
"""Runs a fixed number of steps and waits for the last."""


def compile_timed(function: Callable, state: Any) -> tuple[Callable, float]:
    """The function compiled for one state, and how long tracing and compiling took."""
    started = time.perf_counter()
    compiled = jax.jit(function).lower(state).compile()
    return compiled, time.perf_counter() - started


def take_turns(contestants: dict[str, Steps], *, rounds: int, steps: int) -> dict[str, list[float]]:
    """Milliseconds a step of every contestant in every round, after one round to warm up."""
    milliseconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            elapsed = 1000 * (time.perf_counter() - started) / steps
            if turn:
                milliseconds[name].append(elapsed)
    return milliseconds


def repeated(call: Callable[[Any], Any], operands: Any, steps: int) -> Steps:
    """A turn: some calls on the same operands, and the wait for the last."""

    def run() -> object:
        for _ in range(steps):
            result = call(operands)
        return jax.block_until_ready(result)

    return run


def spread(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles, to four digits, and number."""
    low, median, high = (float(f"{v:.4g}") for v in np.percentile(values, [25, 50, 75]))
    return {"median": median, "quartile_1": low, "quartile_3": high, "n": len(values)}

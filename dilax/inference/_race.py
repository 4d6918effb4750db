"""A race between ways to compile a function: first its forms, then options of XLA for the winner.

Which way is fastest differs from processor to processor and from network to network.
"""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np

from dilax._accelerate import accelerate
from dilax.inference._fold import fold
from dilax.inference._sealed import ExportError, reason

Function = Callable[..., Any]
Options = Mapping[str, bool | str]

FORMS: Mapping[str, Callable[[Function], Function]] = {
    "as it is": lambda function: function,
    "accelerated": accelerate,
    "folded and accelerated": lambda function: accelerate(fold(function)),
}
DEFAULTS = "XLA's defaults"
_WIDE = {"xla_cpu_prefer_vector_width": "512"}
_YNN = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
OPTIONS: Mapping[str, Options] = {
    DEFAULTS: {},
    "vectors of 512 bits": _WIDE,
    "YNN for reductions only": _YNN,
    "vectors of 512 bits, YNN for reductions only": {**_WIDE, **_YNN},
}
"""Options of XLA on CPUs by name; elsewhere only its defaults are tried.

By default, the library YNN computes matrix products, too, which takes longer where they are large.
"""
ROUNDS, SECONDS = 5, 0.05
"""Turns of each contestant in a race, and the length of a turn."""


class Way(NamedTuple):
    """A form of a function, and options of XLA."""

    form: str
    options: str = DEFAULTS

    def __str__(self) -> str:
        return self.form if self.options == DEFAULTS else f"{self.form}, {self.options}"

    @property
    def compiler_options(self) -> Options:
        """What XLA is told."""
        return OPTIONS[self.options]

    @classmethod
    def all(cls) -> list[Way]:
        """Return every way on this platform."""
        tried = OPTIONS if jax.default_backend() == "cpu" else [DEFAULTS]
        return [cls(*pair) for pair in itertools.product(FORMS, tried)]


class Ways:
    """The ways to compile a function for examples; each is compiled when it is asked for.

    Args:
        function: The function.
        examples: Its arguments.
        tolerance: Largest difference of results, relative to the largest entry of an array.
    """

    def __init__(self, function: Function, examples: Sequence[Any], tolerance: float) -> None:
        self._function, self._examples, self._tolerance = function, examples, tolerance
        self._exported: dict[str, jax.export.Exported] = {}
        self._compiled: dict[Way, Function] = {}

    def exported(self, way: Way) -> jax.export.Exported:
        """Return the program of a way.

        Raises:
            ExportError: The function has side effects, which ``jax.export`` refuses.
        """
        if way.form not in self._exported:
            jitted = jax.jit(FORMS[way.form](self._function))
            try:
                self._exported[way.form] = jax.export.export(jitted)(*self._examples)
            except NotImplementedError as error:
                raise ExportError(f"function cannot be exported: {reason(error)}") from error
        return self._exported[way.form]

    def call(self, way: Way) -> Function:
        """Return the compiled program of a way, as a function."""
        if way not in self._compiled:
            lowered = jax.jit(self.exported(way).call).lower(*self._examples)
            self._compiled[way] = lowered.compile(dict(way.compiler_options))
        return self._compiled[way]

    def race(self, ways: Sequence[Way]) -> dict[Way, float]:
        """Return the milliseconds of every way that compiles and agrees with the function."""
        expected = self.call(Way("as it is"))(*self._examples)
        runs = {}
        for way in ways:
            try:
                call = self.call(way)
                found = call(*self._examples)
            except (jax.errors.JaxRuntimeError, ValueError):
                continue
            if agree(found, expected, self._tolerance):
                runs[way] = functools.partial(call, *self._examples)
        return timed(runs)


def fastest(ways: Ways) -> tuple[Way, dict[Way, float]]:
    """Race the forms, then the options for the form that won; return the winner and all times."""
    times = ways.race([Way(form) for form in FORMS])
    form = min(times, key=times.__getitem__).form
    finalists = [way for way in Way.all() if way.form == form]
    if len(finalists) == 1:
        return finalists[0], times
    final = ways.race(finalists)
    return min(final, key=final.__getitem__), times | final


def timed(runs: Mapping[Way, Callable[[], Any]]) -> dict[Way, float]:
    """Let calls take turns, in random order; return the milliseconds of each in its best turn."""
    turns: dict[Way, list[float]] = {way: [] for way in runs}
    draw = random.Random(0)
    for _ in range(ROUNDS):
        for way in draw.sample(list(runs), len(runs)):
            turns[way].append(_turn(runs[way]))
    return {way: 1000 * min(found) for way, found in turns.items()}


def _turn(run: Callable[[], Any]) -> float:
    """Return the median seconds of calls, after one that does not count."""
    jax.block_until_ready(run())
    found: list[float] = []
    started = time.perf_counter()
    while not found or time.perf_counter() - started < SECONDS:
        before = time.perf_counter()
        jax.block_until_ready(run())
        found.append(time.perf_counter() - before)
    return float(np.median(found))


def agree(found: Any, expected: Any, tolerance: float) -> bool:
    """Test whether results are equal up to ``tolerance`` times the largest entry of each array."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return all(_close(np.asarray(a), np.asarray(b), tolerance) for a, b in pairs)


def _close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    if not np.issubdtype(expected.dtype, np.inexact) and expected.dtype.kind != "V":
        return bool(np.array_equal(found, expected))
    ours, theirs = (array.astype(np.complex128) for array in (found, expected))
    finite = np.isfinite(theirs)
    largest = np.abs(theirs[finite]).max(initial=0)
    near = np.abs(ours[finite] - theirs[finite]).max(initial=0) <= tolerance * largest
    return bool(near) and np.array_equal(ours[~finite], theirs[~finite], equal_nan=True)

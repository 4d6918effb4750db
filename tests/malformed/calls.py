"""A public function, arguments that it takes, and what becomes of it when some are malformed.

A malformed call must raise a `ValueError` or a `TypeError` that names one of the altered arguments.
Where it returns (for a strange argument may still mean something), the result must be that of an
independent answer, of which a function without one has none to give.
"""

import dataclasses
import re
import signal
from collections.abc import Callable, Mapping
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

SECONDS = 30
"""No call takes longer, whatever it is given."""
EXAMPLES = {False: 8, True: 150}
"""Malformed calls of each function, by default and with --long."""

Bad = st.SearchStrategy[Any]


@dataclasses.dataclass(frozen=True)
class Call:
    """A function, its well-formed arguments, and what may stand in place of each."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    malformed: Mapping[str, Bad]
    answer: Callable[..., Any] | None = None
    """The result that the same arguments must have; it raises where there is none."""
    also_named: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Other words for an argument, that an error may use; a regular expression."""
    as_lax_says: bool = False
    """Whether an error may name whatever it likes, for the arguments are another library's."""

    def alterations(self) -> st.SearchStrategy[dict[str, Any]]:
        """One argument or two, malformed."""
        names = st.lists(st.sampled_from(sorted(self.malformed)), min_size=1, max_size=2)
        return names.flatmap(
            lambda chosen: st.fixed_dictionaries({name: self.malformed[name] for name in chosen})
        )

    def check(self, altered: Mapping[str, Any]) -> None:
        """Call with some arguments altered, and judge what comes of it."""
        arguments = {**self.arguments, **altered}
        try:
            with within(SECONDS):
                result = jax.block_until_ready(self.function(**arguments))
        except (ValueError, TypeError) as error:
            named = self.as_lax_says or self.names(altered, str(error))
            assert named, f"names none of {[*altered]}: {error}"
            return
        assert self.answer is not None, f"took {altered}, and gave {result}"
        with within(SECONDS), np.errstate(all="ignore"):
            expected = self.answer(**arguments)
        assert_same(result, expected, arguments)

    def names(self, altered: Mapping[str, Any], message: str) -> bool:
        """Whether a message names an altered argument."""
        words = [*altered, *(self.also_named[name] for name in altered if name in self.also_named)]
        return any(re.search(rf"\b({word})\b", message) for word in words)


def answered(calls: Mapping[str, Call]) -> Callable[..., None]:
    """The test of a table of calls."""

    @pytest.mark.parametrize("name", calls)
    def test(name: str, long: bool) -> None:
        call = calls[name]
        call.check({})

        @hypothesis.settings(max_examples=EXAMPLES[long])
        @hypothesis.given(call.alterations())
        def check(altered: dict[str, Any]) -> None:
            call.check(altered)

        check()

    return test


def assert_same(result: Any, expected: Any, arguments: Any) -> None:
    """Equal leaf for leaf; arrays of one type, and up to the rounding of the coarsest of all."""
    results, expectations = (jax.tree.leaves(tree) for tree in (result, expected))
    assert len(results) == len(expectations)
    types = {
        array.dtype for array in (*jax.tree.leaves(arguments), *expectations) if is_float(array)
    }
    rounding = max((16 * float(jnp.finfo(dtype).eps) for dtype in types), default=0.0)
    for ours, theirs in zip(results, expectations, strict=True):
        if not hasattr(theirs, "dtype"):
            assert ours == theirs
            continue
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        wide = np.complex128 if np.iscomplexobj(theirs) else np.float64
        ours, theirs = np.asarray(ours).astype(wide), np.asarray(theirs).astype(wide)
        largest = np.abs(theirs[np.isfinite(theirs)]).max(initial=1)
        np.testing.assert_allclose(ours, theirs, rtol=rounding, atol=rounding * largest)


def is_float(array: Any) -> bool:
    return isinstance(array, jax.Array | np.ndarray) and jnp.issubdtype(array.dtype, jnp.inexact)


class within:  # noqa: N801 - reads as a word
    """Raise an error if the block takes more than ``seconds``."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, self.stop)
        signal.alarm(self.seconds)

    def __exit__(self, *error: object) -> None:
        signal.alarm(0)

    def stop(self, *signalled: object) -> None:
        raise AssertionError(f"took more than {self.seconds} seconds")

"""Odd arguments of ``dilax.conv_general_dilated``: it does with each what lax does.

Where lax refuses the form of an argument alone (a list that is no array, an array of integers that
is no tuple), dilax may take it: as lax takes the argument in plain form.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

import dilax
from tests import cases
from tests.malformed import values

pytestmark = [
    pytest.mark.usefixtures("compile_quickly"),
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype"),
]
LETTERS = ("", "W", "HW", "DHW", "ABDE")
REFUSALS = (TypeError, ValueError)

# No float or boolean of NumPy that equals an integer: lax fails with these only as it compiles, and
# keeps what failed for the integer too. And none between 31 and 63 bits, of which XLA may abort.
INTEGERS = st.sampled_from(
    [
        *(0, 1, 2, 3, -1, -2, True, np.int32(1), np.int64(2), np.uint8(1), "1", None),
        *(1.5, -0.5, np.float32(1.5), float("nan"), float("inf"), 2**63, -(2**40), 10**30),
    ]
)
SMALL = st.integers(1, 3)
NAMES = (
    "SAME",
    "VALID",
    "same",
    "Same_Lower",
    "CAUSAL",
    "CIRCULAR",
    "REFLECT",
    "wrap",
    "",
    "SAMME",
)
PRECISIONS = [
    *("highest", "HIGH", "nonsense", "tensorfloat32", 7, object(), (), {}, ("high",) * 3),
    *(["high", "high"], ("high", None), (None, None), (lax.Precision.HIGH, "default"), ["highest"]),
]
TYPES = [
    *("nonsense", "str", "bool", object, 3, "O", "int32", "complex64", "float16", "bfloat16"),
    *(float, int, bool, complex, "float64", "int8", "uint8", np.dtype("float32"), jnp.bfloat16),
]
DTYPES = ("bfloat16", "float16", "int32", "int8", "uint8", "bool", "complex64", "float64", "uint32")


def gathered(entry: Any, rank: int) -> st.SearchStrategy[Any]:
    """Entries for each axis, or for too many or too few, in one of the forms of a sequence."""
    length = st.just(rank) | st.just(rank) | st.integers(0, 4)
    entries = length.flatmap(lambda number: st.lists(entry, min_size=number, max_size=number))
    return st.one_of(entries, entries.map(tuple), entries.map(as_array))


def as_array(entries: list[Any]) -> Any:
    """An array, of integers alone."""
    integers = all(type(entry) is int and abs(entry) < 2**31 for entry in entries)
    return np.array(entries, int) if integers else entries


def windows(rank: int) -> st.SearchStrategy[Any]:
    return gathered(SMALL, rank) | gathered(INTEGERS, rank) | INTEGERS | values.nothing()


def paddings(rank: int) -> st.SearchStrategy[Any]:
    """None that is negative below and positive above: there XLA on CPU computes garbage."""
    edge = st.integers(-4, 4)
    pair = st.tuples(edge, edge).map(lambda ends: ends if ends[0] >= 0 else sorted(ends)[::-1])
    pair |= pair.map(list) | pair.map(tuple)
    odd = pair.map(np.array) | st.lists(INTEGERS, max_size=3) | INTEGERS
    forms = gathered(pair, rank) | gathered(pair | odd, rank)
    return st.sampled_from(NAMES) | forms | INTEGERS | values.nothing()


def numbers(rank: int) -> st.SearchStrategy[Any]:
    """Orders of dimensions; as tuples of places, permutations alone."""
    specs = [*plain_numbers(rank)]
    odd = st.sampled_from(["NXC", "NN", "", None, b"NHWC", 3, "NHWCC", "nhwc", "CWHN", "IHWO"])
    replaced = st.tuples(st.integers(0, 2), odd).map(
        lambda change: tuple(change[1] if k == change[0] else specs[k] for k in range(3))
    )
    order = st.permutations(range(rank + 2)).map(tuple)
    places = st.tuples(order, order, order).map(lambda three: lax.ConvDimensionNumbers(*three))
    whole = [specs, tuple(specs[:2]), (*specs, "x"), "".join(specs), np.array(specs), None]
    return st.sampled_from(whole) | replaced | places | values.nothing()


def arrays(like: np.ndarray) -> st.SearchStrategy[Any]:
    typed = st.sampled_from(DTYPES).map(lambda name: jnp.asarray(np.abs(like)).astype(name))
    return st.sampled_from([like.tolist(), like, like[:0]]) | typed | values.arrays(like)


def plain_numbers(rank: int) -> tuple[str, str, str]:
    letters = LETTERS[rank]
    return f"N{letters}C", f"{letters}IO", f"N{letters}C"


@st.composite
def calls(draw: Any) -> tuple[dict[str, Any], str]:
    """A call of lax with one argument altered, and the argument's name."""
    rank = draw(st.sampled_from([1, 2, 2, 3, 0, 4]))
    groups = draw(st.integers(1, 2))
    x, kernel = (
        np.asarray(array, np.float32)
        for array in cases.draw((2, *(5, 4, 3, 2)[:rank], 4), (*(2,) * rank, 4 // groups, 4))
    )
    arguments = {
        "lhs": x,
        "rhs": kernel,
        "window_strides": (1, 2, 1, 2)[:rank],
        "padding": draw(st.sampled_from(["SAME", ((1, 2), (0, -1), (2, 1), (1, 1))[:rank]])),
        "lhs_dilation": draw(st.sampled_from([None, None, (1, 2, 1, 1)[:rank]])),
        "rhs_dilation": draw(st.sampled_from([None, (2, 1, 1, 2)[:rank]])),
        "dimension_numbers": plain_numbers(rank),
        "feature_group_count": groups,
    }
    odd = {
        "lhs": arrays(x),
        "rhs": arrays(kernel),
        "window_strides": windows(rank),
        "padding": paddings(rank),
        "lhs_dilation": windows(rank),
        "rhs_dilation": windows(rank),
        "dimension_numbers": numbers(rank),
        "feature_group_count": INTEGERS | values.nothing(),
        "batch_group_count": INTEGERS | values.nothing(),
        "precision": st.sampled_from(PRECISIONS),
        "preferred_element_type": st.sampled_from(TYPES),
    }
    name = draw(st.sampled_from(sorted(odd)))
    return {**arguments, name: draw(odd[name])}, name


def outcome(function: Any, arguments: dict[str, Any]) -> Any:
    """What a function returns, or the error that it raises."""
    try:
        with np.errstate(all="ignore"):  # lax divides by strides of zero
            return jax.block_until_ready(function(**arguments))
    except Exception as error:  # whatever lax raises
        return error


def in_plain_form(arguments: dict[str, Any], name: str) -> dict[str, Any]:
    """The arguments with one in the form that lax takes."""
    value = arguments[name]
    if name in ("lhs", "rhs"):
        value = jnp.asarray(value)
    elif name == "padding":
        value = [tuple(map(int, pair)) for pair in value]
    else:
        value = int(value) if name.endswith("count") else tuple(map(int, value))
    return {**arguments, name: value}


def assert_same(result: Any, expected: Any) -> None:
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    wide = np.complex128 if np.iscomplexobj(expected) else np.float64
    exact = not jnp.issubdtype(expected.dtype, jnp.inexact)
    rounding = 0 if exact else 16 * float(jnp.finfo(expected.dtype).eps)
    result, expected = (np.asarray(array).astype(wide) for array in (result, expected))
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1)
    np.testing.assert_allclose(result, expected, rtol=rounding, atol=rounding * scale)


@given(calls())
def test_does_what_lax_does(call: tuple[dict[str, Any], str]) -> None:
    arguments, altered = call
    theirs = outcome(lax.conv_general_dilated, arguments)
    ours = outcome(dilax.conv_general_dilated, arguments)
    if isinstance(ours, Exception):
        assert isinstance(theirs, Exception), f"raises {ours!r}, where lax gives a result"
        allowed = {type(theirs)} if isinstance(theirs, REFUSALS) else {type(theirs), *REFUSALS}
        if altered in ("lhs", "rhs"):
            allowed.add(TypeError)  # lax asks what is no array for its shape
        assert type(ours) in allowed, f"{ours!r} instead of {theirs!r}"
    elif isinstance(theirs, Exception):
        assert_same(ours, lax.conv_general_dilated(**in_plain_form(arguments, altered)))
    else:
        assert_same(ours, theirs)

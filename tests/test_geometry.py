"""Plain integers against lax's own, and the messages."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from dilax import geometry
from tests import cases

SIZES = st.integers(1, 12)
SMALL = st.integers(1, 5)
PADS = st.tuples(st.integers(-3, 6), st.integers(-3, 6))


def lax_output_size(n: int, k: int, stride: int, dilation: int, pads: tuple[int, int]) -> int:
    """What lax says, by abstract evaluation."""

    def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride,),
            (pads,),
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )

    shapes = (
        jax.ShapeDtypeStruct((1, n, 1), jnp.float32),
        jax.ShapeDtypeStruct((k, 1, 1), jnp.float32),
    )
    return jax.eval_shape(conv, *shapes).shape[1]


@pytest.mark.parametrize(
    ("size", "dilation", "expected"), [(1, 5, 1), (3, 1, 3), (3, 2, 5), (2, 7, 8)]
)
def test_effective_kernel_size(size: int, dilation: int, expected: int) -> None:
    taps = [tap * dilation for tap in range(size)]
    assert geometry.effective_kernel_size(size, dilation) == max(taps) - min(taps) + 1 == expected


@settings(max_examples=300)
@given(SIZES, SMALL, SMALL, SMALL, PADS)
def test_output_size_counts_the_places_where_the_kernel_fits(
    n: int, k: int, stride: int, dilation: int, pads: tuple[int, int]
) -> None:
    starts = range(-pads[0], n + pads[1], stride)
    fits = sum(start + dilation * (k - 1) < n + pads[1] for start in starts)
    assert geometry.output_size(n, k, stride, dilation, pads) == fits


@settings(max_examples=300)
@given(SIZES, SMALL, SMALL, SMALL, st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_output_size_is_that_of_lax(
    n: int, k: int, stride: int, dilation: int, pads: tuple[int, int]
) -> None:
    ours = geometry.output_size(n, k, stride, dilation, pads)
    assert ours == lax_output_size(n, k, stride, dilation, pads)


@pytest.mark.parametrize("padding", ["SAME", "SAME_LOWER", "VALID", "same", "Valid"])
@settings(max_examples=300)
@given(
    n=st.tuples(SIZES, SIZES),
    k=st.tuples(SMALL, SMALL),
    s=st.tuples(SMALL, SMALL),
    d=st.tuples(SMALL, SMALL),
)
def test_named_padding_is_that_of_lax(padding, n, k, s, d) -> None:
    window = [geometry.effective_kernel_size(*axis) for axis in zip(k, d, strict=True)]
    expected = lax.padtype_to_pads(n, window, s, padding.upper())
    assert geometry.resolve_padding(padding, n, k, s, d) == tuple(map(tuple, expected))


@settings(max_examples=300)
@given(SIZES, SMALL, SMALL, SMALL)
def test_same_padding_leaves_one_output_a_stride(
    n: int, k: int, stride: int, dilation: int
) -> None:
    for name in ("SAME", "SAME_LOWER"):
        (pads,) = geometry.resolve_padding(name, (n,), (k,), (stride,), (dilation,))
        assert geometry.output_size(n, k, stride, dilation, pads) == -(-n // stride)


@settings(max_examples=300)
@given(SIZES, SMALL, SMALL)
def test_causal_padding_keeps_the_length_and_ends_at_the_present(
    n: int, k: int, dilation: int
) -> None:
    (pads,) = geometry.resolve_padding("CAUSAL", (n,), (k,), (1,), (dilation,))
    assert pads == ((k - 1) * dilation, 0)
    assert geometry.output_size(n, k, 1, dilation, pads) == n


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (2, ((2, 2), (2, 2))),
        (-1, ((-1, -1), (-1, -1))),
        ((1, 3), ((1, 1), (3, 3))),
        ([(1, 2), (0, -3)], ((1, 2), (0, -3))),
        (((4, 5), 6), ((4, 5), (6, 6))),
        ((np.int64(1), (np.int32(2), 3)), ((1, 1), (2, 3))),
    ],
)
def test_explicit_padding(padding, expected) -> None:
    assert geometry.resolve_padding(padding, (7, 8), (3, 2), (1, 2), (2, 1)) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(3, (3, 3)), ((1, 2), (1, 2)), ([4, 5], (4, 5)), (np.int8(2), (2, 2))]
)
def test_canonical_tuple(value, expected) -> None:
    result = geometry.canonical_tuple(value, 2, "strides")
    assert result == expected
    assert all(type(entry) is int for entry in result)


@pytest.mark.parametrize(
    ("value", "error", "parts"),
    [
        ((1, 2, 3), ValueError, ["strides", "3", "(1, 2, 3)", "2"]),
        ((), ValueError, ["strides", "0", "2"]),
        (0, ValueError, ["strides", "at least 1", "0"]),
        ((1, -2), ValueError, ["strides", "at least 1", "(1, -2)"]),
        (1.5, TypeError, ["strides", "integer", "1.5"]),
        ((1, "2"), TypeError, ["strides", "integer", "'2'"]),
    ],
)
def test_canonical_tuple_says_what_is_wrong(value, error, parts) -> None:
    with pytest.raises(error) as raised:
        geometry.canonical_tuple(value, 2, "strides")
    assert all(part in str(raised.value) for part in parts), str(raised.value)


@pytest.mark.parametrize(
    ("padding", "error", "parts"),
    [
        ("SMAE", ValueError, ["padding", "'SMAE'", "SAME"]),
        ("casual", ValueError, ["padding", "'casual'", "CAUSAL"]),
        ("", ValueError, ["padding", "''", "VALID"]),
        (((1, 1),), ValueError, ["padding", "1", "2 window axes", "pair"]),
        ((1, 2, 3), ValueError, ["padding", "3", "2 window axes"]),
        (((1, 2, 3), 0), ValueError, ["padding", "(low, high)", "(1, 2, 3)"]),
        (0.5, TypeError, ["padding", "integer", "0.5"]),
        ((1, (2, None)), TypeError, ["padding", "integer", "None"]),
    ],
)
def test_padding_says_what_is_wrong(padding, error, parts) -> None:
    with pytest.raises(error) as raised:
        geometry.resolve_padding(padding, (7, 8), (3, 2), (1, 2), (2, 1))
    assert all(part in str(raised.value) for part in parts), str(raised.value)


def test_conv_geometry_gathers_the_axes() -> None:
    whole = geometry.ConvGeometry((9, 10), (4, 5), (2, 1), ((1, 2), (2, 0)), (1, 2), 3)
    assert whole.effective_kernel_size == (4, 9)
    assert whole.output_size == (
        lax_output_size(9, 4, 2, 1, (1, 2)),
        lax_output_size(10, 5, 1, 2, (2, 0)),
    )


def test_conv_geometry_is_a_value() -> None:
    def make(stride: int) -> geometry.ConvGeometry:
        return geometry.ConvGeometry((9,), (3,), (stride,), ((1, 1),), (1,), 1)

    assert make(1) == make(1)
    assert hash(make(1)) == hash(make(1))
    assert make(1) != make(2)
    with pytest.raises(AttributeError):
        make(1).strides = (2,)  # type: ignore[misc]


def test_rows_of_the_table_have_the_output_of_the_reference() -> None:
    for case in cases.CASES:
        axes = zip(
            case.input_size,
            case.kernel_size,
            case.strides,
            case.kernel_dilation,
            case.padding,
            strict=True,
        )
        sizes = tuple(itertools.starmap(geometry.output_size, axes))
        assert sizes == cases.solve(case).output.shape[1:-1], case.id


def test_an_axis_may_be_empty() -> None:
    assert geometry.exact_padding(0, 0, 3, stride=2, dilation=1, low=0) == (0, 1)
    assert geometry.output_size(0, 3, stride=2, dilation=1, padding=(1, 1)) == 0

"""Costs against multiply-adds counted one by one, for a convolution and both of its gradients."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import dilax
from dilax.analysis import cost

LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


@dataclasses.dataclass(frozen=True)
class Case:
    size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    batch: int = 2
    features: int = 2
    out_features: int = 3
    groups: int = 1

    @property
    def out_size(self):
        axes = zip(
            self.size, self.kernel_size, self.strides, self.dilation, self.padding, strict=True
        )
        return tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, d, p in axes)

    @property
    def shapes(self):
        kernel = (*self.kernel_size, self.features // self.groups, self.out_features)
        return (
            jax.ShapeDtypeStruct((self.batch, *self.size, self.features), jnp.float32),
            jax.ShapeDtypeStruct(kernel, jnp.float32),
            jax.ShapeDtypeStruct((self.batch, *self.out_size, self.out_features), jnp.float32),
        )

    def convolve(self, conv, x, w):
        return conv(
            x, w, self.strides, self.padding, rhs_dilation=self.dilation,
            feature_group_count=self.groups, dimension_numbers=LAYOUTS[len(self.size)],
        )  # fmt: skip


CASES = {
    "strided": Case((7,), (3,), (2,), (1,), ((1, 1),)),
    "dilated": Case((9,), (3,), (1,), (3,), ((3, 3),)),
    "unpadded": Case((7,), (3,), (1,), (1,), ((0, 0),)),
    "longer than the stride reaches": Case((8,), (2,), (3,), (1,), ((0, 0),)),
    "padded more than its size": Case((3,), (2,), (1,), (1,), ((4, 3),)),
    "a kernel longer than the input": Case((3,), (5,), (1,), (2,), ((4, 4),)),
    "strided and dilated": Case((6, 7), (3, 2), (2, 3), (2, 1), ((2, 1), (0, 1))),
    "grouped": Case(
        (5, 6), (2, 3), (1, 2), (1, 1), ((1, 0), (1, 1)), features=4, out_features=6, groups=2
    ),
    "depthwise": Case(
        (6, 5), (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1)), features=3, out_features=3, groups=3
    ),
    "depthwise, strided and dilated": Case(
        (7, 6), (3, 2), (2, 2), (2, 3), ((2, 2), (1, 2)), features=2, out_features=4, groups=2
    ),
    "of volumes": Case((3, 4, 5), (2, 1, 3), (1, 2, 2), (1, 1, 2), ((1, 0), (0, 0), (2, 2))),
    "of volumes, depthwise": Case(
        (4, 3, 3), (2, 2, 2), (2, 1, 1), (1, 1, 2), ((0, 1), (1, 1), (1, 1)),
        features=2, out_features=2, groups=2,
    ),
}  # fmt: skip


def indices(sizes):
    return itertools.product(*map(range, sizes))


def inside(place, sizes):
    return all(0 <= p < n for p, n in zip(place, sizes, strict=True))


def pairs_of_features(case):
    """Input and output features that are multiplied: those of one group."""
    ins, outs = case.features // case.groups, case.out_features // case.groups
    features = itertools.product(range(case.features), range(case.out_features))
    return sum(c // ins == o // outs for c, o in features)


def read_by(case, out, tap):
    """The input under a tap of an output."""
    rows = zip(out, case.strides, tap, case.dilation, case.padding, strict=True)
    return tuple(s * i + d * k - low for i, s, k, d, (low, _) in rows)


def counted_forward(case, *, padding=False):
    """Outputs, and the taps of each that meet an input; or, with padding, all taps."""
    return sum(
        padding or inside(read_by(case, out, tap), case.size)
        for _ in range(case.batch * pairs_of_features(case))
        for out in indices(case.out_size)
        for tap in indices(case.kernel_size)
    )


def counted_input_gradient(case):
    """Inputs, and the taps of each under which there is an output."""
    count = 0
    for place in indices(case.size):
        for tap in indices(case.kernel_size):
            rows = zip(place, case.padding, tap, case.dilation, case.strides, strict=True)
            found = [divmod(p + low - d * k, s) for p, (low, _), k, d, s in rows]
            there = all(rest == 0 for _, rest in found)
            count += there and inside([out for out, _ in found], case.out_size)
    return count * case.batch * pairs_of_features(case)


def counted_kernel_gradient(case):
    """Entries of the kernel, and the outputs that each of them leads to an input."""
    return sum(
        inside(read_by(case, out, tap), case.size)
        for tap in indices(case.kernel_size)
        for _ in range(pairs_of_features(case))
        for _ in range(case.batch)
        for out in indices(case.out_size)
    )


def costs(case, conv):
    """The cost of each pass by itself."""
    x, w, g = case.shapes

    def input_gradient(g, w):
        return jax.linear_transpose(lambda x: case.convolve(conv, x, w), x)(g)

    def kernel_gradient(x, g):
        return jax.linear_transpose(lambda w: case.convolve(conv, x, w), w)(g)

    return {
        "conv": cost(lambda x, w: case.convolve(conv, x, w), x, w),
        "input gradient": cost(input_gradient, g, w),
        "kernel gradient": cost(kernel_gradient, x, g),
    }


@pytest.mark.parametrize("conv", [dilax.conv_general_dilated, lax.conv_general_dilated])
@pytest.mark.parametrize("name", CASES)
def test_without_padding(name, conv):
    case, found = CASES[name], costs(CASES[name], conv)
    assert found["conv"].multiply_adds_without_padding == counted_forward(case)
    assert found["input gradient"].multiply_adds_without_padding == counted_input_gradient(case)
    assert found["kernel gradient"].multiply_adds_without_padding == counted_kernel_gradient(case)


@pytest.mark.parametrize("name", CASES)
def test_every_pass_of_dilax_counts_as_the_convolution(name):
    case = CASES[name]
    found = {one.multiply_adds for one in costs(case, dilax.conv_general_dilated).values()}
    assert found == {counted_forward(case, padding=True)}


@pytest.mark.parametrize("name", CASES)
def test_every_pass_of_lax(name):
    """As those of dilax; but an input gradient without strides counts its output's entries."""
    case, found = CASES[name], costs(CASES[name], lax.conv_general_dilated)
    usual = counted_forward(case, padding=True)
    assert found["conv"].multiply_adds == found["kernel gradient"].multiply_adds == usual
    strided = max(case.strides) > 1
    entries = math.prod(case.out_size if strided else case.size) * math.prod(case.kernel_size)
    expected = case.batch * pairs_of_features(case) * entries
    assert found["input gradient"].multiply_adds == expected


@pytest.mark.parametrize("strides", [2, 3])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_pass_of_a_transposed_convolution(rank, strides):
    """Each input meets each tap, in the gradients too: no output is cut off."""
    x, w = jnp.ones((2, *(4,) * rank, 3)), jnp.ones((*(3,) * rank, 3, 5))

    def call(x, w):
        return lax.conv_transpose(x, w, (strides,) * rank, "VALID", dimension_numbers=LAYOUTS[rank])

    g = jax.eval_shape(call, x, w)
    passes = [
        cost(call, x, w),
        cost(lambda g: jax.linear_transpose(lambda x: call(x, w), x)(g), g),
        cost(lambda g: jax.linear_transpose(lambda w: call(x, w), w)(g), g),
    ]
    by_hand = 2 * (4 * 3) ** rank * 3 * 5
    assert [one.multiply_adds for one in passes[:1]] == [by_hand]
    assert {one.multiply_adds_without_padding for one in passes} == {by_hand}

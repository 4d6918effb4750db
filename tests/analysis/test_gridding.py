"""Coverage against brute force over every path, and schedules without holes."""

import itertools
import math

import numpy as np
import pytest

from dilax.analysis import Layer, coverage, hybrid_dilation

KERNELS, DILATIONS, DEPTH = range(2, 6), range(1, 7), 4


def brute_force(taps):
    """Every path, one tap of each layer: how often each sum of offsets comes up."""
    sums = np.zeros(1, int)
    for layer in taps:
        sums = (sums[:, None] + np.asarray(layer)).ravel()
    return np.bincount(sums)


def stack(pairs):
    return [Layer(size, kernel_dilation=dilation) for size, dilation in pairs]


@pytest.mark.parametrize("depth", range(1, DEPTH + 1))
def test_every_stack_against_brute_force(depth, long):
    """Every choice of layers, in one order each; up to depth two in every order.

    Of the deepest ones a few, and all with --long.
    """
    kinds = list(itertools.product(KERNELS, DILATIONS))
    if depth <= 2:
        stacks = list(itertools.product(kinds, repeat=depth))
        assert len(stacks) == len(kinds) ** depth
    else:
        stacks = list(itertools.combinations_with_replacement(kinds, depth))
        assert len(stacks) == math.comb(len(kinds) + depth - 1, depth)
    taps = {(size, dilation): np.arange(size) * dilation for size, dilation in kinds}
    for pairs in stacks if long else stacks[:: 1 if depth < DEPTH else 40]:
        turned = pairs[1:] + pairs[:1]
        expected = brute_force([taps[pair] for pair in turned])
        found = coverage(stack(turned))
        assert found.counts == (tuple(expected.tolist()),), turned
        assert found.touched == (expected > 0).sum()


def test_strides_spread_the_taps_above_them():
    found = coverage([Layer(3, strides=2), Layer(2, kernel_dilation=3)])
    expected = brute_force([[0, 1, 2], [0, 6]])
    assert found.counts == (tuple(expected.tolist()),)


def test_two_dimensions():
    layers = [Layer((3, 2), kernel_dilation=(1, 2), padding=((1, 1), (2, 0))), Layer((2, 3))]
    found = coverage(layers)
    rows, columns = brute_force([[0, 1, 2], [0, 1]]), brute_force([[0, 2], [0, 1, 2]])
    table = rows[:, None] * columns[None, :]
    np.testing.assert_array_equal(found.array(), table)
    assert found.start == (-1, -2)
    assert found.size == table.shape
    assert found.touched == (table > 0).sum()
    assert found.share == (table > 0).mean()
    assert found.unevenness == pytest.approx(table.std() / table.mean())


@pytest.mark.parametrize(
    ("dilations", "touched", "size"),
    [
        ((1, 2, 5), 17, 17),
        ((1, 2, 3), 13, 13),
        ((1, 2, 4), 15, 15),
        ((2, 2, 2), 7, 13),
        ((2, 4, 8), 15, 29),
        ((1, 2, 9), 21, 25),
    ],
)
def test_known_schedules(dilations, touched, size):
    found = coverage(stack((3, d) for d in dilations))
    assert (found.touched, found.size) == (touched, (size,))


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_hybrid_dilation_is_complete(kernel_size, depth):
    """For each target, the proposals are all the hole-free schedules of the least such field."""
    limit = kernel_size ** (depth - 1)
    fields = {}
    for dilations in itertools.combinations_with_replacement(range(1, min(limit, 12) + 1), depth):
        found = coverage(stack((kernel_size, d) for d in dilations))
        if found.share == 1:
            fields.setdefault(found.size[0], set()).add(dilations)
    for target in range(1, 1 + (kernel_size - 1) * min(limit, 12)):
        reached = min(size for size in fields if size >= target)
        proposed = hybrid_dilation(kernel_size, depth, target, most=1000)
        assert {dilations for dilations in proposed if max(dilations) <= 12} == fields[reached]
        uneven = [
            coverage(stack((kernel_size, d) for d in dilations)).unevenness
            for dilations in proposed
        ]
        assert uneven == sorted(uneven)


def test_equal_dilations_are_never_proposed():
    for target in range(8, 28):
        proposed = hybrid_dilation(3, 3, target, most=1000)
        assert proposed
        assert (2, 2, 2) not in proposed
        assert all(1 + 2 * sum(dilations) >= target for dilations in proposed)


def test_the_largest_field_is_reached_and_not_passed():
    assert hybrid_dilation(3, 4, 81) == ((1, 3, 9, 27),)
    with pytest.raises(ValueError, match=r"target must be at most 81, .* 4 layers .* got 82"):
        hybrid_dilation(3, 4, 82)
    with pytest.raises(ValueError, match="target must be at most 1"):
        hybrid_dilation(1, 3, 2)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        hybrid_dilation(3, 0, 5)


def test_deep_stacks_take_no_time():
    (dilations, *_) = hybrid_dilation(3, 12, 500)
    assert coverage(stack((3, d) for d in dilations)).share == 1
    assert 1 + 2 * sum(dilations) in (500, 501)


def test_integers_of_numpy():
    dilations = np.array([1, 2, 3])
    plain = coverage(stack((3, d) for d in (1, 2, 3)))
    assert coverage([Layer(np.int32(3), kernel_dilation=d) for d in dilations]) == plain
    two = [Layer(np.array([3, 2]), kernel_dilation=np.array([1, 2]), padding=np.ones((2, 2), int))]
    assert coverage(two) == coverage([Layer((3, 2), kernel_dilation=(1, 2), padding=1)])
    assert two[0] == Layer((3, 2), 1, (1, 2), ((1, 1), (1, 1)))
    assert hybrid_dilation(*np.array([3, 3, 17])) == hybrid_dilation(3, 3, 17)

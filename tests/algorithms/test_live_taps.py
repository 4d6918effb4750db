"""The taps that meet the input, found against a search through all of them; few are not padded."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dilax
from dilax import algorithms
from dilax._choice import Problem, choose
from dilax.algorithms._live_taps import LiveTaps
from dilax.geometry import ConvGeometry
from tests import reference
from tests.algorithms.test_passes import ALGORITHMS

AXES = itertools.product((1, 4), (1, 2, 5), (1, 2, 3), (1, 3, 7), (-2, 0, 3, 9), (-1, 0, 8))


def searched(geometry: ConvGeometry) -> list[int]:
    """The taps of a single axis that meet an input, output by output."""
    (size,), (step,), (stride,) = geometry.input_size, geometry.kernel_dilation, geometry.strides
    low = geometry.padding[0][0]
    places = range(geometry.output_size[0])
    return [
        tap
        for tap in range(geometry.kernel_size[0])
        if any(0 <= stride * place + step * tap - low < size for place in places)
    ]


def test_no_tap_is_left_out_that_meets_an_input() -> None:
    cropped = 0
    for size, taps, stride, step, low, high in AXES:
        geometry = ConvGeometry((size,), (taps,), (stride,), ((low, high),), (step,))
        met, reach = searched(geometry), LiveTaps.of(geometry)
        kept = list(range(taps))[reach.taps[0]]
        assert kept == (list(range(met[0], met[-1] + 1)) if met else list(range(taps)))
        assert reach.geometry.output_size == geometry.output_size
        assert LiveTaps.of(reach.geometry).geometry == reach.geometry
        cropped += len(kept) < taps
    assert cropped > 50


@pytest.mark.parametrize("algorithm", [None, *ALGORITHMS])
def test_taps_beyond_the_image_have_no_gradient(algorithm) -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, 5, 5, 3)), rng.standard_normal((3, 3, 1, 3))
    options = {"kernel_dilation": (2, 9), "feature_group_count": 3}

    def conv(kernel):
        return dilax.conv(jnp.asarray(x), kernel, algorithm=algorithm, **options)

    y, transpose = jax.vjp(conv, jnp.asarray(kernel))
    padding = ((2, 2), (9, 9))
    wanted = reference.conv(x, kernel, strides=(1, 1), padding=padding, **options)
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)
    (found,) = transpose(jnp.asarray(y))
    wanted = reference.kernel_gradient(
        x, wanted, strides=(1, 1), padding=padding, kernel_size=(3, 3), **options
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
    assert not np.asarray(found)[:, [0, 2]].any() and np.asarray(found)[:, 1].all()


def test_the_choice_looks_at_the_taps_within_reach() -> None:
    dilated = ConvGeometry((8, 8), (3, 3), (1, 1), ((9, 9), (9, 9)), (9, 9))
    assert choose("cpu", "conv", Problem(dilated, 64, 64)) is algorithms.im2col  # a 1x1


@pytest.mark.parametrize("taps, copies", [(3, False), (7, True)])
@pytest.mark.parametrize("name", ["conv", "input_gradient"])
def test_few_taps_read_the_array_as_it_is(name: str, taps: int, copies: bool) -> None:
    geometry = ConvGeometry((64,), (taps,), (1,), ((taps - 1, 0),), (1,), 8)
    run = getattr(algorithms.shift_and_add, name)
    jaxpr = jax.make_jaxpr(lambda x, kernel: run(x, kernel, geometry))(
        jnp.zeros((2, 64, 8)), jnp.zeros((taps, 1, 8))
    )
    outside = [
        equation.outvars[0].aval.shape
        for equation in jaxpr.eqns
        if equation.primitive.name == "pad"
    ]
    assert ((2, 63 + taps, 8) in outside) == copies

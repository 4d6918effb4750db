"""The live part of a convolution, found against a search; few taps read the array as it is."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dilax
from dilax._choice import Problem, choose
from dilax.algorithms._live_part import LivePart
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


def touching(live: LivePart, geometry: ConvGeometry) -> list[int]:
    """The outputs of a single axis whose window of live taps touches the input."""
    (size,), (step,), (stride,) = geometry.input_size, geometry.kernel_dilation, geometry.strides
    low, taps = geometry.padding[0][0], live.taps[0]
    starts = [stride * place + step * taps.start - low for place in range(geometry.output_size[0])]
    reach = step * (taps.stop - 1 - taps.start)
    return [place for place, start in enumerate(starts) if start < size and start + reach >= 0]


def gradient_padding(geometry: ConvGeometry) -> tuple[int, int]:
    """The padding of the spread cotangent, of which the input gradient is a convolution."""
    (size, outputs, taps, stride, step, low) = geometry.axes[0]
    return step * (taps - 1) - low, size + low - stride * (outputs - 1) - 1


def test_what_is_cut_off_computes_nothing() -> None:
    """Found against a search through all taps; no padding that is left crops."""
    cropped = dead = 0
    for size, taps, stride, step, low, high in AXES:
        geometry = ConvGeometry((size,), (taps,), (stride,), ((low, high),), (step,))
        met, live = searched(geometry), LivePart.of(geometry)
        if not met:
            assert live is None
            dead += 1
            continue
        assert list(range(taps))[live.taps[0]] == list(range(met[0], met[-1] + 1))
        assert list(range(geometry.output_size[0]))[live.outputs[0]] == touching(live, geometry)
        assert live.geometry.output_size[0] == len(touching(live, geometry))
        assert min(gradient_padding(live.geometry)) >= 0
        assert min(live.geometry.padding[0]) >= 0
        assert LivePart.of(live.geometry).geometry == live.geometry
        cropped += live.geometry != geometry
    assert cropped > 100 and dead > 20


def test_what_is_cut_is_filled_again() -> None:
    geometry = ConvGeometry((6, 5), (3, 3), (1, 1), ((-1, 4), (7, 7)), (1, 7), 2)
    live = LivePart.of(geometry)
    x, kernel, g = jnp.ones((2, 6, 5, 4)), jnp.ones((3, 3, 2, 4)), jnp.ones((2, 7, 5, 4))
    roles = {"x": x, "w": kernel, "g": g}
    cut = [live.crop(array, role) for role, array in roles.items()]
    assert [part.shape for part in cut] == [(2, 5, 5, 4), (3, 1, 2, 4), (2, 5, 5, 4)]
    filled = [live.fill(part, role, geometry) for role, part in zip(roles, cut, strict=True)]
    assert [part.shape for part in filled] == [x.shape, kernel.shape, g.shape]
    assert not filled[0][:, 0].any() and filled[0][:, 1:].all()
    assert not filled[1][:, [0, 2]].any() and filled[1][:, 1].all()
    assert filled[2][:, :5].all() and not filled[2][:, 5:].any()


def test_where_nothing_is_live_the_answer_is_zero() -> None:
    x, kernel = jnp.ones((1, 4, 2)), jnp.ones((2, 1, 2))
    conv = functools.partial(dilax.depthwise_conv, padding=[(9, -5)], kernel_dilation=3)
    y, pull = jax.vjp(conv, x, kernel)
    assert y.shape == (1, 5, 2) and not y.any()
    assert not any(gradient.any() for gradient in pull(y + 1))


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


def test_the_choice_looks_at_the_live_taps() -> None:
    conv = functools.partial(dilax.conv, kernel_dilation=9)
    x, kernel = jnp.ones((1, 8, 8, 64)), jnp.ones((3, 3, 64, 64))
    program = str(jax.jit(conv).lower(x, kernel).as_text())
    assert "stablehlo.convolution" not in program and "stablehlo.dot_general" in program  # a 1x1


@pytest.mark.parametrize("taps, copies", [(3, False), (7, True)])
@pytest.mark.parametrize("name", ["conv", "input_gradient"])
def test_few_taps_read_the_array_as_it_is(name: str, taps: int, copies: bool) -> None:
    geometry = ConvGeometry((64,), (taps,), (1,), ((taps - 1, 0),), (1,), 8)
    chosen, settings = choose("cpu", name, Problem(geometry, 8, 8, 1))
    run = getattr(chosen, name)
    jaxpr = jax.make_jaxpr(lambda x, kernel: run(x, kernel, geometry, **settings))(
        jnp.zeros((2, 64, 8)), jnp.zeros((taps, 1, 8))
    )
    outside = [
        equation.outvars[0].aval.shape
        for equation in jaxpr.eqns
        if equation.primitive.name == "pad"
    ]
    assert ((2, 63 + taps, 8) in outside) == copies

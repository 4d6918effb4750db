"""Receptive fields of random networks against their gradients."""

import functools

import jax
import jax.numpy as jnp
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

import dilax
from dilax.analysis import receptive_field
from tests.analysis.gradients import seen_by, weights

pytestmark = pytest.mark.usefixtures("compile_quickly")
FEATURES = 2
SHAPE = (1, 72, 60, FEATURES)
LONGEST = 9  # entries that the longest window spans, and room for what is cut off
NUMBERS = ("NHWC", "HWIO", "NHWC")
small = st.integers(1, 3)
pairs = st.tuples(small, small)
pads = st.tuples(*[st.tuples(st.integers(-1, 3), st.integers(-1, 3))] * 2)


@st.composite
def convolutions(draw, ours=True):
    """Strides, dilations, pads, and strides of the input, each axis its own."""
    size, strides, dilation, base = (draw(pairs) for _ in range(4))
    padding, groups = draw(pads), draw(st.sampled_from([1, FEATURES]))
    transposed = draw(st.booleans())
    kernel = weights(draw(st.integers(0, 9)), (*size, FEATURES // groups, FEATURES))
    if ours and not transposed and all(low >= 0 and high >= 0 for low, high in padding):
        options = {"strides": strides, "padding": padding, "kernel_dilation": dilation}
        return lambda x: dilax.conv(x, kernel, **options, feature_group_count=groups)
    return lambda x: lax.conv_general_dilated(
        x, kernel, (1, 1) if transposed else strides, padding, base if transposed else (1, 1),
        dilation, NUMBERS, feature_group_count=groups,
    )  # fmt: skip


@st.composite
def pools(draw):
    """A pool to trace, and the sum over the same windows, whose gradient passes every entry.

    The gradient of a maximum passes one: no image shows all that were compared.
    """
    window, strides, dilation = (draw(pairs) for _ in range(3))
    padding = ((1, 0), (0, 1)) if draw(st.booleans()) else ((0, 0), (0, 0))

    def pooled(x, start, combine):
        nothing = (0, 0)
        return lax.reduce_window(
            x, start, combine, (1, *window, 1), (1, *strides, 1), (nothing, *padding, nothing),
            window_dilation=(1, *dilation, 1),
        )  # fmt: skip

    def summed(x):
        return pooled(x, 0.0, lax.add)

    def largest(x):
        return pooled(x, -jnp.inf, lax.max)

    options = {"strides": strides, "padding": padding, "kernel_dilation": dilation}

    def folded(x):
        return dilax.max_pool(x, window, **options)

    def averaged(x):
        return dilax.avg_pool(x, window, **options)

    return draw(st.sampled_from([summed, largest, folded, averaged])), summed


@st.composite
def shapings(draw):
    """Slices, reversals, space to depth and back, nearest upsampling, padding between entries."""
    steps = draw(pairs)
    choices = (
        lambda x: x[:, 1 :: steps[0], :: steps[1]],
        lambda x: x[:, ::-1],
        lambda x: jnp.repeat(x, steps[0], axis=1),
        lambda x: lax.pad(x, 0.0, ((0, 0, 0), (1, -1, 1), (0, 2, 0), (0, 0, 0))),
        lambda x: jnp.swapaxes(x, 1, 2).swapaxes(1, 2),
        lambda x: jax.nn.relu(x) * 2 + 1,
        space_to_depth_and_mean,
        upsampled_by_broadcast,
    )
    return draw(st.sampled_from(choices))


def space_to_depth_and_mean(x):
    n, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def upsampled_by_broadcast(x):
    n, h, w, c = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None], (n, h, 2, w, 3, c))
    return wide.reshape(n, 2 * h, 3 * w, c)


@st.composite
def branches(draw):
    """Two dilated branches, added to the input, or joined along the features."""
    kernels = [weights(n, (*draw(pairs), FEATURES, FEATURES)) for n in range(2)]
    dilations = [draw(pairs) for _ in kernels]
    mixing = weights(5, (1, 1, 2 * FEATURES, FEATURES))

    def both(x):
        layers = zip(kernels, dilations, strict=True)
        return [dilax.conv(x, kernel, kernel_dilation=dilation) for kernel, dilation in layers]

    def added(x):
        return x + sum(both(x))

    def mixed(x):
        return dilax.conv(jnp.concatenate(both(x), axis=-1), mixing)

    def one_half_only(x):
        return jnp.concatenate(both(x), axis=-1)[..., :FEATURES]

    return draw(st.sampled_from([added, mixed, one_half_only]))


@st.composite
def networks(draw):
    """A few of these in a row: to trace, and to differentiate."""
    alike = st.one_of(convolutions(), branches(), shapings()).map(lambda layer: (layer, layer))
    layers = draw(st.lists(st.one_of(alike, pools()), min_size=1, max_size=4))
    x = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    for layer, _ in layers:
        assume(min(x.shape[1:3]) >= LONGEST)
        x = jax.eval_shape(layer, x)

    def chain(chosen):
        return lambda x: functools.reduce(lambda x, layer: layer(x), chosen, x)

    return tuple(chain(chosen) for chosen in zip(*layers, strict=True))


def test_field_is_what_gradients_show(long):
    """Of a few networks; of thousands with --long."""
    given(networks())(settings(max_examples=3000 if long else 24)(compare))()


def compare(pair):
    network, differentiable = pair
    out = jax.eval_shape(network, jax.ShapeDtypeStruct(SHAPE, jnp.float32)).shape
    assume(min(out[1:3]) >= 3)
    position = (0, out[1] // 2, out[2] // 2)
    field = traced(network)
    expected = field.outputs[0].interval(*position, 0) if field else ((0, -1), (0, -1))
    blind = any(low > high for low, high in expected)
    inside = [low >= 0 and high < n for (low, high), n in zip(expected, SHAPE[1:3], strict=True)]
    assume(blind or all(inside))
    assert not field or not field.assumptions
    shown = seen_by(differentiable, SHAPE, position, (1, 2))
    if has_branches_and_holes(network):
        for one, (first, last) in zip(shown, expected, strict=True):
            assert one is None or (first <= one[0] and one[1] <= last)
    else:
        assert shown == ((None, None) if blind else expected)


def has_branches_and_holes(network):
    """Whether a branch may see nothing for a hole along one axis, which the other does not know."""
    names, holes = set(), False
    for equation in jax.make_jaxpr(network)(jnp.zeros(SHAPE)).eqns:
        names.add(equation.primitive.name)
        between = [config[2] for config in equation.params.get("padding_config", ())]
        holes |= max((*between, *(n - 1 for n in equation.params.get("lhs_dilation", ())), 0)) > 0
    return holes and bool(names & {"concatenate", "add"})


def traced(network):
    """None if nothing is seen, which is an error and says so."""
    try:
        return receptive_field(network, jax.ShapeDtypeStruct(SHAPE, jnp.float32))
    except ValueError as error:
        assert "does not depend on x" in str(error)
        return None

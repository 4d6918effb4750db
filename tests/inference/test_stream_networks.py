"""Streaming of random causal stacks of five libraries, and of the networks that it is for."""

import functools
import importlib.util

import hypothesis
import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx
from hypothesis import strategies as st
from jax import lax

import dilax
from dilax.inference import stream
from tests.inference.streams import assert_streams, close, entries
from tests.random_arrays import draw

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

FEATURES = 4
LENGTH = 48


def flax_nnx(outputs, taps, dilation, stride, groups):
    layer = nnx.Conv(
        FEATURES, outputs, (taps,), stride, padding="CAUSAL", kernel_dilation=dilation,
        feature_group_count=groups, rngs=nnx.Rngs(0),
    )  # fmt: skip
    return layer


def flax_linen(outputs, taps, dilation, stride, groups):
    layer = linen.Conv(
        outputs, (taps,), stride, padding="CAUSAL", kernel_dilation=dilation,
        feature_group_count=groups,
    )  # fmt: skip
    variables = layer.init(jax.random.key(1), jnp.ones((1, LENGTH, FEATURES)))
    return functools.partial(layer.apply, variables)


def equinox(outputs, taps, dilation, stride, groups):
    import equinox as eqx

    layer = eqx.nn.Conv1d(
        FEATURES, outputs, taps, stride, padding=((dilation * (taps - 1), 0),), dilation=dilation,
        groups=groups, key=jax.random.key(2),
    )  # fmt: skip
    return lambda x: jax.vmap(layer)(x.swapaxes(1, 2)).swapaxes(1, 2)


def haiku(outputs, taps, dilation, stride, groups):
    import haiku as hk

    def convolve(x):
        layer = hk.Conv1D(
            outputs, taps, stride, dilation, padding=hk.pad.causal, feature_group_count=groups
        )
        return layer(x)

    pair = hk.without_apply_rng(hk.transform(convolve))
    weights = pair.init(jax.random.key(3), jnp.ones((1, LENGTH, FEATURES)))
    return functools.partial(pair.apply, weights)


def dilax_nn(outputs, taps, dilation, stride, groups):
    if groups > 1 and outputs == FEATURES:
        return dilax.nn.SeparableConv(
            FEATURES, outputs, (taps,), stride, padding="CAUSAL", kernel_dilation=dilation,
            rngs=nnx.Rngs(4),
        )  # fmt: skip
    return dilax.nn.Conv(
        FEATURES, outputs, (taps,), stride, padding="CAUSAL", kernel_dilation=dilation,
        feature_group_count=groups, rngs=nnx.Rngs(4),
    )  # fmt: skip


def plain_lax(outputs, taps, dilation, stride, groups):
    """Padded at both ends, and cut at the right."""
    kernel, reach = draw(taps, FEATURES // groups, outputs), dilation * (taps - 1)

    def convolve(x):
        y = lax.conv_general_dilated(
            x, kernel, (1,), ((reach, reach),), rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=groups,
        )  # fmt: skip
        return lax.slice_in_dim(y, 0, y.shape[1] - reach, stride, axis=1)

    return convolve


LIBRARIES = [flax_nnx, flax_linen, dilax_nn, plain_lax]
LIBRARIES += [name for name in (haiku, equinox) if importlib.util.find_spec(name.__name__)]


@st.composite
def layers(draw):
    """Taps, dilation, stride, groups, and what is around the convolution."""
    kind = draw(st.sampled_from(["plain", "residual", "gated", "pooled", "normalised"]))
    stride = draw(st.sampled_from([1, 2, 3])) if kind == "plain" else 1
    sizes = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return kind, *sizes, stride, draw(st.sampled_from([1, 2, FEATURES]))


def network_of(library, stack):
    def block(kind, taps, dilation, stride, groups):
        if kind == "gated":
            wide = library(2 * FEATURES, taps, dilation, stride, groups)
            return lambda x: x + jnp.tanh(wide(x)[..., ::2]) * jax.nn.sigmoid(wide(x)[..., 1::2])
        layer = library(FEATURES, taps, dilation, stride, groups)
        return {
            "plain": layer,
            "residual": lambda x: x + jax.nn.gelu(layer(x)),
            "pooled": lambda x: dilax.max_pool(layer(x), (taps,), padding="CAUSAL"),
            "normalised": lambda x: x + jax.nn.standardize(layer(x), axis=-1, epsilon=0.1),
        }[kind]

    blocks = [block(*layer) for layer in stack]
    return lambda x: functools.reduce(lambda y, f: f(y), blocks, x)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_random_stacks(library, long):
    @hypothesis.given(
        st.lists(layers(), min_size=1, max_size=5),
        st.lists(st.integers(1, 9), min_size=1, max_size=3),
        st.integers(1, 3),
    )
    @hypothesis.settings(max_examples=100 if long else 2)
    def check(stack, sizes, batch):
        network = network_of(library, stack)
        streaming = assert_streams(network, draw(batch, LENGTH, FEATURES), sizes=sizes)
        strides = functools.reduce(int.__mul__, (layer[3] for layer in stack))
        assert streaming.multiple == strides and streaming.outputs.stride == strides
        assert streaming.outputs.skip == 0

    check()


# --- networks -------------------------------------------------------------------------------------


def test_a_temporal_network_of_flax():
    rngs = nnx.Rngs(0)

    def block(dilation):
        conv = nnx.Conv(
            FEATURES, FEATURES, (3,), padding="CAUSAL", kernel_dilation=dilation, rngs=rngs
        )
        norm, product = nnx.BatchNorm(FEATURES, rngs=rngs), nnx.Linear(8, FEATURES, rngs=rngs)
        wide = nnx.Linear(FEATURES, 8, rngs=rngs)
        dropout = nnx.Dropout(0.5, rngs=rngs)
        return nnx.Sequential(
            conv, norm, nnx.relu, wide, nnx.LayerNorm(8, rngs=rngs), dropout, product
        )

    blocks = nnx.List([block(2**level) for level in range(4)]) if hasattr(nnx, "List") else [
        block(2**level) for level in range(4)
    ]  # fmt: skip
    for one in blocks:
        one.eval()

    def network(x):
        for one in blocks:
            x = x + one(x)
        return x

    streaming = assert_streams(network, draw(2, 40, FEATURES), sizes=(1, 7))
    assert entries(streaming) == sum(2 * FEATURES * 2 * 2**level for level in range(4))


@pytest.mark.skipif(not importlib.util.find_spec("equinox"), reason="needs equinox")
def test_equinox_without_a_batch():
    import equinox as eqx

    keys = jax.random.split(jax.random.key(0), 3)
    network = eqx.nn.Sequential(
        [
            eqx.nn.Conv1d(FEATURES, 8, 3, padding=((4, 0),), dilation=2, key=keys[0]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Conv1d(8, 8, 4, stride=2, padding=((3, 0),), key=keys[1]),
            eqx.nn.MaxPool1d(2, 2, padding=((1, 0),)),
            eqx.nn.ConvTranspose1d(8, FEATURES, 4, 4, key=keys[2]),
            eqx.nn.Lambda(lambda x: x[:, :]),
        ]
    )
    streaming = assert_streams(lambda x: network(x), draw(FEATURES, 40), axis=-1)
    assert streaming.multiple == 4 and streaming.outputs.stride == 1


def test_a_recurrent_layer_of_flax():
    layer, x = linen.RNN(linen.GRUCell(8)), draw(2, 24, FEATURES)
    variables = layer.init(jax.random.key(0), x)
    assert_streams(lambda x: layer.apply(variables, x), x)


@pytest.mark.long
def test_wavenet_speaks_one_sample_at_a_time():
    """Generation by the stream is generation by the whole field, for each sample anew."""
    levels, symbols = [1, 2, 4, 1, 2, 4], 16
    kernels = [draw(2, FEATURES, 2 * FEATURES) for _ in levels]
    outputs = [draw(FEATURES, 2 * FEATURES) for _ in levels]
    table, last = draw(symbols, FEATURES), draw(FEATURES, symbols)

    def network(sounds):
        x, skipped = table[sounds], 0.0
        for dilation, kernel, output in zip(levels, kernels, outputs, strict=True):
            y = dilax.conv(x, kernel, padding="CAUSAL", kernel_dilation=dilation)
            gate, value = jnp.split(y, 2, axis=-1)
            both = (jax.nn.sigmoid(gate) * jnp.tanh(value)) @ output
            x, skipped = x + both[..., :FEATURES], skipped + both[..., FEATURES:]
        return jax.nn.relu(skipped) @ last

    field, length = 1 + sum(levels), 24
    assert_streams(network, jnp.zeros((2, field), jnp.int32).at[:, ::3].set(5))
    streaming = stream(network, jnp.zeros((2, field), jnp.int32))
    assert entries(streaming) == 2 * FEATURES * sum(levels)

    def speak(carry, _):
        state, sound = carry
        state, logits = streaming.step(state, sound)
        sound = jnp.argmax(logits[:, -1:], axis=-1).astype(jnp.int32)
        return (state, sound), sound[:, 0]

    first = jnp.asarray([[3], [11]], jnp.int32)
    _, spoken = lax.scan(speak, (streaming.initial_state, first), length=length)
    sounds = first
    whole = jax.jit(lambda sounds: jnp.argmax(network(sounds), axis=-1))
    padded = jnp.zeros((2, length + 1), jnp.int32)
    for number in range(length):
        padded = padded.at[:, number].set(sounds[:, number])
        sounds = jnp.concatenate([sounds, whole(padded)[:, number : number + 1]], axis=1)
    assert (sounds[:, 1:] == spoken.T).all() and len({*sounds.flatten().tolist()}) > 2


def test_a_causal_network_of_spectrograms():
    """Windows over time and frequency, steps of two frames, pooled along frequency alone."""
    first, second = draw(3, 5, 1, 4), draw(2, 3, 1, 8)

    def network(x):
        y = jax.nn.relu(dilax.conv(x, first, padding=((2, 0), (2, 2)), strides=(2, 2)))
        y = dilax.depthwise_conv(y, second, padding=((3, 0), (1, 1)), kernel_dilation=(3, 1))
        return y.mean(2)

    streaming = assert_streams(network, draw(2, 24, 16, 1))
    assert streaming.multiple == 2
    close(streaming.initial_state[0], jnp.zeros((2, 2, 16, 1)))

"""Networks that classify sequences: a slow reference, padding, streams, twins, statistics."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dilax import inference, models
from dilax.analysis import parameter_count
from dilax.models import Sequences
from dilax.models._registry import MODELS
from dilax.training import functional
from tests.models import abstract

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

NAMES = [
    name for name in models.list_models() if issubclass(MODELS[name], models.SequenceClassifier)
]
SMALL = {
    "in_features": 5,
    "features": 8,
    "kernel_size": 3,
    "kernel_dilation": (1, 2, 4),
    "first_kernel_size": 2,
    "dropout": 0.0,
}
each_network = pytest.mark.parametrize("name", NAMES)


def make(name, **options):
    """A small network in evaluation, with parameters and statistics far from their first values."""
    network = abstract.shapes(name, classes=3, **{**SMALL, **options})
    network.eval()
    graphdef, state = nnx.split(network)
    draw = np.random.default_rng(0).uniform

    def drawn(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jax.random.key(0) if leaf.dtype != jnp.uint32 else jnp.zeros((), jnp.uint32)
        low = -0.5 if leaf.ndim > 1 else 0.5
        return jnp.asarray(draw(low, 1.0, leaf.shape), jnp.float32)

    return nnx.merge(graphdef, jax.tree.map(drawn, state))


def run(network, inputs):
    """The logits, compiled at once."""
    graphdef, state = nnx.split(network)
    return jax.jit(lambda state, inputs: nnx.merge(graphdef, state)(inputs))(state, inputs)


def values(*shape):
    drawn = np.random.default_rng(2).normal(size=(*shape, SMALL["in_features"]))
    return jnp.asarray(drawn, jnp.float32)


def reference(network, x):
    """The logits of one sequence ``(T, features)``, tap by tap in float64."""

    def block(layer, x):
        if hasattr(layer.conv, "depthwise_kernel"):
            depthwise = np.float64(layer.conv.depthwise_kernel[...])[:, 0]
            pointwise = np.float64(layer.conv.pointwise_kernel[...])
            kernel = depthwise[:, :, None] * pointwise[None]
        else:
            kernel = np.float64(layer.conv.kernel[...])
        dilation = np.ravel(layer.conv.kernel_dilation)[0]
        y = np.zeros((len(x), kernel.shape[-1]))
        for step in range(len(x)):
            for tap, weights in enumerate(kernel[::-1]):
                if step - tap * dilation >= 0:
                    y[step] += x[step - tap * dilation] @ weights
        norm = {key: np.float64(getattr(layer.norm, key)[...]) for key in ("mean", "var", "scale")}
        y = (y - norm["mean"]) / np.sqrt(norm["var"] + 1e-5) * norm["scale"]
        y = np.maximum(y + np.float64(layer.norm.bias[...]), 0)
        return x + y if x.shape == y.shape else y

    x = block(network.first, np.float64(x))
    for layer in network.blocks:
        x = block(layer, x)
    return x.mean(axis=0) @ np.float64(network.head.kernel[...]) + np.float64(
        network.head.bias[...]
    )


@each_network
def test_docstring_states_the_parameters(name):
    stated = re.search(r"([\d,]+)\s+parameters", MODELS[name].__doc__)
    found = parameter_count(nnx.state(abstract.shapes(name), nnx.Param))
    assert int(stated[1].replace(",", "")) == found


def test_twins_have_equal_layers_and_a_fifth_of_the_parameters():
    sounds = jax.ShapeDtypeStruct((1, 9, 40), jnp.float32)
    layers = [abstract.layer_shapes(abstract.activations(name), sounds) for name in NAMES]
    assert NAMES == ["tcn_dsdc", "tcn_dense"] and layers[0] == layers[1]
    ours, dense = (parameter_count(nnx.state(abstract.shapes(name), nnx.Param)) for name in NAMES)
    assert 5 * ours < dense


@each_network
def test_logits_equal_a_slow_reference(name):
    network, x = make(name), values(2, 19)
    expected = [reference(network, each) for each in x]
    np.testing.assert_allclose(run(network, x), expected, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing():
    """Neither more of it, nor what it holds, nor longer sequences in the batch."""
    network, x = make("tcn_dsdc"), values(2, 21)
    alone = run(network, x[:1, :8])
    for filling in (0.0, 1e3):
        found = run(network, Sequences(x.at[0, 8:].set(filling), jnp.array([8, 21])))
        np.testing.assert_allclose(found[:1], alone, rtol=1e-6, atol=1e-6)
    whole = run(network, x)
    np.testing.assert_allclose(found[1], whole[1], rtol=1e-6, atol=1e-6)
    assert abs(whole[0] - alone[0]).max() > 1e-3


def test_a_stream_gives_the_scores_of_the_whole():
    network, x = make("tcn_dsdc"), values(2, 12)
    whole = jax.jit(network.scores)(x)
    np.testing.assert_allclose(whole.mean(axis=1), run(network, x), rtol=1e-5, atol=1e-5)
    streaming = inference.stream(network.scores, x)
    state, found = streaming.initial_state, []
    for chunk in (x[:, :4], x[:, 4:8], x[:, 8:]):
        state, scores = streaming.step(state, chunk)
        found.append(scores)
    np.testing.assert_allclose(np.concatenate(found, axis=1), whole, rtol=1e-5, atol=1e-5)


def test_statistics_in_training_leave_padding_out():
    apply, params, stats = functional(make("tcn_dsdc"))
    train = jax.jit(functools.partial(apply, train=True, key=jax.random.key(0)))
    x, lengths = values(2, 12), jnp.array([12, 7])
    longer = np.pad(x, [(0, 0), (0, 9), (0, 0)], constant_values=5.0)
    logits, moved = train(params, stats, Sequences(x, lengths))
    again, also = train(params, stats, Sequences(longer, lengths))
    np.testing.assert_allclose(again, logits, rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda *pair: np.testing.assert_allclose(*pair, rtol=1e-5, atol=1e-5), moved, also)
    _, filled = train(params, stats, x)
    assert abs(filled["first"]["norm"]["mean"] - moved["first"]["norm"]["mean"]).max() > 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: n(values(4)), r"of one: sequences\[None\]"),
        (lambda n: n(jnp.ones((1, 4, 6))), r"must have shape \(N, T, 5\), got \(1, 4, 6\)"),
        (lambda n: n(Sequences(values(2, 4), jnp.array([1]))), r"lengths must have shape \(2,\)"),
        (lambda n: make("tcn_dsdc", dropout=1.0), "dropout must be at least 0 and below 1"),
        (lambda n: make("tcn_dsdc", features=0), "features must be at least 1"),
        (lambda n: make("tcn_dsdc", kernel_dilation=(0,)), "kernel_dilation must be at least 1"),
    ],
)
def test_what_cannot_be_classified_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(make("tcn_dsdc"))

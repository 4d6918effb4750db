"""Tools of others that know lax's primitives know dilax's too, inside of ``dilax.using``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import jet, roofline, sparse

import dilax
from dilax import algorithms

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the other tools
    pytest.mark.usefixtures("ranks_may_differ"),
]

X = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
KERNEL = jax.random.normal(jax.random.key(1), (3, 3, 1, 4))


@pytest.fixture
def ranks_may_differ():
    with jax.numpy_rank_promotion("allow"):
        yield


class Network(nnx.Module):
    def __init__(self, rngs):
        self.stem = dilax.nn.Conv(4, 8, (3, 3), kernel_dilation=2, rngs=rngs)
        self.depthwise = dilax.nn.DepthwiseConv(8, (3, 3), rngs=rngs)
        self.separable = dilax.nn.SeparableConv(8, 4, (3, 3), strides=2, rngs=rngs)

    def __call__(self, x):
        return self.separable(self.depthwise(self.stem(x)))


class Dense(nnx.Module):
    def __init__(self, rngs):
        self.stem = dilax.nn.Conv(4, 8, (3, 3), rngs=rngs)

    def __call__(self, x):
        return self.stem(x)


def test_a_checkpoint_policy_saves_convolutions():
    policy = jax.checkpoint_policies.dots_saveable
    block = jax.checkpoint(
        lambda kernel: jnp.sum(jnp.tanh(dilax.depthwise_conv(X, kernel)) ** 2), policy=policy
    )
    computed_again = str(jax.make_jaxpr(jax.grad(block))(KERNEL))
    assert computed_again.count("dilax_conv[") == 2
    with dilax.using(algorithms.lax):
        saved = str(jax.make_jaxpr(jax.grad(block))(KERNEL))
    assert saved.count("conv_general_dilated[") == 2  # forward, and the kernel's gradient


def test_jet():
    with dilax.using(algorithms.lax):
        value, (first,) = jet.jet(
            lambda x: dilax.depthwise_conv(x, KERNEL), (X,), ((jnp.ones_like(X),),)
        )
    np.testing.assert_allclose(value, dilax.depthwise_conv(X, KERNEL), atol=1e-5)
    slope = dilax.depthwise_conv(jnp.ones_like(X), KERNEL)
    np.testing.assert_allclose(first, slope, atol=1e-5)


def test_sparsify():
    x, kernel = jnp.arange(20.0)[None, None], jnp.array([[[1.0, 0.0, -1.0]]])

    def convolve(x, kernel):
        return dilax.conv_general_dilated(x, kernel, (1,), "VALID")

    with dilax.using(algorithms.lax):
        sparse_arrays = map(sparse.BCOO.fromdense, (x, kernel))
        found = sparse.sparsify(convolve)(*sparse_arrays).todense()
    np.testing.assert_allclose(found, convolve(x, kernel))


def test_roofline_counts():
    with dilax.using(algorithms.lax):
        _, result = roofline.roofline(dilax.depthwise_conv)(X, KERNEL)
    counted = dilax.analysis.cost(dilax.depthwise_conv, X, KERNEL)
    assert result.unfused_flops == 2 * counted.multiply_adds_without_padding


@pytest.mark.parametrize("network", [Dense, Network])
def test_qwix_quantises_while_training(network):
    qwix = pytest.importorskip("qwix")
    rule = qwix.QtRule(module_path=".*", weight_qtype=jnp.int8, act_qtype=jnp.int8)
    network = network(nnx.Rngs(0))
    with dilax.using(algorithms.lax):
        quantised = qwix.quantize_model(network, qwix.QtProvider([rule]), X)
        error = jnp.abs(quantised(X) - network(X)).max()
    assert 0 < error < 0.2


def test_qwix_quantises_after_training():
    qwix = pytest.importorskip("qwix")
    rule = qwix.QuantizationRule(module_path=".*", weight_qtype=jnp.int8, act_qtype=jnp.int8)
    network = Dense(nnx.Rngs(0))
    with dilax.using(algorithms.lax):
        quantised = qwix.quantize_model(network, qwix.PtqProvider([rule]), X)
        error = jnp.abs(quantised(X) - network(X)).max()
    assert 0 < error < 0.2
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(quantised))} >= {jnp.dtype("int8")}


@pytest.mark.parametrize("network", [Dense, Network])
def test_jax2onnx_exports(network):
    jax2onnx, onnxruntime = map(pytest.importorskip, ("jax2onnx", "onnxruntime"))
    network = network(nnx.Rngs(0))
    with dilax.using(algorithms.lax):
        exported = jax2onnx.to_onnx(network, [X.shape])
    session = onnxruntime.InferenceSession(exported.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: np.asarray(X)})
    np.testing.assert_allclose(found, network(X), atol=1e-5)

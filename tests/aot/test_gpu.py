"""Programs compiled for GPUs that are not there: what they ask of cuDNN.

No window is larger than the kernel, no kernel has zeros between its taps, and the kernel gradients
are those that cuDNN has functions for.
"""

import functools

import compiled_for_gpu as gpu
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

import dilax
from dilax import models

pytest.importorskip(gpu.PLUGIN, reason="the extra aot is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the plugin, which finds no GPU

CASES = {case.name: case for case in gpu.CASES}
PASSES = ("forward", "input gradient", "kernel gradient")
SMALL = "depthwise 3x3, dilation 12"
"""Its phases are as small as its kernel, so that either may be the window."""
X = (4, 24, 20, 16)
MATRIX = np.linspace(-1, 1, 16 * 64, dtype=np.float32).reshape(16, 64)


@pytest.fixture(scope="module", params=gpu.TARGETS)
def device(request):
    return gpu.topology(1, request.param).devices[0]


def largest(calls):
    """The largest side of a window."""
    return max((max(call.size) for call in calls), default=0)


# --- single convolutions --------------------------------------------------------------------------


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", CASES)
def test_windows_are_those_of_the_kernel(name, which, device):
    case = CASES[name]
    function, shapes = gpu.passes(case, None)[which]
    calls = gpu.calls(function, device, *shapes)
    assert len(calls) == 1
    assert largest(calls) == max(case.kernel[:-2])
    if which == "kernel gradient" and name != SMALL:
        assert calls[0].function == "convBackwardFilter"


def test_lax_has_other_windows(device):
    """What the choice rests on; if this fails, XLA may have learned it, and lax is enough."""
    for name, which, side in (
        ("dense 3x3, dilation 2", "kernel gradient", 32),
        ("dense 3, dilation 16, causal", "forward", 33),
        ("dense 3x3, dilation 2, stride 3", "input gradient", 5),
    ):
        function, shapes = gpu.passes(CASES[name], dilax.algorithms.lax)[which]
        assert largest(gpu.calls(function, device, *shapes)) == side


def summed(function):
    """All gradients of a function, as of a loss."""
    return lambda *arrays: jax.grad(
        lambda *inner: jnp.sum(jnp.sin(function(*inner))), argnums=tuple(range(len(arrays)))
    )(*arrays)


LAYOUT = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
FUNCTIONS = {
    "conv": (functools.partial(dilax.conv, kernel_dilation=(2, 3)), (3, 3, 16, 8)),
    "depthwise_conv": (
        functools.partial(dilax.depthwise_conv, kernel_dilation=3, padding="CAUSAL"),
        (3, 3, 1, 32),
    ),
    "separable_conv": (
        lambda x, w: dilax.separable_conv(x, w, MATRIX, kernel_dilation=2, strides=2),
        (3, 3, 1, 16),
    ),
    "conv_general_dilated": (
        lambda x, w: dilax.conv_general_dilated(
            x, w, (1, 1), "SAME", rhs_dilation=(2, 2), feature_group_count=4, **LAYOUT
        ),
        (3, 3, 4, 8),
    ),
    "accelerate": (
        dilax.accelerate(
            lambda x, w: lax.conv_general_dilated(
                x, w, (2, 2), "SAME", rhs_dilation=(2, 2), feature_group_count=16, **LAYOUT
            )
        ),
        (3, 3, 1, 16),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_their_gradients(name, device):
    function, kernel = FUNCTIONS[name]
    for wanted in (function, summed(function)):
        assert largest(gpu.calls(wanted, device, X, kernel)) == 3


@pytest.mark.parametrize("pool", [dilax.max_pool, dilax.avg_pool])
def test_pools_compile(pool, device):
    pooled = functools.partial(pool, window_shape=(3, 3), strides=(2, 2), padding="SAME")
    assert gpu.calls(summed(pooled), device, X) == []


# --- training steps -------------------------------------------------------------------------------


def training_step(name, side, channels):
    """A step of descent of a network of the registry, and the types of its arguments."""
    network = models.create(name, rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    optimizer = optax.adamw(1e-3)

    def loss(params, rest, images, labels):
        merged = nnx.merge(graphdef, params, rest, copy=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(merged(images), labels)
        return losses.mean(), nnx.state(merged, nnx.Not(nnx.Param))

    def step(params, rest, state, images, labels):
        (_, rest), gradients = jax.value_and_grad(loss, has_aux=True)(params, rest, images, labels)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), rest, state

    state = (params, rest, jax.eval_shape(optimizer.init, params))
    batch = (
        jax.ShapeDtypeStruct((32, side, side, channels), jnp.float32),
        jax.ShapeDtypeStruct((32,), jnp.int32),
    )
    return step, state, batch


def placed(tree, sharding):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding), tree
    )


@pytest.mark.parametrize(
    "name, side, channels, devices",
    [
        ("mnist_dsdc", 28, 1, 4),
        ("dsdc", 32, 3, 1),
        pytest.param("mnist_dsdc", 28, 1, 1, marks=pytest.mark.long),
        pytest.param("dsdc", 32, 3, 4, marks=pytest.mark.long),
    ],
)
def test_a_training_step_has_no_window_larger_than_its_kernels(name, side, channels, devices):
    found = gpu.topology(devices).devices
    step, state, batch = training_step(name, side, channels)
    if devices == 1:
        here = along = SingleDeviceSharding(found[0])
    else:
        mesh = Mesh(np.array(found), "batch")
        here, along = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("batch",)))
    lowered = jax.jit(step).lower(*placed(state, here), *placed(batch, along))
    calls = gpu.calls_of(lowered)
    assert len(calls) > 10
    assert largest(calls) == 3

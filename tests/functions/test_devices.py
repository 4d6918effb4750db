"""Two devices give what one gives: pmap, shard_map, explicit and automatic sharding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import dilax
from tests import cases

ALGORITHMS = {
    "lax": dilax.algorithms.lax,
    "shift_and_add": dilax.algorithms.shift_and_add,
    "per_group": dilax.algorithms.per_group,
    "im2col": dilax.algorithms.im2col,
    "default": None,
}
pytestmark = pytest.mark.usefixtures("compile_quickly")
WINDOW = {"strides": (1, 2), "padding": ((1, 0), (2, 1)), "kernel_dilation": (2, 1)}
X_SHAPE = (4, 6, 8, 4)
KERNEL_SHAPES = {"depthwise": (3, 2, 1, 8), "dense": (3, 2, 4, 6)}
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
every_pair = pytest.mark.parametrize(
    ("algorithm", "kind"), cases.crossed(list(KERNEL_SHAPES), list(ALGORITHMS))
)
BATCH = P("devices")
FEATURES = P(None, None, None, "devices")


@pytest.fixture(autouse=True)
def two_devices() -> None:
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")


def both(x, kernel, algorithm: str):
    """The output, and the gradients."""
    return conv(x, kernel, algorithm), gradients(x, kernel, algorithm)


def conv(x, kernel, algorithm: str):
    groups = x.shape[-1] // kernel.shape[-2]
    return dilax.conv(
        x, kernel, **WINDOW, feature_group_count=groups, algorithm=ALGORITHMS[algorithm]
    )


def gradients(x, kernel, algorithm: str):
    def loss(x, kernel):
        return jnp.sum(jnp.sin(conv(x, kernel, algorithm)))

    return jax.grad(loss, (0, 1))(x, kernel)


def operands(kind: str) -> list[jax.Array]:
    return [jnp.asarray(array, jnp.float32) for array in cases.draw(X_SHAPE, KERNEL_SHAPES[kind])]


@functools.cache
def on_one_device(kind: str) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Output and gradients, by lax."""
    x, kernel = operands(kind)
    return jax.device_get((conv(x, kernel, "lax"), gradients(x, kernel, "lax")))


def mesh_of(axis_type: AxisType) -> Mesh:
    return jax.make_mesh((2,), ("devices",), axis_types=(axis_type,))


def sharded(function, algorithm: str, in_specs, out_specs):
    """The function on each device's part, compiled."""
    part = functools.partial(function, algorithm=algorithm)
    mesh = mesh_of(AxisType.Auto)
    return jax.jit(jax.shard_map(part, mesh=mesh, in_specs=in_specs, out_specs=out_specs))


def assert_same(result, expected) -> None:
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, jax.device_get(result), expected)


@every_pair
def test_pmap(kind: str, algorithm: str) -> None:
    x, kernel = operands(kind)

    def step(x, kernel):
        to_x, to_kernel = gradients(x, kernel, algorithm)
        return conv(x, kernel, algorithm), to_x, jax.lax.psum(to_kernel, "devices")

    halves = x.reshape(2, 2, *x.shape[1:])
    y, to_x, to_kernel = jax.pmap(step, axis_name="devices", in_axes=(0, None))(halves, kernel)
    expected_y, expected_gradients = on_one_device(kind)
    assert_same(y.reshape(expected_y.shape), expected_y)
    for copy in jax.device_get(to_kernel):
        assert_same((to_x.reshape(x.shape), copy), expected_gradients)


@every_pair
def test_shard_map_over_the_batch(kind: str, algorithm: str) -> None:
    """The replicated kernel's gradient is the sum over devices, inside the map and through it."""
    x, kernel = operands(kind)
    specs = (BATCH, P())
    forward = sharded(conv, algorithm, specs, BATCH)

    def loss(x, kernel):
        return jnp.sum(jnp.sin(forward(x, kernel)))

    y, expected = on_one_device(kind)
    result = sharded(both, algorithm, specs, (BATCH, specs))(x, kernel)
    assert_same(result, (y, expected))
    assert_same(jax.jit(jax.grad(loss, (0, 1)))(x, kernel), expected)


@every_algorithm
def test_shard_map_over_the_batch_forward_mode(algorithm: str) -> None:
    x, kernel = operands("depthwise")

    def along_kernel(x, kernel, algorithm):
        return jax.jvp(lambda kernel: conv(x, kernel, algorithm), (kernel,), (kernel,))[1]

    y, _ = on_one_device("depthwise")  # linear in the kernel: along itself the slope is the value
    assert_same(sharded(along_kernel, algorithm, (BATCH, P()), BATCH)(x, kernel), y)


@every_algorithm
def test_shard_map_over_the_features(algorithm: str) -> None:
    """Depthwise features fall apart: each device has its channels and their kernels."""
    x, kernel = operands("depthwise")
    specs = (FEATURES, FEATURES)
    result = sharded(both, algorithm, specs, (FEATURES, specs))(x, kernel)
    assert_same(result, on_one_device("depthwise"))


@every_algorithm
def test_shard_map_over_the_out_features(algorithm: str) -> None:
    """Each device has its own kernels; the gradient of the shared input is summed over devices."""
    x, kernel = operands("dense")
    specs = (P(), FEATURES)
    result = sharded(both, algorithm, specs, (FEATURES, specs))(x, kernel)
    assert_same(result, on_one_device("dense"))


@every_pair
def test_explicit_sharding_of_the_batch(kind: str, algorithm: str) -> None:
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        x, kernel = operands(kind)
        x = jax.device_put(x, NamedSharding(mesh, BATCH))
        kernel = jax.device_put(kernel, NamedSharding(mesh, P()))
        run = jax.jit(functools.partial(both, algorithm=algorithm))
        y, (to_x, to_kernel) = run(x, kernel)
        assert jax.typeof(y).sharding.spec[0] == "devices"
        assert jax.typeof(to_x).sharding.spec[0] == "devices"
        assert not any(jax.typeof(to_kernel).sharding.spec)
    assert_same((y, (to_x, to_kernel)), on_one_device(kind))


@pytest.mark.parametrize(("algorithm", "axis"), cases.crossed(range(4), list(ALGORITHMS)))
def test_automatic_sharding_of_any_axis(algorithm: str, axis: int) -> None:
    spec = P(*("devices" if place == axis else None for place in range(4)))
    x, kernel = operands("depthwise")
    x = jax.device_put(x, NamedSharding(mesh_of(AxisType.Auto), spec))
    result = jax.jit(functools.partial(both, algorithm=algorithm))(x, kernel)
    assert_same(result, on_one_device("depthwise"))

"""Every function of arrays gives on a sharded array what it gives on one device."""

import functools
import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import dilax
from tests import cases
from tests.processes import environment

pytestmark = pytest.mark.usefixtures("compile_quickly", "two_devices")

NORM = dilax.BatchNormParams(*(jnp.full(4, value) for value in (1.5, 0.5, 0.25, 2.0)))


def block(x, kernel):
    params = dilax.SeparableBlockParams(kernel, jnp.eye(4), NORM)
    return dilax.separable_block(x, params, use_running_average=True)[0]


def pool(function, size, **options):
    return lambda x, kernel: function(x, size, **options) * kernel.sum()


FUNCTIONS = {
    "stem": lambda x, kernel: dilax.conv(x, jnp.tile(kernel, (1, 1, 4, 2))),
    "two groups": lambda x, kernel: dilax.conv(
        x, jnp.tile(kernel, (1, 1, 2, 1)), strides=3, feature_group_count=2
    ),
    "one output": lambda x, kernel: dilax.depthwise_conv(x, kernel, strides=8, padding="VALID"),
    "strided": lambda x, kernel: dilax.depthwise_conv(x, kernel, strides=(2, 3)),
    "pointwise_conv": lambda x, kernel: dilax.pointwise_conv(x, kernel[0, 0].T * kernel[1, 1]),
    "separable_conv": lambda x, kernel: dilax.separable_conv(x, kernel, jnp.eye(4)),
    "separable_block": block,
    "max_pool": pool(dilax.max_pool, 2, strides=2),
    "max_pool, 3 of 8": pool(dilax.max_pool, 3),
    "max_pool, all": pool(dilax.max_pool, 8),
    "max_pool, in blocks": pool(dilax.max_pool, 6, strides=4, padding="SAME"),
    "avg_pool": pool(dilax.avg_pool, 2, strides=2),
    "avg_pool, 3 of 8": pool(dilax.avg_pool, 3),
    "avg_pool, all": pool(dilax.avg_pool, 8),
}
SPECS = {"batch": P("d"), "rows": P(None, "d"), "features": P(None, None, None, "d")}
TYPES = {"automatic": AxisType.Auto, "explicit": AxisType.Explicit}


@pytest.fixture
def two_devices() -> None:
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")


def operands():
    rng = np.random.default_rng(0)
    shapes = (2, 8, 8, 4), (3, 3, 1, 4)
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


def value_and_gradients(function, x, kernel):
    def loss(x, kernel):
        y = function(x, kernel)
        return jnp.sum(jnp.sin(y)), y

    return jax.grad(loss, (0, 1), has_aux=True)(x, kernel)


def mapped(function, x, kernel):
    """The values of a batch of batches of one."""
    return jax.vmap(function, (0, None))(jnp.expand_dims(x, 1), kernel)


CHANGES = {"value_and_gradients": value_and_gradients, "mapped": mapped}


@functools.cache
def on_one_device(change, name):
    return jax.device_get(jax.jit(functools.partial(change, FUNCTIONS[name]))(*operands()))


ROWS = list(itertools.product(FUNCTIONS, SPECS, TYPES, CHANGES))


@pytest.mark.parametrize(("name", "where", "kind", "change"), cases.thinned(ROWS, 11))
def test_two_devices_give_what_one_gives(name, where, kind, change):
    change, (x, kernel) = CHANGES[change], operands()
    mesh = jax.make_mesh((2,), ("d",), axis_types=(TYPES[kind],))
    with jax.set_mesh(mesh):
        x = jax.device_put(x, NamedSharding(mesh, SPECS[where]))
        kernel = jax.device_put(kernel, NamedSharding(mesh, P()))
        found = jax.jit(functools.partial(change, FUNCTIONS[name]))(x, kernel)
    expected = on_one_device(change, name)
    close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)
    jax.tree.map(close, jax.device_get(found), expected)


ON_FOUR_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from tests.functions.test_sharding import FUNCTIONS, SPECS, value_and_gradients

mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 4)), jnp.float32)
kernel = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 1, 4)), jnp.float32)
for name in ("stem", "two groups", "one output", "max_pool, all", "max_pool, 3 of 8"):
    run = jax.jit(lambda x, kernel: value_and_gradients(FUNCTIONS[name], x, kernel))
    expected = run(x, kernel)
    for where, spec in SPECS.items():
        found = run(jax.device_put(x, NamedSharding(mesh, spec)), kernel)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(
                np.asarray(one), np.asarray(other), rtol=2e-5, atol=2e-5, err_msg=f"{name}, {where}"
            )
"""


@pytest.mark.long
def test_single_entries_are_sliced_right_on_four_devices():
    """XLA slices the last entry of an axis over four devices wrongly, if the slice has a stride."""
    four = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    subprocess.run([sys.executable, "-c", ON_FOUR_DEVICES], env=environment(**four), check=True)

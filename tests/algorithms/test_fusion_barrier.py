"""A sum over shifted slices is computed once, as a whole, whatever reads it."""

import jax
import jax.numpy as jnp
import pytest

import dilax
from dilax import algorithms
from tests import cases

READERS = {
    "layer_norm": jax.nn.standardize,
    "mean": lambda x: x.mean(axis=(1, 2)),
    "maximum": lambda x: x.max(axis=-1),
}


@pytest.mark.parametrize(
    ("channels", "reader"), cases.crossed(list(READERS), [(16, 16), (1, 16), (32, 16)])
)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_a_reduction_does_not_take_it_apart(reader, backward, channels):
    """Nine slices in memory would be nine times the input; it, padded, and the result are two."""
    in_features, out_features = channels
    groups = min(channels)
    x = jnp.ones((8, 32, 32, in_features))
    kernel = jnp.ones((3, 3, in_features // groups, out_features))

    def conv(x):
        return dilax.conv(x, kernel, feature_group_count=groups)

    def run(x):
        y, pull = jax.vjp(conv, x)
        return READERS[reader](pull(y)[0] if backward else y)

    taken = jax.jit(run).lower(x).compile().memory_analysis().temp_size_in_bytes
    assert taken < 4 * max(x.nbytes, jax.eval_shape(conv, x).size * 4)


@pytest.mark.parametrize("size", [3, 7])
def test_nor_a_mean_over_windows(size):
    x = jnp.ones((8, 32, 32, 16))

    def run(x):
        y, pull = jax.vjp(lambda x: dilax.avg_pool(x, (size, size), padding="SAME"), x)
        return jax.nn.standardize(y), jax.nn.standardize(pull(y)[0])

    taken = jax.jit(run).lower(x).compile().memory_analysis().temp_size_in_bytes
    assert taken < 4 * x.nbytes


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bfloat16, jnp.float16])
def test_types_other_than_float32(dtype):
    x, kernel = jnp.ones((2, 5, 5, 4), dtype), jnp.ones((3, 3, 1, 4), dtype)
    y = jax.jit(lambda x: algorithms.shift_and_add.conv(x, kernel, geometry_3x3()))(x)
    assert y.dtype == dtype and int(y[0, 2, 2, 0]) == 9


def geometry_3x3():
    return dilax.geometry.ConvGeometry((5, 5), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 4)


def test_without_compilation():
    with jax.disable_jit():
        y = dilax.depthwise_conv(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2)))
    assert float(y[0, 1, 1, 0]) == 9

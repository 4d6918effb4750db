"""Receptive fields of stock Equinox and Haiku networks against their gradients."""

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax.analysis import receptive_field
from tests.analysis.gradients import seen_by

pytestmark = pytest.mark.usefixtures("compile_quickly")


def positive(tree):
    return jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.01 if eqx.is_array(leaf) else leaf, tree)


def equinox_network():
    """Channels first, one image at a time: the library's own layout."""
    keys = jax.random.split(jax.random.key(0), 4)
    layers = [
        eqx.nn.Conv2d(2, 4, (5, 3), stride=2, padding=1, key=keys[0]),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Conv2d(4, 4, 3, dilation=(1, 3), padding="SAME", groups=2, key=keys[1]),
        eqx.nn.MaxPool2d(3, stride=2),
        eqx.nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1, key=keys[2]),
        eqx.nn.AvgPool2d(2),
        eqx.nn.Conv2d(3, 2, 1, key=keys[3]),
    ]
    network = jax.vmap(positive(eqx.nn.Sequential(layers)))
    return lambda x: jnp.moveaxis(network(jnp.moveaxis(x, -1, 1)), 1, -1)


def haiku_network():
    def forward(x):
        x = jax.nn.relu(hk.Conv2D(4, (5, 3), stride=2)(x))
        y = hk.Conv2D(4, 3, rate=(2, 3))(x) + hk.DepthwiseConv2D(1, 3)(x)
        y = hk.max_pool(y, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
        return hk.Conv2DTranspose(3, 4, stride=2)(y) + hk.Linear(3)(x)

    network = hk.without_apply_rng(hk.transform(forward))
    params = network.init(jax.random.key(0), jnp.ones((1, 40, 36, 2)))
    return lambda x: network.apply(positive(params), x)


@pytest.mark.parametrize(
    "make", [equinox_network, pytest.param(haiku_network, marks=pytest.mark.long)]
)
def test_stock_networks(make):
    network, x = make(), jax.ShapeDtypeStruct((1, 60, 56, 2), jnp.float32)
    found = receptive_field(network, x)
    (output,) = found.outputs
    assert not found.assumptions
    middle = np.array(output.shape[1:-1]) // 2
    for place in (middle, middle - 1):
        position = (0, *map(int, place))
        # jaxlib 0.7.2 compiles the gradient of the Equinox network wrong; step by step it is right.
        seen = seen_by(network, x.shape, position, (1, 2), compiled=False)
        assert seen == output.interval(*position, 0)


def test_layers_of_haiku_have_its_names():
    x = jax.ShapeDtypeStruct((1, 40, 36, 2), jnp.float32)
    names = [layer.name.split("/")[-1] for layer in receptive_field(haiku_network(), x).layers]
    assert names[0] == "conv2_d"

"""Folding of whole networks: ours, and those of other libraries."""

import importlib.util

import jax
import pytest
from flax import linen, nnx

from dilax import models
from dilax.inference import fold
from dilax.models._registry import MODELS
from tests.accelerate.programs import operations
from tests.inference.test_fold import close
from tests.random_arrays import draw

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def randomise(module):
    """Draw parameters and statistics that normalisation cannot leave as they are."""
    for kind, low in ((nnx.Param, -0.5), (nnx.BatchStat, 0.5)):
        state = nnx.state(module, kind)
        drawn = jax.tree.map(lambda a, low=low: draw(*a.shape, low=low, high=low + 1), state)
        nnx.update(module, drawn)
    module.eval()
    return module


def marked(name):
    often = name in ("mnist_dsdc", "drn")
    return name if often else pytest.param(name, marks=pytest.mark.long)


OF_IMAGES = [
    name for name, kind in MODELS.items() if issubclass(kind, models.Classifier | models.Segmenter)
]


@pytest.mark.parametrize("name", [marked(name) for name in OF_IMAGES])
def test_our_networks(name):
    network = randomise(models.create(name, rngs=nnx.Rngs(0)))
    grey = name.startswith("mnist") or isinstance(network, models.Segmenter)
    side, channels = (28, 1) if grey else (32, 3)
    images = draw(2, side, side, channels)
    close(jax.jit(fold(network))(images), jax.jit(network)(images), 1e-4)
    layer_normalised = 8 if name == "tiniest" else 0  # by statistics of the image, no constants
    assert operations(fold(network), images)["rsqrt"] == layer_normalised


def flax_nnx(x):
    rngs = nnx.Rngs(0)
    conv = nnx.Conv(3, 6, (3, 3), feature_group_count=3, kernel_dilation=2, rngs=rngs)
    model = randomise(nnx.Sequential(conv, nnx.BatchNorm(6, rngs=rngs), nnx.relu))
    return model


def flax_linen(x):
    class Network(linen.Module):
        @linen.compact
        def __call__(self, x):
            y = linen.BatchNorm(use_running_average=True)(linen.Conv(6, (3, 3), strides=2)(x))
            return linen.BatchNorm(use_running_average=True)(linen.Dense(5)(linen.relu(y)))

    variables = Network().init(jax.random.key(0), x)
    drawn = jax.tree.map(lambda a: draw(*a.shape, low=0.5, high=1.5), variables)
    return lambda x: Network().apply(drawn, x)


def haiku(x):
    import haiku as hk

    def network(x):
        y = hk.BatchNorm(True, True, 0.9)(hk.Conv2D(5, (3, 3))(x), is_training=False)
        return jax.nn.relu(y)

    pair = hk.without_apply_rng(hk.transform_with_state(network))
    starting = hk.transform_with_state(
        lambda x: hk.BatchNorm(True, True, 0.9)(hk.Conv2D(5, (3, 3))(x), is_training=True)
    )
    weights = starting.init(jax.random.key(0), x)
    drawn = jax.tree.map(lambda a: draw(*a.shape, low=0.5, high=1.5), weights)
    return lambda x: pair.apply(*drawn, x)[0]


def equinox(x):
    import equinox as eqx

    conv = eqx.nn.Conv2d(3, 6, 3, padding=2, dilation=2, groups=3, key=jax.random.key(0))
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(6, "batch", mode="batch")
    drawn = eqx.combine(
        jax.tree.map(lambda a: draw(*a.shape, low=0.5, high=1.5), eqx.filter(norm, eqx.is_array)),
        norm,
    )
    drawn = eqx.nn.inference_mode(drawn)

    def one(image):
        return drawn(conv(image), state)[0]

    return lambda x: jax.vmap(one, axis_name="batch")(x.transpose(0, 3, 1, 2))


LIBRARIES = [flax_nnx, flax_linen]
LIBRARIES += [name for name in (haiku, equinox) if importlib.util.find_spec(name.__name__)]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_networks_of_other_libraries(library):
    x = draw(2, 9, 8, 3)
    network = library(x)
    close(jax.jit(fold(network))(x), jax.jit(network)(x))
    found = operations(fold(network), x)
    assert found["mul"] == found["div"] == found["sub"] == found["rsqrt"] == 0

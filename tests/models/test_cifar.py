"""The CIFAR networks: shapes, and parameters, multiply-adds and fields as their docstrings say."""

import re

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from dilax import models
from dilax.analysis import multiply_adds, parameter_count, receptive_field

NAMES = ("keras_dilated", "keras_separable", "cnn", "ds_dcn", "ds_dcn_wide")
IMAGE = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    model = models.create(request.param, rngs=nnx.Rngs(0))
    model.eval()
    return model


def last_window(model):
    """The name of the last layer that has a window."""
    layers = model.activations(jnp.ones(IMAGE.shape))
    return [name for name, layer in layers.items() if layer.ndim == 4][-1]


def test_images_to_logits(key, model):
    logits = model(jax.random.normal(key, (3, 32, 32, 3)))
    chex.assert_shape(logits, (3, 10))
    chex.assert_tree_all_finite(logits)


def test_docstring_states_the_counts(model):
    text = " ".join(type(model).__doc__.split())
    stated = [
        int(re.search(pattern, text)[1].replace(",", ""))
        for pattern in (
            r"([\d,]+) parameters",
            r"([\d,]+) multiply-adds",
            r"receptive field of the convolutions (\d+)",
        )
    ]
    name = last_window(model)
    (field,) = receptive_field(lambda x: model.activations(x)[name], IMAGE).outputs
    counted = [parameter_count(nnx.state(model, nnx.Param)), multiply_adds(model, IMAGE)]
    assert [*counted, field.axes[0].size] == stated


@pytest.mark.parametrize("name", [*NAMES, *models.list_models("mnist_*")])
def test_any_number_of_classes(name):
    model = nnx.eval_shape(lambda: models.create(name, classes=3, rngs=nnx.Rngs(0)))
    assert model.head.bias.shape == (3,)


def test_the_separable_twin_of_the_tutorial_is_small():
    twin = models.create("keras_separable", rngs=nnx.Rngs(0))
    assert parameter_count(nnx.state(twin, nnx.Param)) <= 46_000


def test_the_wide_twin_costs_what_the_plain_one_costs():
    networks = [models.create(name, rngs=nnx.Rngs(0)) for name in ("cnn", "ds_dcn_wide")]
    for network in networks:
        network.eval()
    plain, wide = (multiply_adds(network, IMAGE) for network in networks)
    assert abs(wide / plain - 1) < 0.01

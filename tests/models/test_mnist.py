"""The MNIST networks: shapes, counts as their docstrings state them, layers open to view."""

import re

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import dilax
from dilax import models
from dilax.analysis import multiply_adds, parameter_count

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

NAMES = models.list_models("mnist_*")


@pytest.fixture(params=NAMES)
def model(request):
    return models.create(request.param, rngs=nnx.Rngs(0))


def test_images_to_logits(key, model):
    model.eval()
    logits = model(jax.random.normal(key, (5, 28, 28, 1)))
    chex.assert_shape(logits, (5, 10))
    chex.assert_tree_all_finite(logits)


def test_docstring_states_the_counts(model):
    text = type(model).__doc__
    stated = [int(re.search(rf"([\d,]+)\s+{what}", text)[1].replace(",", ""))
              for what in ("parameters", "multiply-adds")]  # fmt: skip
    model.eval()
    image = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
    assert [parameter_count(nnx.state(model, nnx.Param)), multiply_adds(model, image)] == stated


def test_ours_stays_under_its_budget():
    ours = models.create("mnist_dsdc", rngs=nnx.Rngs(0))
    assert parameter_count(nnx.state(ours, nnx.Param)) < 8000


def test_textbook_has_the_textbook_count():
    # 7x7 to 12, 3x3 in 6 groups, 1x1 to 24, 7x7 to 6, linear: weights and biases by hand
    weights = 49 * 12 + 9 * 2 * 12 + 12 * 24 + 49 * 24 * 6 + 6 * 12 * 12 * 10
    textbook = models.create("mnist_textbook", rngs=nnx.Rngs(0))
    assert parameter_count(nnx.state(textbook, nnx.Param)) == weights + 12 + 12 + 24 + 6 + 10


def test_tutorial_makes_28_28_32_of_one_channel():
    tutorial = models.create("mnist_tutorial", rngs=nnx.Rngs(0))
    layers = tutorial.activations(jnp.ones((2, 28, 28, 1)))
    chex.assert_shape(layers["separable"], (2, 28, 28, 32))


def test_activations_end_in_logits_and_name_separable_layers(model):
    layers = model.activations(jnp.ones((2, 28, 28, 1)))
    assert list(layers)[-1] == "logits"
    assert any(name.startswith("separable") for name in layers)


def test_every_pixel_moves_the_logits_of_ours(key):
    """The receptive field covers the whole image."""
    ours = models.create("mnist_dsdc", rngs=nnx.Rngs(0))
    ours.eval()
    image = jax.random.normal(key, (1, 28, 28, 1))
    last = list(ours.activations(image))[-2]
    center = ours.activations(image)[last].shape[1] // 2
    field = jax.grad(lambda x: ours.activations(x)[last][0, center, center].sum())(image)
    assert (jnp.abs(field[0, :, :, 0]) > 0).mean() > 0.5


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(
        ValueError, match="name must be that of a model, got 'mnist_dcsd'; did you mean mnist_dsdc"
    ):
        models.create("mnist_dcsd", rngs=nnx.Rngs(0))


def test_models_compute_by_dilax():
    ours = models.create("mnist_dsdc", rngs=nnx.Rngs(0))
    ours.eval()
    assert "dilax_conv" in str(jax.make_jaxpr(ours)(jnp.ones((1, 28, 28, 1))))
    assert dilax.models is models

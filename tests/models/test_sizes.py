"""Images of other sizes: networks that average take them, those that flatten name their own."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from dilax import models

FLATTENING = {
    "mnist_textbook": (28, 28),
    "mnist_tutorial": (28, 28),
    "keras_dilated": (30, 33),
    "keras_separable": (30, 33),
}


def logits(name, height, width):
    channels = 1 if name.startswith("mnist_") else 3
    images = jax.ShapeDtypeStruct((2, height, width, channels), jnp.float32)
    network = nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0)))
    return nnx.eval_shape(lambda module, x: module(x), network, images)


@pytest.mark.parametrize("name", FLATTENING)
def test_networks_that_flatten_name_the_sizes_they_take(name):
    smallest, largest = FLATTENING[name]
    assert logits(name, smallest, largest).shape == (2, 10)
    sides = f"{smallest} pixels" if smallest == largest else f"{smallest} to {largest} pixels"
    for height, width in ((smallest - 1, smallest), (smallest, largest + 1)):
        with pytest.raises(ValueError, match=rf"H and W of {sides}.*got \(2, {height}, {width},"):
            logits(name, height, width)


@pytest.mark.parametrize("name", [name for name in models.list_models() if name not in FLATTENING])
def test_other_networks_take_images_of_any_size(name):
    for height, width in ((8, 8), (31, 40)):
        assert logits(name, height, width).shape == (2, 10)

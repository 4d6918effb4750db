"""Networks by name as functions to trace: nothing is drawn or computed."""

import jax
import jax.numpy as jnp
from flax import nnx

from dilax import models
from dilax.analysis import multiply_adds, parameter_count, receptive_field


def image(name, height=None, width=None):
    """A batch of one image of the size that the network was made for, or of another."""
    side, channels = (28, 1) if name.startswith("mnist_") else (32, 3)
    side = 224 if name == "mobilenet_v2" else side
    return jax.ShapeDtypeStruct((1, height or side, width or side, channels), jnp.float32)


def shapes(name, **options):
    """The module with shapes for arrays."""
    return nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0), **options))


def filled(module, value):
    """The module with arrays for shapes, every entry one value."""
    graphdef, state = nnx.split(module)
    return nnx.merge(graphdef, jax.tree.map(lambda x: jnp.full(x.shape, value, x.dtype), state))


def activations(name, **options):
    """The function from images to layers, in evaluation, every parameter zero."""
    network = filled(shapes(name, **options), 0)
    network.eval()
    return network.activations


def layer_shapes(run, images):
    """Name to shape of every layer, in order (of which a traced dictionary keeps none)."""
    found = {}
    jax.eval_shape(lambda x: found.update((k, v.shape) for k, v in run(x).items()), images)
    return found


def field(run, images):
    """The receptive field, along an axis, of the last layer that has a window."""
    last = [layer for layer, shape in layer_shapes(run, images).items() if len(shape) == 4][-1]
    return receptive_field(lambda x: run(x)[last], images).outputs[0].axes[0].size


def counts(name):
    """Parameters, multiply-adds and receptive field."""
    run, images = activations(name), image(name)
    return (
        parameter_count(nnx.state(shapes(name), nnx.Param)),
        multiply_adds(lambda x: run(x)["logits"], images),
        field(run, images),
    )

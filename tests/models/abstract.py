"""Networks by name as functions to trace: nothing is drawn or computed."""

import jax
import jax.numpy as jnp
from flax import nnx

from dilax import models
from dilax.analysis import multiply_adds, parameter_count, receptive_field

IMAGE = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)


def shapes(name, **options):
    """The module with shapes for arrays."""
    return nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0), **options))


def filled(module, value):
    """The module with arrays for shapes, every entry one value."""
    graphdef, state = nnx.split(module)
    return nnx.merge(graphdef, jax.tree.map(lambda x: jnp.full(x.shape, value, x.dtype), state))


def activations(name):
    """The function from images to layers, in evaluation, every parameter zero."""
    network = filled(shapes(name), 0)
    network.eval()
    return network.activations


def layer_shapes(name, image=IMAGE):
    """Name to shape of every layer, in order (of which a traced dictionary keeps none)."""
    found = {}
    jax.eval_shape(
        lambda x: found.update((k, v.shape) for k, v in activations(name)(x).items()), image
    )
    return found


def counts(name):
    """Parameters, multiply-adds and receptive field of the last layer that has a window."""
    run, layers = activations(name), layer_shapes(name)
    last = [layer for layer, shape in layers.items() if len(shape) == 4][-1]
    (field,) = receptive_field(lambda x: run(x)[last], IMAGE).outputs
    return (
        parameter_count(nnx.state(shapes(name), nnx.Param)),
        multiply_adds(lambda x: run(x)["logits"], IMAGE),
        field.axes[0].size,
    )

"""The receptive field as gradients show it: which inputs change an output."""

import jax
import jax.numpy as jnp
import numpy as np


def ramps(shape, axes):
    """Positive inputs that rise or fall along each axis, so that maxima lie at either end."""
    for signs in np.ndindex(*(2,) * len(axes)):
        x = np.ones(shape)
        for sign, axis in zip(signs, axes, strict=True):
            ramp = np.linspace(1, 2, shape[axis])
            along = [-1 if a == axis else 1 for a in range(len(shape))]
            x = x * (ramp if sign else ramp[::-1]).reshape(along)
        yield jnp.asarray(x, jnp.float32)


def seen_by(function, shape, position, axes, *, compiled=True):
    """First and last input, along each axis, with a gradient of the output at ``position``."""
    gradient = jax.grad(lambda x: function(x)[position].sum())
    gradient = jax.jit(gradient) if compiled else gradient
    touched = sum(np.abs(np.asarray(gradient(x))) for x in ramps(shape, axes)) > 0
    hulls = []
    for axis in axes:
        others = tuple(a for a in range(len(shape)) if a != axis)
        (places,) = np.nonzero(touched.any(axis=others))
        hulls.append((int(places[0]), int(places[-1])) if len(places) else None)
    return tuple(hulls)


def weights(number, shape):
    """Positive, all different."""
    values = np.random.default_rng(number).uniform(0.1, 1, shape)
    return jnp.asarray(values / values.size, jnp.float32)

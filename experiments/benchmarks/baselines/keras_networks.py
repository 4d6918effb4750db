"""Networks of Keras 3 on its JAX backend, as pure functions that can be jitted."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Variables = Sequence[Array]
Apply = Callable[..., tuple[Array, Variables]]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as a function of its variables.

    ``apply(trainable, rest, images, training=...)`` returns logits and the updated ``rest``.
    """

    apply: Apply
    trainable: Variables
    rest: Variables


def mobilenet(image_size: int) -> Network:
    """Create a randomly initialised MobileNetV2 of width 1 with 1000 classes."""
    return _created("MobileNetV2", image_size, alpha=1.0)


def convnext(image_size: int) -> Network:
    """Create a randomly initialised ConvNeXt-Tiny with 1000 classes."""
    return _created("ConvNeXtTiny", image_size, include_preprocessing=False)


def _created(name: str, image_size: int, **options: Any) -> Network:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    if keras.backend.backend() != "jax":
        raise RuntimeError("keras was imported with another backend before this program asked.")
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(image_size, image_size, 3),
        classifier_activation=None,
        **options,
    )
    return Network(
        model.stateless_call,
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
    )


def forward(network: Network) -> Callable[[Any], Array]:
    """Make the function from ``(trainable, rest, images, labels)`` to logits in evaluation mode."""

    def logits(state: Any) -> Array:
        trainable, rest, images, _ = state
        return network.apply(trainable, rest, images, training=False)[0]

    return logits


def training_step(network: Network, learning_rate: float) -> Callable[[Any], Any]:
    """Make a step of plain SGD from ``(trainable, rest, images, labels)`` to loss and state."""

    def loss(trainable: Variables, rest: Variables, images: Array, labels: Array) -> Any:
        logits, rest = network.apply(trainable, rest, images, training=True)
        wanted = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -jnp.mean(wanted), rest

    def step(state: Any) -> Any:
        trainable = state[0]
        (value, rest), gradients = jax.value_and_grad(loss, has_aux=True)(*state)
        moved = jax.tree.map(lambda w, g: w - learning_rate * g, trainable, gradients)
        return value, moved, rest

    return step

"""Networks on JAX: as they are, accelerated, and compiled by ``dilax.inference.compile``."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from baselines import keras_networks
from flax import nnx
from jax import Array, lax

import dilax

EPSILON = 1e-3
RATES = (6, 12, 18)
"""Dilations of the head, of Chen et al. 2018 (arXiv 1802.02611)."""
FEATURES = 256


class Network(NamedTuple):
    """A network in evaluation mode: a function of weights and images, and the weights."""

    apply: Callable[[Any, Array], Array]
    weights: Any


def prepare(form: str, name: str, images: np.ndarray) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Compile a network in a form; return its call, and what there is to say of it."""
    network = NETWORKS[name](images.shape[1])
    given = jnp.asarray(images)
    if form == "compiled":
        compiled = dilax.inference.compile(lambda x: network.apply(network.weights, x), given)
        about = {"way": compiled.way, "milliseconds": dict(compiled.milliseconds)}
        return lambda: jax.block_until_ready(compiled(given)), about
    function = dilax.accelerate(network.apply) if form == "accelerated" else network.apply
    call = jax.jit(function).lower(network.weights, given).compile()
    return lambda: jax.block_until_ready(call(network.weights, given)), {}


def mnist_dsdc(side: int) -> Network:
    """Create ``mnist_dsdc``, with drawn statistics."""
    del side
    graphdef, *weights = nnx.split(dsdc_module(), nnx.Param, ...)
    return Network(lambda weights, images: nnx.merge(graphdef, *weights)(images), weights)


def dsdc_module() -> dilax.models.MnistDSDC:
    """Create ``mnist_dsdc`` in evaluation mode, with drawn statistics."""
    network = dilax.models.MnistDSDC(rngs=nnx.Rngs(0))
    network.eval()
    nnx.update(network, drawn(nnx.state(network, nnx.BatchStat)))
    return network


def of_keras(create: Callable[[int], keras_networks.Network]) -> Callable[[int], Network]:
    """Make the function that creates a network of Keras, with drawn statistics."""

    def created(side: int) -> Network:
        network = create(side)

        def apply(weights: Any, images: Array) -> Array:
            return network.apply(*weights, images, training=False)[0]

        return Network(apply, (network.trainable, drawn(network.rest)))

    return created


def aspp(side: int) -> Network:
    """Create a head of DeepLabV3+ by lax: separable branches, image pooling, and a projection."""
    del side
    random = np.random.default_rng(0)

    def layer(*shape: int) -> dict[str, Array]:
        kernel = random.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape)
        norms = {
            name: random.uniform(0.5, 1.5, (1, 1, 1, shape[-1]))
            for name in ("scale", "bias", "var")
        }
        return {n: jnp.asarray(a, jnp.float32) for n, a in {"kernel": kernel, **norms}.items()}

    wide = FEATURES * (len(RATES) + 2)
    weights = {
        "rates": [(layer(3, 3, 1, FEATURES), layer(1, 1, FEATURES, FEATURES)) for _ in RATES],
        **{name: layer(1, 1, FEATURES, FEATURES) for name in ("first", "pooled")},
        "last": layer(1, 1, wide, FEATURES),
    }
    return Network(_aspp, weights)


def _aspp(weights: Any, x: Array) -> Array:
    pooled = _normalised(x.mean(axis=(1, 2), keepdims=True), weights["pooled"])
    branches = [_normalised(x, weights["first"]), jnp.broadcast_to(pooled, x.shape)]
    for rate, (depthwise, pointwise) in zip(RATES, weights["rates"], strict=True):
        branches.append(_normalised(_normalised(x, depthwise, rate), pointwise))
    return _normalised(jnp.concatenate(branches, axis=-1), weights["last"])


def _normalised(x: Array, layer: Mapping[str, Array], rate: int = 1) -> Array:
    """Convolve, normalise with running statistics, and apply ReLU."""
    y = lax.conv_general_dilated(
        x,
        layer["kernel"],
        (1, 1),
        "SAME",
        rhs_dilation=(rate, rate),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // layer["kernel"].shape[-2],
    )
    scale = layer["scale"] * lax.rsqrt(layer["var"] + EPSILON)
    return jax.nn.relu(y * scale + layer["bias"])


def drawn(statistics: Any) -> Any:
    """Increase means and variances by up to 0.5 at random; leave counters and keys.

    With the statistics of a new network, normalisation does almost nothing.
    """
    random = np.random.default_rng(0)

    def draw(array: Any) -> Any:
        if not jnp.issubdtype(array.dtype, jnp.floating):
            return array
        return array + jnp.asarray(random.uniform(0.0, 0.5, array.shape), array.dtype)

    return jax.tree.map(draw, statistics)


NETWORKS: Mapping[str, Callable[[int], Network]] = {
    "mnist_dsdc": mnist_dsdc,
    "MobileNetV2": of_keras(keras_networks.mobilenet),
    "ConvNeXt-T": of_keras(keras_networks.convnext),
    "ASPP": aspp,
}
CHANNELS = {"mnist_dsdc": 1, "ASPP": FEATURES}
"""Channels of the input of a network; of others 3."""

"""Forward passes of whole networks, as they are and in the forms that ``dilax`` makes of them.

    pip install -e ".[baselines]" && python experiments/benchmarks/inference_speed.py

Each network computes the same images in four forms, which take turns: as it is, with its weights as
arguments; accelerated; accelerated, with its weights as constants; and folded and accelerated. The
networks are ``mnist_dsdc``, whose convolutions are dilax's in every form, and Keras 3's MobileNetV2
on JAX. Statistics of normalisation are drawn at random, because with those of a new network
normalisation does almost nothing.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import benchmark
import jax
import numpy as np
from baselines import keras_mobilenet
from flax import nnx

import dilax

FORMS = ("as it is", "accelerated", "accelerated, weights constant", "accelerated, folded")
MILLISECONDS = 100.0
"""Length of a turn."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time forward passes of whole networks in four forms, and write a record."""

    cases: tuple[str, ...] = (
        *("mnist_dsdc 1@28", "mnist_dsdc 64@28"),
        *("MobileNetV2 1@96", "MobileNetV2 16@96", "MobileNetV2 1@224"),
    )
    """Networks, each with a number of images and their height and width."""


def measure(config: Config) -> benchmark.Record:
    """Time every network."""
    return {"ratio_to": FORMS[-1], "cases": {case: compare(case, config) for case in config.cases}}


def compare(case: str, config: Config) -> dict[str, Any]:
    """Time one network in all forms, and compare their results."""
    name, size = case.split()
    batch, side = map(int, size.split("@"))
    apply, weights = NETWORKS[name](side)
    channels = 1 if name.startswith("mnist") else 3
    shape = (batch, side, side, channels)
    images = jax.random.uniform(jax.random.key(0), shape, minval=-1.0)
    pairs = forms(apply, weights, images)
    compiled = {form: benchmark.compile_timed(*pair) for form, pair in pairs.items()}
    operands = {form: given for form, (_, given) in pairs.items()}
    plain, *others = (call(operands[form]) for form, (call, _) in compiled.items())
    turns, steps = {}, {}
    for form, (call, _) in compiled.items():
        steps[form] = benchmark.steps_within(MILLISECONDS, call, operands[form])
        turns[form] = benchmark.repeated(call, operands[form], steps[form])
    times = benchmark.take_turns(turns, rounds=config.rounds)
    times = {form: found / steps[form] for form, found in times.items()}
    largest = np.abs(plain).max()
    return {
        "milliseconds": {form: benchmark.spread(found) for form, found in times.items()},
        "ratio": {
            form: benchmark.spread(found / times[FORMS[-1]]) for form, found in times.items()
        },
        "compile_seconds": {form: seconds for form, (_, seconds) in compiled.items()},
        "largest_relative_difference": [float(np.abs(o - plain).max() / largest) for o in others],
    }


def forms(
    apply: Callable[[Any, jax.Array], jax.Array], weights: Any, images: jax.Array
) -> Mapping[str, tuple[Callable[[Any], jax.Array], Any]]:
    """Return each form as a function of one argument, and this argument."""

    def of_both(given: Any) -> jax.Array:
        return apply(*given)

    def of_images(given: jax.Array) -> jax.Array:
        return apply(weights, given)

    functions = (
        (of_both, (weights, images)),
        (dilax.accelerate(of_both), (weights, images)),
        (dilax.accelerate(of_images), images),
        (dilax.accelerate(dilax.inference.fold(of_images)), images),
    )
    return dict(zip(FORMS, functions, strict=True))


# --- networks -------------------------------------------------------------------------------------


def of_dilax(name: str, side: int) -> tuple[Callable[[Any, jax.Array], jax.Array], Any]:
    """Create a network of dilax.models in evaluation mode; return its function and its weights."""
    del side
    network = dilax.models.create(name, rngs=nnx.Rngs(0))
    network.eval()
    graphdef, *states = nnx.split(network, nnx.Param, ...)
    params, rest = states

    def apply(weights: Any, images: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, *weights)(images)

    return apply, (params, drawn(rest))


def mobilenet(side: int) -> tuple[Callable[[Any, jax.Array], jax.Array], Any]:
    """Create Keras's MobileNetV2; return its function in evaluation mode and its weights."""
    network = keras_mobilenet.mobilenet(side)

    def apply(weights: Any, images: jax.Array) -> jax.Array:
        return network.apply(*weights, images, training=False)[0]

    return apply, (network.trainable, drawn(network.rest))


def drawn(statistics: Any) -> Any:
    """Increase means and variances by up to 0.5 at random; leave counters and keys."""
    random = np.random.default_rng(0)

    def draw(array: Any) -> Any:
        if not jax.numpy.issubdtype(array.dtype, jax.numpy.floating):
            return array
        return array + jax.numpy.asarray(random.uniform(0.0, 0.5, array.shape), array.dtype)

    return jax.tree.map(draw, statistics)


NETWORKS: Mapping[str, Callable[[int], tuple[Callable[[Any, jax.Array], jax.Array], Any]]] = {
    "mnist_dsdc": functools.partial(of_dilax, "mnist_dsdc"),
    "MobileNetV2": mobilenet,
}


# --- the table ------------------------------------------------------------------------------------


def section(record: benchmark.Record) -> str:
    """Make the table of all networks."""
    rows = [
        (case, *(benchmark.median(found["milliseconds"][form], 2) for form in FORMS))
        for case, found in record["cases"].items()
    ]
    table = benchmark.table(("images@pixels", *(f"{form}, ms" for form in FORMS)), rows)
    return f"{table}\nMedians of {record['config']['rounds']} rounds, {benchmark.where(record)}.\n"


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())

"""The time of a step of a stream, beside computing the whole receptive field anew.

    python experiments/benchmarks/stream_speed.py

Times two causal networks of dilated convolutions. The first takes sound at 16 kHz, of which a
strided convolution makes frames that residual depthwise blocks look back on: each step gets 20 ms
of sound. The second speaks, one sample after the other, each from those before it. Both are
computed by ``dilax.inference.stream``, and on a window as long as the receptive field.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

import benchmark
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import dilax
from dilax import inference

SAMPLES_A_SECOND = 16_000
FRAME = 16
"""Samples that the first network makes one frame of."""
TAPS = 3

Network = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Turns):
    """Time streams beside networks of the whole receptive field, and write a record."""

    features: int = 64
    """Channels of each layer."""
    stacks: int = 2
    """How often the dilations 1, 2, 4, ... are gone through."""
    levels: int = 7
    """Number of dilations."""
    milliseconds: int = 20
    """Sound in a step."""
    samples: int = 1000
    """Samples that are spoken in a turn."""
    steps: int = 20
    """Steps of sound in a turn."""


def measure(config: Config) -> benchmark.Record:
    """Compare both networks."""
    return {"networks": [hearing(config), speaking(config)]}


def hearing(config: Config) -> dict[str, Any]:
    """Time a step of the network of sound."""
    network, chunk = listener(config), SAMPLES_A_SECOND * config.milliseconds // 1000
    field = FRAME * (reach(config) + 1) + chunk
    sound = jax.random.normal(jax.random.key(0), (1, field, 1))
    streaming = inference.stream(network, sound)
    whole = jax.jit(lambda x: network(x)[:, -chunk // FRAME :])
    state, _ = streaming.step(streaming.initial_state, sound[:, :-chunk])
    step = functools.partial(streaming.step, state)
    turns = {
        "stream": benchmark.repeated(step, sound[:, -chunk:], config.steps),
        "whole field": benchmark.repeated(whole, sound, config.steps),
    }
    times = benchmark.take_turns(turns, rounds=config.rounds, steps=config.steps)
    answers = step(sound[:, -chunk:])[1], whole(sound)
    return compared(f"{config.milliseconds} ms of sound", field, times, *answers)


def speaking(config: Config) -> dict[str, Any]:
    """Time the network that speaks."""
    network, field = speaker(config), 1 + reach(config)
    streaming = inference.stream(network, jnp.zeros((1, field, 1)))

    def by_stream(carry: Any, _: Any) -> Any:
        state, y = streaming.step(*carry)
        return (state, y), y[0, 0, 0]

    def by_field(window: jax.Array, _: Any) -> Any:
        y = network(window)[:, -1:]
        return jnp.concatenate([window[:, 1:], y], axis=1), y[0, 0, 0]

    first = jnp.full((1, 1, 1), 0.5)
    begin = jnp.zeros((1, field, 1)).at[:, -1:].set(first)
    calls: dict[str, tuple[Callable[[Any], jax.Array], Any]] = {
        "stream": (said(by_stream, config.samples), (streaming.initial_state, first)),
        "whole field": (said(by_field, config.samples), begin),
    }
    turns = {name: benchmark.repeated(call, carry, 1) for name, (call, carry) in calls.items()}
    times = benchmark.take_turns(turns, rounds=config.rounds)
    answers = [call(carry) for call, carry in calls.values()]
    return compared(f"{config.samples} samples spoken", field, times, *answers)


def said(step: Callable[[Any, Any], Any], samples: int) -> Callable[[Any], jax.Array]:
    """Make a function that speaks from a carry on."""
    return jax.jit(lambda carry: lax.scan(step, carry, None, length=samples)[1])


def compared(
    task: str, field: int, times: dict[str, np.ndarray], found: jax.Array, expected: jax.Array
) -> dict[str, Any]:
    """Make the entry of a network in the record."""
    return {
        "task": task,
        "window": field,
        "milliseconds": {name: benchmark.spread(each) for name, each in times.items()},
        "times_faster": benchmark.spread(times["whole field"] / times["stream"]),
        "largest_difference": float(jnp.abs(found - expected).max()),
    }


# --- networks -------------------------------------------------------------------------------------


def dilations(config: Config) -> list[int]:
    """The dilations of all layers."""
    return [2**level for level in range(config.levels)] * config.stacks


def reach(config: Config) -> int:
    """Entries before the present one that the layers see."""
    return (TAPS - 1) * sum(dilations(config))


def weights(seed: int, *shape: int) -> jax.Array:
    """Random weights that keep the size of what they are applied to."""
    scale = np.sqrt(np.prod(shape[:-1]))
    return jax.random.normal(jax.random.key(seed), shape) / scale


def listener(config: Config) -> Network:
    """Frames of sound, and residual blocks of depthwise and pointwise convolutions on them."""
    features = config.features
    front = weights(0, 2 * FRAME, 1, features)
    layers = [
        (weights(n, TAPS, 1, features), weights(-n, features, features), dilation)
        for n, dilation in enumerate(dilations(config), 1)
    ]

    def network(x: jax.Array) -> jax.Array:
        x = dilax.conv(x, front, strides=FRAME, padding="CAUSAL")
        for depthwise, pointwise, dilation in layers:
            options: dict[str, Any] = {"kernel_dilation": dilation, "padding": "CAUSAL"}
            y = jax.nn.relu(dilax.depthwise_conv(x, depthwise, **options))
            x = x + dilax.pointwise_conv(y, pointwise)
        return x

    return network


def speaker(config: Config) -> Network:
    """Gated dilated convolutions, each of them one layer of a WaveNet, and a sample from 1 to -1.

    Source: A. van den Oord et al., "WaveNet: a generative model for raw audio" (2016).
    """
    features = config.features
    first, last = weights(0, 1, features), weights(1, features, 1)
    layers = [
        (weights(n, TAPS, features, 2 * features), dilation)
        for n, dilation in enumerate(dilations(config), 2)
    ]

    def network(x: jax.Array) -> jax.Array:
        x = x @ first
        for kernel, dilation in layers:
            y = dilax.conv(x, kernel, kernel_dilation=dilation, padding="CAUSAL")
            gate, value = jnp.split(y, 2, axis=-1)
            x = x + jax.nn.sigmoid(gate) * jnp.tanh(value)
        return jnp.tanh(x @ last)

    return network


def section(record: benchmark.Record) -> str:
    """Make a table of the streams beside the whole fields."""
    rows = [
        (
            row["task"],
            f"{row['window']:,}",
            benchmark.median(row["milliseconds"]["stream"], 2),
            benchmark.median(row["milliseconds"]["whole field"], 2),
            benchmark.median(row["times_faster"]),
        )
        for row in record["networks"]
    ]
    header = ("task", "window, samples", "ms, stream", "ms, whole field", "times faster")
    config = record["config"]
    layers = config["stacks"] * config["levels"]
    return (
        f"{benchmark.table(header, rows)}\nTwo causal networks of {layers} dilated convolutions "
        f"with {config['features']} features; the window is what the whole field is computed on. "
        f"These are {benchmark.provenance(record)}.\n"
    )


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())
